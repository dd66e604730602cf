"""Left-out scores of normal clips by recording: p-values, and thresholds that keep a promised rate of false alarms.

Why they keep it: `asd_lightning.detector.promise`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_between

ROUNDING = 1e-9
"""A rate is a decimal number: 0.1 of 10 recordings must not become 0.99999."""


@dataclass(frozen=True)
class NormalScores:
    """Left-out scores of normal clips, and which of them are of one recording.

    Attributes:
        scores: ascending.
        weights: of each score, one over its recording's number of clips.
        recordings: how many there are, n.

    >>> normal = NormalScores.fit(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([0, 0, 1, 1, 2]))
    >>> normal.recordings, normal.smallest_rate, normal.threshold(0.25), normal.threshold(0.4)
    (3, 0.25, 5.0, 5.0)
    >>> normal.threshold(0.5), normal.p_value(np.array([4.5, 6.0])).tolist()
    (4.0, [0.5, 0.25])
    """

    scores: Float[np.ndarray, " clips"]
    weights: Float[np.ndarray, " clips"]
    recordings: int

    @classmethod
    def fit(cls, scores: Float[np.ndarray, " clips"], recording: Int[np.ndarray, " clips"]) -> NormalScores:
        """From scores of training clips, each by a back-end fitted without the clip's recording.

        Args:
            scores: higher is more anomalous.
            recording: number of each clip's recording; any numbers.

        Raises:
            UserError: no scores, or NaN or infinite ones.
        """
        if len(scores) == 0:
            raise UserError("no left-out scores: a promise needs normal clips of at least one left-out recording")
        if not np.isfinite(scores).all():
            raise UserError(f"left-out scores: {int((~np.isfinite(scores)).sum())} of {len(scores)} are not finite")
        _, number, clips = np.unique(recording, return_inverse=True, return_counts=True)
        order = np.argsort(scores, kind="stable")
        return cls(scores[order].astype(np.float64), 1 / clips[number][order], len(clips))

    @property
    def smallest_rate(self) -> float:
        """The lowest rate that can be promised, 1 / (n + 1)."""
        return 1 / (self.recordings + 1)

    def share_above(self, threshold: float) -> float:
        """Share of the normal clips above ``threshold``, each recording counting the same."""
        return float(self.weights[self.scores > threshold].sum() / self.recordings)

    def p_value(self, scores: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """How usual a score is: ``(1 + sum of the recordings' shares at or above it) / (n + 1)``, at most 1.

        At or below R exactly where the score is above :meth:`threshold` of R; so, of a normal clip of a new recording,
        with a probability of at most R.
        """
        at_or_above = np.append(np.cumsum(self.weights[::-1])[::-1], 0.0)
        first = np.searchsorted(self.scores, scores, side="left")
        return np.asarray((1 + at_or_above[first]) / (self.recordings + 1))

    def threshold(self, rate: float) -> float:
        """The lowest score that keeps the promise; clips above it are anomalous.

        Args:
            rate: highest expected share of a new normal recording's clips above the threshold; above 0 and below 1.

        Raises:
            UserError: too few recordings for the rate.
        """
        require_between("rate", rate, 0, 1)
        allowed = rate * (self.recordings + 1) - 1
        if allowed < -ROUNDING:
            # Rounded up, so that the number can be typed in.
            possible = math.ceil(1e4 * self.smallest_rate) / 1e4
            raise UserError(
                f"a rate of {rate:g} cannot be promised with {self.recordings} recordings: the lowest possible is "
                f"1 / {self.recordings + 1} ({possible:.4f}); use at least {fewest_recordings(rate)} recordings, or a "
                "higher rate"
            )
        above = np.append(np.cumsum(self.weights[::-1])[::-1], 0.0)
        # Equal scores stand or fall together: what is above the last of them counts.
        last = np.searchsorted(self.scores, self.scores, side="right")
        return float(self.scores[np.argmax(above[last] <= allowed + ROUNDING)])

    def extrapolated(self, rate: float) -> float:
        """A threshold for a rate that is too low to be promised: an assumption about the tail stands in.

        Above the median the scores are taken to fall off exponentially (slower than a Gaussian, faster than a power).
        Their mean excess is known from about half of the recordings alone, so the threshold is a predictive one, of
        the Lomax distribution: ``median + k e ((0.5 / rate)^(1 / k) - 1)``, with e the mean excess over the median and
        k = n / 2.  Never below the threshold of the smallest rate that can be promised.

        Args:
            rate: above 0 and below 0.5.
        """
        require_between("rate", rate, 0, 0.5)
        cumulative = np.cumsum(self.weights) / self.recordings
        median = self.scores[np.argmax(cumulative >= 0.5 - ROUNDING)]
        upper = self.scores > median
        weight = self.weights[upper].sum()
        excess = float(self.weights[upper] @ (self.scores[upper] - median) / weight) if weight > 0 else 0.0
        known = self.recordings / 2
        beyond = known * excess * math.expm1(math.log(0.5 / rate) / known)
        return max(float(median + beyond), self.threshold(self.smallest_rate))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"scores": self.scores.tolist(), "weights": self.weights.tolist(), "recordings": self.recordings}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> NormalScores:
        """What gave ``state``.

        Raises:
            UserError: not what :meth:`to_dict` gives.
        """
        try:
            scores, weights = (np.array(state[name], np.float64) for name in ("scores", "weights"))
            recordings = int(state["recordings"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"normal scores: {error!r} in the kept state; fit the detector again") from error
        sound = scores.ndim == 1 and scores.shape == weights.shape and len(scores) and (weights > 0).all()
        if not sound or not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
            raise UserError("normal scores: the kept ones are not ascending and finite; fit the detector again")
        if abs(weights.sum() - recordings) > 1e-6 * max(recordings, 1):
            raise UserError("normal scores: the kept weights do not add up to the recordings; fit the detector again")
        return cls(scores, weights, recordings)


def fewest_recordings(rate: float) -> int:
    """Left-out recordings that are needed to promise ``rate``: the least n with ``1 / (n + 1) <= rate``.

    >>> fewest_recordings(0.1), fewest_recordings(0.01), fewest_recordings(0.3)
    (9, 99, 3)
    """
    return max(math.ceil(1 / rate - ROUNDING) - 1, 0)
