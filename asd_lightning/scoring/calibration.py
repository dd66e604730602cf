"""Maps of scores on a common scale, fitted to normal training clips' left-out scores."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from asd_lightning.errors import UserError

Calibration = Literal["zscore", "ratio", "conformal"]

SMALLEST_DEVIATION = 1e-12
SMALLEST_TAIL = 1e-9


class Map(NamedTuple):
    """A growing map of scores.

    ``zscore``: minus the mean, over the standard deviation.  ``ratio``: over the median.  ``conformal``: the share of
    the training scores below, linear between the smallest of 0 and the least training score (0) and the i-th of n
    (i / (n + 1)); above the largest it bends towards 1, half of the way where the score is as far beyond the largest as
    that is from the median.

    Attributes:
        calibration: which map.
        scores: ascending left-out scores.

    >>> Map.fit("conformal", np.array([0.1, 0.2, 0.4]))(np.array([0.0, 0.15, 0.4, 0.6])).round(3).tolist()
    [0.0, 0.375, 0.75, 0.875]
    """

    calibration: Calibration
    scores: Float[np.ndarray, " n"]

    @classmethod
    def fit(cls, calibration: Calibration, scores: Float[np.ndarray, " n"]) -> Map:
        """A map fitted to left-out scores, in any order.

        Raises:
            UserError: no scores, or the median of a ratio is not above 0.
        """
        if len(scores) == 0:
            raise UserError("a calibration needs training scores, there are none")
        if calibration == "ratio" and not np.median(scores) > 0:
            raise UserError("calibration=ratio: the median of the training scores must be above 0")
        return cls(calibration, np.sort(scores))

    def __call__(self, scores: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """Scores on the common scale."""
        if self.calibration == "zscore":
            return np.asarray((scores - self.scores.mean()) / (self.scores.std() + SMALLEST_DEVIATION))
        if self.calibration == "ratio":
            return np.asarray(scores / np.median(self.scores))
        return self._share_below(scores)

    def _share_below(self, scores: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        count, largest = len(self.scores), self.scores[-1]
        knots = np.append(min(0.0, self.scores[0]), self.scores)
        within = np.interp(scores, knots, np.arange(count + 1) / (count + 1))
        top = count / (count + 1)
        beyond = np.maximum(scores - largest, 0)
        tail = max(largest - np.median(self.scores), SMALLEST_TAIL)
        return np.asarray(np.where(scores > largest, top + (1 - top) * beyond / (beyond + tail), within))
