"""How many false alarms a day a level gives, found on normal sound that the back-end had not seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from asd_lightning.errors import UserError
from asd_lightning.live.logic import Levels, Options, State, Window, advance

_DAY = 86_400.0
# The logic runs over all windows for each level that is tried.
_MOST_LEVELS = 32


@dataclass(frozen=True)
class FalseAlarms:
    """What a level costs.

    Attributes:
        level: of alarms.
        count: alarms on normal sound.
        hours: of normal sound that they were counted in.
        a_day: ``count`` for 24 hours.
        bound: upper end of the one-sided 90 % interval of ``a_day`` for a Poisson process.
        in_states: the level is on the scale that a machine's states have in common, `Machine.common`.
    """

    level: float
    count: int
    hours: float
    a_day: float
    bound: float
    in_states: bool = False

    def sentence(self) -> str:
        """In words."""
        # Each state has scores of its own; what they share is the distance.
        unit = " times as far from the middle of a state's normal sound as its warnings begin" if self.in_states else ""
        return (
            f"alarms above {self.level:.4g}{unit}: {self.count} in {self.hours:.2f} h of left-out normal sound, "
            f"{self.a_day:.2g} a day (at most {self.bound:.2g} with 90 % confidence, if they come independently)"
        )


def false_alarms(
    scores: Float[ndarray, " windows"],
    ends: Float[ndarray, " windows"],
    levels: Levels,
    options: Options,
) -> FalseAlarms:
    """Run the alarm logic over left-out normal windows, one recording after another as `asd watch` hears them.

    Args:
        scores: each by a back-end fitted without the window's recording; in the order of the sound.
        ends: of each window, in s of all the sound so far.
        levels: to be tried.
        options: of the logic.

    Raises:
        UserError: no windows.

    >>> ends = np.arange(1.0, 7.0)
    >>> found = false_alarms(
    ...     np.array([0.1, 3.0, 3.0, 0.1, 0.1, 0.1]), ends, Levels(1.0, 2.0, 0.5), Options()
    ... )
    >>> found.count, round(found.hours * 3600)
    (1, 6)
    """
    from scipy import stats

    if not len(scores):
        raise UserError("no normal sound: false alarms a day cannot be counted")
    count, seconds, state = 0, float(ends[-1]), State()
    for end, score in zip(ends, scores, strict=True):
        state, told = advance(options, levels, state, Window(float(end), float(score)))
        count += sum(one.kind == "alarm" for one in told)
    # Exact for a Poisson count (Garwood, Biometrika 1936).
    most = float(stats.chi2.ppf(0.9, 2 * (count + 1))) / 2
    return FalseAlarms(levels.alarm, count, seconds / 3600, count * _DAY / seconds, most * _DAY / seconds)


def level_for(
    a_day: float,
    scores: Float[ndarray, " windows"],
    ends: Float[ndarray, " windows"],
    levels: Levels,
    options: Options,
) -> FalseAlarms:
    """The lowest of some levels from ``levels.alarm`` on with at most ``a_day`` false alarms on left-out sound.

    The levels are scores of that sound, evenly among those above the promised alarm, below which none goes.

    A level above all that was heard has none; where even its bound is above ``a_day``, more normal sound is needed to
    promise that few, and the sentence says what was found.

    Args:
        a_day: aim.
        scores: see `false_alarms`.
        ends: see `false_alarms`.
        levels: warning and release stay.
        options: of the logic.

    Raises:
        UserError: no windows.
    """

    def tried(level: float) -> FalseAlarms:
        return false_alarms(scores, ends, replace(levels, alarm=level), options)

    candidates = _candidates(scores, levels.alarm).tolist()
    # Nothing is above the highest.  The number of alarms need not fall as the level rises, since one may become two:
    # the search stops at the first level that has too many.
    found = tried(candidates[-1])
    for level in candidates[-2::-1]:
        next_lower = tried(level)
        if next_lower.a_day > a_day:
            break
        found = next_lower
    return found


def _candidates(scores: Float[ndarray, " windows"], lowest: float) -> Float[ndarray, " levels"]:
    above = np.unique(scores[scores > lowest])
    some = above[np.unique(np.linspace(0, len(above) - 1, min(len(above), _MOST_LEVELS)).round().astype(int))]
    return np.append(lowest, some)
