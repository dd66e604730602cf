"""The normal training clips of one machine in one embedding, and their scores by a bank of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.scoring.matching import Matching
from asd_lightning.scoring.rescaling import DensityBank, Rescaling
from asd_lightning.scoring.search import Kin, View

Score = Literal["nearest", "ldn"]

# Logarithms, as the criteria compare means and variances: of the cosine distance, or of its ratio to the local density.
_RESCALINGS: dict[Score, Rescaling] = {
    "nearest": Rescaling("log", alpha=0.0),
    "ldn": Rescaling("log", alpha=1.0, neighbors=2),
}


@dataclass(frozen=True)
class Normals:
    """Embeddings of normal clips and what is known of them, row for row.

    Attributes:
        embeddings: as they are compared, by cosine.
        is_target: of the target domain.
        attribute: operating condition, "" where none is known.
        recording: number of the recording that a clip was cut from.
    """

    embeddings: Float[np.ndarray, "n dim"]
    is_target: Bool[np.ndarray, " n"]
    attribute: tuple[str, ...]
    recording: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, embeddings: Float[np.ndarray, "n dim"], clips: Sequence[Clip]) -> Normals:
        """Of normal training clips, row for row."""
        _, recording = np.unique([clip.recording for clip in clips], return_inverse=True)
        is_target = np.array([clip.domain == "target" for clip in clips])
        attribute = tuple(clip.attribute for clip in clips)
        return cls(embeddings.astype(np.float64), is_target, attribute, recording)

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def recordings(self) -> int:
        """How many there are."""
        return len(np.unique(self.recording))

    def take(self, rows: Bool[np.ndarray, " n"]) -> Normals:
        """Some of the clips."""
        attribute = tuple(name for name, kept in zip(self.attribute, rows, strict=True) if kept)
        return Normals(self.embeddings[rows], self.is_target[rows], attribute, self.recording[rows])


class Bank:
    """Scores clips by the nearest of some normal clips: a logarithm, higher is further away.

    Args:
        normals: of at least two recordings.
        score: ``nearest``, the logarithm of the cosine distance to the nearest clip, or ``ldn``, less that of this
            clip's own mean distance to two others (arXiv 2509.10951).

    Raises:
        UserError: an unknown score, or a clip whose embedding is all zeros.
    """

    def __init__(self, normals: Normals, score: Score = "nearest") -> None:
        if score not in get_args(Score):
            raise UserError(f"score={score!r:.40}: choose one of {', '.join(get_args(Score))}")
        self._recording = normals.recording
        self._view = _view(normals.embeddings)
        self._bank = DensityBank.fit(self._view, "angle", _RESCALINGS[score], self._recording)

    def score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Of clips that are not in the bank."""
        return self._bank.score(_view(embeddings))

    def left_out(self) -> Float[np.ndarray, " n"]:
        """Of the bank's own clips, each by those of other recordings."""
        return self._bank.score(self._view, Kin(self._recording, self._recording[:, None]))


def _view(embeddings: Float[np.ndarray, "n dim"]) -> View:
    (view,) = Matching("cosine").views(embeddings, "normal training clips")
    return view
