"""Embeddings and back-ends that may become a default: the candidates of ``choose_defaults.py``, in order of simplicity.

An embedding is made once for each clip, with all its statistics or all its poolings side by side; a combination takes
its columns of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import combinations as pairs_of
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from asd_lightning.comparison.back_ends import choose_back_ends
from asd_lightning.encoders.grid import TokenGrid
from asd_lightning.encoders.over_time import Deviation, DeviationWeighted, Max, Mean
from asd_lightning.encoders.pooling import GridPooling
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.encoders.weights.checkpoints import load_encoder
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.features.spectrum import LogMelSpectrogram
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.trust import read_part

MEL = 128

STATISTICS: tuple[tuple[str, ...], ...] = (
    ("mean",),
    ("mean", "deviation"),
    ("mean", "change"),
    ("mean", "p100"),
    ("p10", "p50", "p90"),
    ("mean", "deviation", "change"),
    ("mean", "deviation", "p100"),
    ("mean", "deviation", "m1-4", "m4-16"),
    ("mean", "deviation", "change", "p99"),
    ("mean", "deviation", "p10", "p50", "p90"),
)
"""Log-mel statistics by name; the second is what ``experiment=statistics`` has had."""

BLOCKS = (8, 4, 10, 12, 14)
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": Mean(),
    "std": Deviation(),
    "max": Max(),
    "rdp": DeviationWeighted(4.0),
}
"""Of mn04's blocks, with bands kept or merged; block 8, kept, mean is what ``experiment=mn04`` has had."""

# Back-ends by the number of their steps: what is done to embeddings, to distances and between clips.
STEPS = {
    "knn": 2,  # SMOTE, and the minimum over domains
    "knn_euclidean": 2,
    "knn_standardized": 3,
    "residual": 2,
    "ledoit_wolf": 2,
    "knn_whitened": 3,
    "mem_mixup": 2,
    "ldn": 2,
    "varmin": 2,
    "varmin_log": 3,
    "domain_z": 2,
    "daco_soft": 3,
    "ldn_whitened": 4,
    "beam": 2,
    "beam_varmin": 3,
}
OF_BANDS = ("beam", "beam_varmin")
FUSED = ("knn_standardized", "ledoit_wolf", "knn_whitened", "ldn_whitened", "beam", "ldn")
"""In pairs: back-ends of scores above 0, whose logarithms' z-scores over left-out training clips are averaged."""
FUSED_EMBEDDINGS = ("mean+deviation", "mean+deviation+change", "mean+deviation+p100", "8 keep mean", "8 keep rdp")


class Family(Protocol):
    """Embeddings that one pass over a clip gives; ``baseline`` is the default of before, with ``knn``."""

    baseline: str

    def names(self) -> list[str]:
        """The embeddings, in the order of simplicity among those of equally many parts."""
        ...

    def embed(self, waveforms: Tensor) -> dict[str, np.ndarray]:
        """(clips, samples) at 16 kHz to (clips, dim) of each name."""
        ...

    def parts(self, name: str) -> int:
        """Of which an embedding is made."""
        ...

    def bands(self, name: str) -> int:
        """Bands of frequency, one behind the other; 1: none are kept apart."""
        ...


class Statistics:
    """Log-mel statistics: every name is computed once."""

    baseline = "mean+deviation"

    def __init__(self) -> None:
        self._names = list(dict.fromkeys(name for names in STATISTICS for name in names))
        self._front_end = LogMelSpectrogram()
        self._encoder = TemporalStatistics(MEL, self._names)

    def names(self) -> list[str]:
        return ["+".join(names) for names in STATISTICS]

    def embed(self, waveforms: Tensor) -> dict[str, np.ndarray]:
        with torch.no_grad():
            table = self._encoder(self._front_end(waveforms)).double().numpy()
        columns = dict(zip(self._names, np.split(table, len(self._names), axis=1), strict=True))
        return {"+".join(names): np.concatenate([columns[name] for name in names], axis=1) for names in STATISTICS}

    def parts(self, name: str) -> int:
        return name.count("+") + 1

    def bands(self, name: str) -> int:
        del name
        return 1


class Blocks:
    """mn04: all poolings of all blocks from one forward pass.

    Args:
        weights: name or path.
    """

    baseline = "8 keep mean"

    def __init__(self, weights: str) -> None:
        self._front_end = MN04LogMel()
        self._encoder = load_encoder(weights, architecture="mn04").eval()

    def names(self) -> list[str]:
        return [f"{block} {bands} {how}" for block in BLOCKS for bands in ("keep", "merge") for how in POOLINGS]

    def embed(self, waveforms: Tensor) -> dict[str, np.ndarray]:
        with torch.no_grad():
            outputs = self._encoder.block_outputs(self._front_end(waveforms), BLOCKS)
            return {
                f"{block} {bands} {how}": _pooled(output, bands, over_time).double().numpy()
                for block, output in zip(BLOCKS, outputs, strict=True)
                for bands in ("keep", "merge")
                for how, over_time in POOLINGS.items()
            }

    def parts(self, name: str) -> int:
        _, bands, how = name.split()
        return 1 + (bands == "keep") + (how != "mean")

    def bands(self, name: str) -> int:
        block, bands, _ = name.split()
        return {4: 16, 8: 8, 10: 8, 12: 8, 14: 4}[int(block)] if bands == "keep" else 1


def _pooled(output: Tensor, bands: str, over_time: Callable[[Tensor], Tensor]) -> Tensor:
    """(B, C, F, T) as the branch of the package pools it."""
    grid = TokenGrid(output.shape[2], output.shape[1])
    pooled: Tensor = GridPooling(grid, over_time, bands=bands)(output.permute(0, 3, 2, 1).flatten(1, 2))  # type: ignore[arg-type]
    return pooled


@dataclass(frozen=True)
class Combination:
    """An embedding and one back-end, or two, whose scores are fused."""

    embedding: str
    back_ends: tuple[str, ...]
    parts: int

    @property
    def name(self) -> str:
        return f"{self.embedding} | {' & '.join(self.back_ends)}"


def candidates(family: Family) -> list[Combination]:
    """All combinations of a family, the simplest first: fewer parts, then the order of the lists above."""
    found = []
    for embedding in family.names():
        usable = [name for name in STEPS if name not in OF_BANDS or family.bands(embedding) > 1]
        fused = [name for name in usable if name in FUSED and embedding in FUSED_EMBEDDINGS]
        for back_ends in [*((name,) for name in usable), *pairs_of(fused, 2)]:
            steps = sum(STEPS[name] for name in back_ends) + (len(back_ends) - 1)
            found.append(Combination(embedding, back_ends, family.parts(embedding) + steps))
    return sorted(found, key=lambda one: one.parts)  # stable: the lists' order decides among equals


def makers(seed: int) -> dict[str, Callable[..., Scorer]]:
    """Of every back-end, what makes an unfitted one."""
    files: Mapping[str, Path] = choose_back_ends(",".join(STEPS))
    return {
        name: instantiate(OmegaConf.create(read_part(path, "model", seed)), _convert_="all")
        for name, path in files.items()
    }


def made_for(make: Callable[..., Scorer], back_end: str, bands: int) -> Callable[[], Scorer]:
    """The back-end for an embedding of ``bands`` bands."""
    return partial(make, bands=bands, band_order="first") if back_end in OF_BANDS else make


def family_of(name: str, weights: str) -> Family:
    """``statistics`` or ``mn04``."""
    return Statistics() if name == "statistics" else Blocks(weights)
