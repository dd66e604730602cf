"""What is fitted to one machine: a back-end and its threshold.  The one place where a score becomes a decision."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from asd_lightning.atomic import write_atomically
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import parse_json
from asd_lightning.plain_text import is_name
from asd_lightning.scoring.calls import scores_of
from asd_lightning.scoring.combined import PARTS, CombinedScorer
from asd_lightning.scoring.compressed import CompressedScorer
from asd_lightning.scoring.parts import Kinds, can_be_kept
from asd_lightning.scoring.protocol import KeptScorer, Scorer, ScorerState

MachineKey = tuple[str, str]
"""Machine and section."""

KINDS: Kinds = {**PARTS, "CombinedScorer": CombinedScorer, "CompressedScorer": CompressedScorer}
"""The only back-ends that are made from a file of fitted machines, or of a detector."""
_FORMAT = 1
_LARGEST_HEADER = 10_000_000


@dataclass(frozen=True)
class FittedMachine:
    """A back-end fitted to one machine's normal training clips, and the threshold of its decisions.

    Attributes:
        scorer: fitted.
        threshold: scores above it are anomalous; nan where there is none.
        undecided: why there is no threshold; "" where there is one.
        training_scores: of the training recordings, each by a back-end fitted without it; the threshold was found
            among them.  Empty where there are none.
    """

    scorer: Scorer
    threshold: float
    undecided: str
    training_scores: Float[ndarray, " recordings"]

    def anomaly_score(self, embeddings: Float[ndarray, "m dim"]) -> Float[ndarray, " m"]:
        """Score windows or clips; higher is more anomalous."""
        return scores_of(self.scorer, embeddings.astype(np.float64))

    def decision(self, anomaly_score: float) -> int | None:
        """1 = anomaly, 0 = normal; ``None`` where there is no threshold and so no decision."""
        return decision(anomaly_score, self.threshold)


def decision(anomaly_score: float, threshold: float) -> int | None:
    """1 = anomaly, 0 = normal; ``None`` where there is no threshold (nan) and so no decision."""
    return None if math.isnan(threshold) else int(anomaly_score > threshold)


def write_fitted(path: Path, machines: Mapping[MachineKey, FittedMachine], about: Mapping[str, Any]) -> list[str]:
    """Write fitted machines as safetensors: arrays, and plain data about them in the header.

    Args:
        path: of the file.
        machines: by machine and section.
        about: plain data to go with them.

    Returns:
        Names of the machines that are left out, since their back-end, or a part of it, is none of ``KINDS``.
    """
    arrays: dict[str, ndarray] = {}
    rows, left_out = [], []
    for number, ((machine, section), fitted) in enumerate(machines.items()):
        scorer = fitted.scorer
        if not isinstance(scorer, KeptScorer) or not can_be_kept(scorer, KINDS):
            left_out.append(machine)
            continue
        state = scorer.state()
        arrays |= {f"{number}/{name}": np.ascontiguousarray(array) for name, array in state.arrays.items()}
        arrays[f"{number}/training_scores"] = fitted.training_scores
        rows.append(
            {
                "machine": machine,
                "section": section,
                "number": number,
                "scorer": type(scorer).__name__,
                "options": state.options,
                # repr: the same bits again, and nan is no JSON.
                "threshold": repr(fitted.threshold),
                "undecided": fitted.undecided,
            }
        )
    header = {"format": _FORMAT, "about": about, "machines": rows}
    with write_atomically(path) as file:
        file.write(save(arrays, {"fitted": json.dumps(header, sort_keys=True)}))
    return left_out


def read_fitted(path: Path) -> tuple[dict[MachineKey, FittedMachine], dict[str, Any]]:
    """Fitted machines, and the plain data that go with them; nothing in the file is executed or unpickled.

    Raises:
        UserError: no such file, or not what ``write_fitted`` writes.
    """
    if not path.is_file():
        raise UserError(f"{path}: no fitted machines there; a finished test writes them")
    try:
        header, arrays = _content(path)
        if header["format"] != _FORMAT:
            raise UserError(f"format {header['format']}, and {_FORMAT} is what this version reads")
        machines = {}
        for row in header["machines"]:
            prefix = f"{int(row['number'])}/"
            own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
            machines[_key(row)] = _machine(row, own)
        about = header["about"]
        if not isinstance(about, dict):
            raise TypeError("about")
    except (KeyError, TypeError, ValueError, OSError, SafetensorError, RecursionError, UserError) as error:
        raise UserError(f"{path}: not readable as fitted machines ({error}); test the run again") from error
    return machines, about


def _content(path: Path) -> tuple[dict[str, Any], dict[str, ndarray]]:
    with safe_open(str(path), framework="numpy") as file:
        header = parse_json((file.metadata() or {})["fitted"], path, _LARGEST_HEADER)
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _key(row: Mapping[str, Any]) -> MachineKey:
    machine, section = row["machine"], row["section"]
    for name in (machine, section):
        if not isinstance(name, str) or not is_name(name):
            raise UserError(f"{name!r} must be a plain name: without /, not . or ..")
    return machine, section


def _machine(row: Mapping[str, Any], arrays: Mapping[str, ndarray]) -> FittedMachine:
    kind = KINDS.get(row["scorer"])
    if kind is None:
        raise UserError(f"unknown back-end {row['scorer']!r}")
    scorer = kind.from_state(ScorerState(dict(row["options"]), dict(arrays)))
    scores = arrays["training_scores"]
    if scores.dtype != np.float64 or scores.ndim != 1:
        raise TypeError(f"training scores of type {scores.dtype} and shape {scores.shape}")
    return FittedMachine(scorer, float(row["threshold"]), str(row["undecided"]), scores)
