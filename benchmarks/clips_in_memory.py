"""Clips of one machine, in memory, and how combinations of embedding and back-end score them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from combinations import FUSED, Combination, Family, made_for

from asd_lightning.scoring.calls import fit_with
from asd_lightning.scoring.held_out import left_out_scores
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.search import SMALLEST_DISTANCE
from asd_lightning.synthetic import Clip, SessionMachine, render_recording
from asd_lightning.synthetic.sessions import recordings_of

CLIPS_AT_A_TIME = 16


class Sound(NamedTuple):
    """Clips of one machine in their order, and their waveforms: (clips, samples), as a 16-bit file holds them."""

    clips: list[Clip]
    waveforms: torch.Tensor

    @property
    def trained(self) -> np.ndarray:
        return np.array([clip.split == "train" for clip in self.clips])


class Embedded(NamedTuple):
    """What a back-end sees of one machine: training clips, their domain and recording, and test clips."""

    training: np.ndarray
    is_target: np.ndarray
    recording: np.ndarray
    test: np.ndarray


def rendered(machine: SessionMachine, seed: int) -> Sound:
    clips, waveforms = [], []
    for recording in recordings_of(machine):
        clips += recording
        waveforms += [channels[0] for channels in render_recording(machine, recording, seed)]
    return Sound(clips, as_read(waveforms))


def as_read(waveforms: Sequence[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.rint(32767.0 * np.stack(waveforms)) / 32768.0).float()


def embedded(family: Family, waveforms: torch.Tensor) -> dict[str, np.ndarray]:
    parts = [family.embed(batch) for batch in waveforms.split(CLIPS_AT_A_TIME)]
    return {name: np.concatenate([part[name] for part in parts]) for name in family.names()}


def parted(sound: Sound, embedding: np.ndarray) -> Embedded:
    trained, is_target = sound.trained, np.array([clip.domain == "target" for clip in sound.clips])
    numbers: dict[str, int] = {}
    recording = np.array([numbers.setdefault(clip.recording, len(numbers)) for clip in sound.clips])
    return Embedded(embedding[trained], is_target[trained], recording[trained], embedding[~trained])


class Scored:
    """Scores of one embedding's test clips by any combination; each back-end is fitted once.

    Args:
        data: of one machine.
        make: unfitted back-ends by name.
        bands: that the embedding keeps apart.
    """

    def __init__(self, data: Embedded, make: dict[str, Callable[..., Scorer]], bands: int) -> None:
        self._data, self._make, self._bands = data, make, bands
        self._fitted: dict[str, Scorer] = {}
        self._plain: dict[str, np.ndarray] = {}
        self._z: dict[str, np.ndarray] = {}

    def by(self, combination: Combination) -> np.ndarray:
        """Higher is more anomalous; of two back-ends the mean of their logarithms' z-scores."""
        if len(combination.back_ends) == 1:
            return self._scores(combination.back_ends[0])
        return np.mean([self._z_scores(name) for name in combination.back_ends], axis=0)

    def of(self, back_end: str, clips: np.ndarray) -> np.ndarray:
        """Scores of other clips by one back-end."""
        return self._fit(back_end).anomaly_score(clips)

    def left_out(self, back_end: str) -> np.ndarray:
        """Of training clips, without all that is of the same recording."""
        data = self._data
        return left_out_scores(self._fit(back_end), self._made(back_end), data.training, data.is_target, data.recording)

    def _made(self, back_end: str) -> Callable[[], Scorer]:
        return made_for(self._make[back_end], back_end, self._bands)

    def _fit(self, back_end: str) -> Scorer:
        if back_end not in self._fitted:
            data = self._data
            scorer = fit_with(self._made(back_end)(), data.training, data.is_target, data.recording)
            self._fitted[back_end] = scorer
        return self._fitted[back_end]

    def _scores(self, back_end: str) -> np.ndarray:
        if back_end not in self._plain:
            self._plain[back_end] = self._fit(back_end).anomaly_score(self._data.test)
        return self._plain[back_end]

    def _z_scores(self, back_end: str) -> np.ndarray:
        if back_end not in self._z:
            assert back_end in FUSED
            normal, test = (
                np.log(np.maximum(scores, SMALLEST_DISTANCE))
                for scores in (self.left_out(back_end), self._scores(back_end))
            )
            self._z[back_end] = (test - normal.mean()) / normal.std()
        return self._z[back_end]
