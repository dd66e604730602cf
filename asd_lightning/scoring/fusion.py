"""Fusion of several systems' anomaly scores, put on one scale by what the systems give normal training clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_choice

Scale = Literal["zscore", "rank"]
Combination = Literal["mean", "min"]


class ScoreFusion:
    """The mean or minimum over systems of scores brought to one scale.

    Only the scale of a system's own training scores enters, so a clip's fused score depends on no other test clip.

    Args:
        scale: ``zscore`` subtracts the mean of the training scores and divides by their standard deviation.  ``rank``
            is the share of training scores below, ties half: from 0 to 1, and 1 for whatever is above all of them.
        combination: of the systems.

    Raises:
        UserError: an unknown scale or combination.
    """

    def __init__(self, scale: Scale = "zscore", combination: Combination = "mean") -> None:
        require_choice("scale", scale, Scale)
        require_choice("combination", combination, Combination)
        self.scale = scale
        self.combination = combination

    def fit(self, training_scores: Sequence[Float[np.ndarray, " _"]]) -> ScoreFusion:
        """Learn each system's scale from its leave-one-out scores of one machine's training clips.

        Raises:
            UserError: no system, one without scores, NaN or infinite scores, or scores that are all the same.
        """
        if not training_scores:
            raise UserError("score fusion needs the training scores of at least one system")
        self._training = [np.sort(_checked(scores, system)) for system, scores in enumerate(training_scores)]
        for system, scores in enumerate(self._training):
            if len(scores) == 0 or scores[0] == scores[-1]:
                raise UserError(
                    f"system {system}: {len(scores)} training scores without spread give no scale: leave it out"
                )
        return self

    def fuse(self, scores: Sequence[Float[np.ndarray, " m"]]) -> Float[np.ndarray, " m"]:
        """One score per clip from each system's, in the order of ``fit``; higher is more anomalous.

        Raises:
            UserError: another number of systems than in ``fit``, or of clips between them, or NaN or infinite scores.
        """
        if len(scores) != len(self._training) or len({len(one) for one in scores}) != 1:
            raise UserError(
                f"score fusion was fitted on {len(self._training)} systems and got {len(scores)}, "
                f"with {[len(one) for one in scores]} clips: every system must score every clip"
            )
        scaled = [
            self._scaled(_checked(one, system), training)
            for system, (one, training) in enumerate(zip(scores, self._training, strict=True))
        ]
        return np.asarray(np.mean(scaled, axis=0) if self.combination == "mean" else np.min(scaled, axis=0))

    def _scaled(self, scores: Float[np.ndarray, " m"], training: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        if self.scale == "zscore":
            return np.asarray((scores - training.mean()) / training.std())
        below, not_above = np.searchsorted(training, scores, "left"), np.searchsorted(training, scores, "right")
        return np.asarray((below + not_above) / (2 * len(training)))


def _checked(scores: Float[np.ndarray, " n"], system: int) -> Float[np.ndarray, " n"]:
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise UserError(f"system {system}: scores must be one finite number per clip, got shape {scores.shape}")
    return scores.astype(np.float64)
