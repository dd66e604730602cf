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
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_between
from asd_lightning.scoring.normal_scores import ROUNDING, NormalScores, fewest_recordings

ALARM_SHARE = 0.1
"""The rate of alarms, as a share of that of warnings."""
CONFIDENCE = 0.9


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
        takes = f", estimated (a promise takes {fewest_recordings(self.alarm_rate)} recordings)"
        return (
            f"warnings on at most {100 * self.rate:.3g} % of normal sound, on average (it rests on {self.recordings} "
            f"{unit}: had you recorded others, it might be more, in 9 of 10 cases at most {100 * self.bound:.0f} %); "
            f"alarms on {100 * self.alarm_rate:.3g} %{'' if self.alarm_promised else takes}"
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
    above = np.arange(math.floor(allowed + ROUNDING), recordings)
    if len(above) == 0:
        return 1.0
    hoeffding = np.where(above >= allowed - ROUNDING, binom.cdf(above, recordings, allowed / recordings), 0.0)
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
