"""Alarms a day on left-out normal sound."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from asd_lightning.errors import UserError
from asd_lightning.live.false_alarms import false_alarms, level_for
from asd_lightning.live.latch import LatchOptions
from asd_lightning.live.logic import Levels, Options

LEVELS = Levels(1.0, 1.0, 0.8)
SINGLE = Options(LatchOptions(1, 1, 1), LatchOptions(1, 1, 1))


def normal(seed=0, recordings=6, windows=20):
    rng = np.random.default_rng(seed)
    scores = rng.gamma(2.0, 0.4, recordings * windows)
    return scores, np.arange(1.0, len(scores) + 1) * 10


def test_alarms_are_counted_as_rises_above_the_level():
    scores, ends = normal()
    found = false_alarms(scores, ends, Levels(1.0, 2.0, 1.0), SINGLE)
    # With no delay, and a release at the warning's level: a new alarm wherever one begins anew.
    expected, on = 0, False
    for score in scores:
        expected += score > 2.0 and not on
        on = score > 2.0 or (on and score > 1.0)
    assert found.count == expected > 2
    assert found.hours == pytest.approx(6 * 200 / 3600)
    assert found.a_day == pytest.approx(found.count / found.hours * 24)


def test_the_bound_is_that_of_a_poisson_count():
    scores, ends = normal()
    found = false_alarms(scores, ends, Levels(1.0, 2.0, 1.0), SINGLE)
    mean = found.bound * found.hours / 24
    assert stats.poisson.cdf(found.count, mean) == pytest.approx(0.1)


def test_no_alarm_in_an_hour_promises_fifty_a_day_and_no_fewer():
    found = false_alarms(np.zeros(36), np.arange(1, 37) * 100.0, LEVELS, SINGLE)
    assert found.a_day == 0
    assert found.bound == pytest.approx(-np.log(0.1) * 24)


@pytest.mark.parametrize("a_day", [0.0, 300.0, 1000.0])
def test_the_level_is_the_lowest_that_keeps_the_aim(a_day):
    scores, ends = normal()
    found = level_for(a_day, scores, ends, LEVELS, SINGLE)
    assert found.a_day <= a_day
    # Fewer than are tried: each score above the warning is a level, and the next lower one has too many.
    below = scores[(scores < found.level) & (scores > 1.0)]
    if len(below):
        assert false_alarms(scores, ends, Levels(1.0, float(below.max()), 0.8), SINGLE).a_day > a_day


def test_fewer_false_alarms_cost_a_higher_level():
    scores, ends = normal()
    levels = [level_for(a_day, scores, ends, LEVELS, SINGLE).level for a_day in (0.0, 300.0, 1e6)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == 1.0


def test_a_level_of_a_machine_in_states_is_told_as_a_distance():
    scores, ends = normal()
    found = false_alarms(scores, ends, Levels(1.0, 2.0, 1.0), SINGLE)
    assert found.sentence().startswith("alarms above 2: ")
    words = "alarms above 2 times as far from the middle of a state's normal sound as its warnings begin: "
    assert replace(found, in_states=True).sentence().startswith(words)


def test_no_level_is_below_the_promised_one():
    scores, ends = normal()
    assert level_for(1e9, scores, ends, Levels(1.0, 1.7, 0.8), SINGLE).level == 1.7


def test_windows_of_recordings_of_one_window_each_make_an_alarm_together():
    """As in a folder that recordings arrive in: two of three windows, whatever they were cut from."""
    found = false_alarms(np.array([0.0, 3.0, 3.0, 0.0]), np.arange(1.0, 5.0), Levels(1.0, 2.0, 0.8), Options())
    assert found.count == 1


def test_without_normal_sound_nothing_is_counted():
    with pytest.raises(UserError, match="no normal sound"):
        false_alarms(np.empty(0), np.empty(0), LEVELS, SINGLE)
