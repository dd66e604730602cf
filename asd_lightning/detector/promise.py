"""Promised false alarms: thresholds from left-out scores of training clips, where the unit is the recording.

The clips of one recording are alike, so n recordings of m clips are not n m observations.  What is promised here counts
recordings: let a new recording be exchangeable with the n training recordings.  Then the share of its clips above the
threshold of rate R is on average at most R, whatever the distribution, and however alike or many its clips are.

Why: let ``L_i(t)`` be the share of recording i's clips above t.  The threshold is the least t where
``L_1(t) + ... + L_n(t) + 1 <= R (n + 1)``.  With the new recording as number n + 1, the least t* where
``L_1(t*) + ... + L_(n+1)(t*) <= R (n + 1)`` is no higher, since no share is above 1; t* does not depend on the order of
the recordings, so each has the same expected share above t*, at most R; and the new one's share above the threshold is
no larger than that.  This is conformal risk control (Angelopoulos et al., arXiv 2208.02814) with that share as the
loss, and hierarchical conformal prediction (Lee, Barber and Willett, arXiv 2306.06342); of the methods for two-layer
data it is the one that promises every rate from 1 / (n + 1) up, with all clips and without chance (Dunn, Wasserman and
Ramdas, JASA 2023, draw one clip of each recording for that).

The average is over trainings too.  Of one training :func:`share_bound` says how large the share may be.  Left-out
scores come from back-ends with one recording less than the one in use: the promise is exact for a score that does not
depend on the training recordings, and near for others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_between

ALARM_SHARE = 0.1
"""The rate of alarms, as a share of that of warnings."""
CONFIDENCE = 0.9
_ROUNDING = 1e-9


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
        if allowed < -_ROUNDING:
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
        return float(self.scores[np.argmax(above[last] <= allowed + _ROUNDING)])

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
        median = self.scores[np.argmax(cumulative >= 0.5 - _ROUNDING)]
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


@dataclass(frozen=True)
class Promise:
    """What a detector says of its false alarms.

    Attributes:
        rate: of warnings: the expected share of a new normal recording's clips above ``warning``.
        alarm_rate: of alarms, likewise.
        warning: threshold.
        alarm: threshold, not below ``warning``.
        alarm_promised: whether ``alarm`` is promised; otherwise it is extrapolated, see
            :meth:`NormalScores.extrapolated`.
        recordings: left-out recordings that the promise rests on.
        bound: with a confidence of 90 % over trainings, the share above ``warning`` is not larger.
    """

    rate: float
    alarm_rate: float
    warning: float
    alarm: float
    alarm_promised: bool
    recordings: int
    bound: float

    def sentence(self, unit: str = "recordings") -> str:
        """What is promised, in words; ``unit`` are the recordings, or what stands for them."""
        kind = "" if self.alarm_promised else ", extrapolated and not promised"
        return (
            f"warnings on at most {100 * self.rate:.3g} % of normal sound, on average over trainings with "
            f"{self.recordings} {unit} (in 9 of 10 trainings at most {100 * self.bound:.0f} %); "
            f"alarms on {100 * self.alarm_rate:.3g} %{kind}"
        )


def promise(normal: NormalScores, rate: float, alarm_rate: float | None = None) -> Promise:
    """Thresholds of warnings and alarms.

    Args:
        normal: left-out scores.
        rate: of warnings.
        alarm_rate: of alarms, at most ``rate``; by default a tenth of it.  One that can be promised is; one below the
            smallest such rate is extrapolated.

    Raises:
        UserError: too few recordings for ``rate``, or a rate outside its range.

    >>> scores = np.arange(12.0)
    >>> made = promise(NormalScores.fit(scores, np.arange(12) // 2), 0.2)
    >>> made.warning, round(made.alarm, 1), made.alarm_promised, round(made.bound, 2)
    (11.0, 25.2, False, 0.37)
    """
    warning = normal.threshold(rate)
    alarm_rate = ALARM_SHARE * rate if alarm_rate is None else alarm_rate
    require_between("alarm_rate", alarm_rate, 0, 1)
    if alarm_rate > rate:
        raise UserError(f"alarm_rate={alarm_rate:g}: must be at most the rate of warnings, {rate:g}")
    promised = normal.recordings >= fewest_recordings(alarm_rate)
    alarm = normal.threshold(alarm_rate) if promised else normal.extrapolated(alarm_rate)
    bound = share_bound(normal.recordings, rate)
    return Promise(rate, alarm_rate, warning, alarm, promised, normal.recordings, bound)


def fewest_recordings(rate: float) -> int:
    """Left-out recordings that are needed to promise ``rate``: the least n with ``1 / (n + 1) <= rate``.

    >>> fewest_recordings(0.1), fewest_recordings(0.01), fewest_recordings(0.3)
    (9, 99, 3)
    """
    return max(math.ceil(1 / rate - _ROUNDING) - 1, 0)


def share_bound(recordings: int, rate: float, confidence: float = CONFIDENCE) -> float:
    """Upper bound of the share of false alarms at :meth:`NormalScores.threshold` of ``rate``, for one training.

    With that confidence over trainings, the expected share of a new recording's clips above the threshold is not
    larger.  It is a bound of Clopper and Pearson, on recordings.  Let one clip be drawn of each recording: the share
    above the highest draw but K is ``Beta(K + 1, n - K)``, for K fixed in advance.  At most K of the draws are above
    the threshold with a probability of at least c, since the recordings' shares add up to at most
    ``m = rate (n + 1) - 1``: by Markov's inequality ``c = 1 - m / (K + 1)``, and for K >= m also
    ``P(Binomial(n, m / n) <= K)`` (Hoeffding, Ann. Math. Stat. 1956).  So the bound is that distribution's quantile at
    ``1 - (1 - confidence) c``, for the best K.  A bound from the shares themselves would have to hold for every
    threshold at once, since they chose it, and be looser.

    Args:
        recordings: n.
        rate: that was promised.
        confidence: above 0 and below 1.

    Raises:
        UserError: too few recordings for the rate.

    >>> round(share_bound(9, 0.1), 4) == round(1 - 0.1 ** (1 / 9), 4)
    True
    >>> [round(share_bound(n, 0.1), 3) for n in (9, 19, 99, 999)]
    [0.226, 0.206, 0.15, 0.116]
    """
    from scipy.stats import beta, binom

    require_between("confidence", confidence, 0, 1)
    if recordings < fewest_recordings(rate):
        raise UserError(f"a rate of {rate:g} needs at least {fewest_recordings(rate)} recordings, not {recordings}")
    allowed = max(rate * (recordings + 1) - 1, 0.0)
    above = np.arange(math.floor(allowed + _ROUNDING), recordings)
    if len(above) == 0:
        return 1.0
    hoeffding = np.where(above >= allowed - _ROUNDING, binom.cdf(above, recordings, allowed / recordings), 0.0)
    certain = np.maximum(hoeffding, 1 - allowed / (above + 1))
    return float(np.min(beta.ppf(1 - (1 - confidence) * certain, above + 1, recordings - above)))


@dataclass(frozen=True)
class Blocks:
    """One long recording in contiguous blocks, which stand in for recordings.

    Attributes:
        group: number of each clip's block, in the order of time.
        left_out: row b marks what must not be in the bank that scores block b: its clips, and their neighbors within
            the gap.
    """

    group: Int[np.ndarray, " clips"]
    left_out: Bool[np.ndarray, "blocks clips"]


def blocks(starts: Float[np.ndarray, " clips"], seconds: float, count: int, gap: float) -> Blocks:
    """Cut one long recording's clips into contiguous blocks of equal numbers.

    Blocks are not exchangeable with what a new day brings: a promise on them is about sound of the same recording.

    Args:
        starts: of the clips in s, in any order.
        seconds: length of each clip; clips may overlap.
        count: of blocks, at least 2.
        gap: in s, from 0: clips of other blocks that begin or end less than this from a block are left out with it.

    Raises:
        UserError: fewer clips than blocks, or a block that leaves no clip to compare with.

    >>> made = blocks(np.arange(6.0), 1.0, 3, 0.5)
    >>> made.group.tolist(), made.left_out[1].tolist()
    ([0, 0, 1, 1, 2, 2], [False, True, True, True, True, False])
    """
    if count < 2 or len(starts) < count:
        raise UserError(
            f"{count} blocks of {len(starts)} clips: at least two blocks are needed, of a clip each or more"
        )
    if not (seconds > 0 and gap >= 0 and np.isfinite(starts).all()):
        raise UserError(
            f"seconds={seconds:g}, gap={gap:g}: clips need a length above 0, a finite start and a gap from 0"
        )
    group = np.empty(len(starts), dtype=np.intp)
    group[np.argsort(starts, kind="stable")] = np.arange(len(starts)) * count // len(starts)
    left_out = np.empty((count, len(starts)), dtype=bool)
    for block in range(count):
        own = starts[group == block]
        apart = np.maximum(own.min() - (starts + seconds), starts - (own.max() + seconds))
        # Below 0 where clips overlap, which is too near for every gap.
        left_out[block] = (group == block) | (apart < gap)
        if left_out[block].all():
            raise UserError(f"a gap of {gap:g} s leaves no clip to compare block {block} with; use less, or more sound")
    return Blocks(group, left_out)
