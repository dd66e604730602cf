"""A level's latch against a plain reading of its rules, over all short histories."""

import itertools

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.latch import LatchOptions, LatchState, step


def plain_latch(options, history):
    """The rules written as sentences over the whole history: the windows at which the latch is on."""
    on, since, free_at, counted_from = False, 0, 0.0, 0
    shown = []
    for now in range(len(history)):
        if on:
            last = history[max(since + 1, now - options.quiet + 1) : now + 1]
            long_enough = now - since >= options.hold
            if len(last) == options.quiet and all(released for _, released in last) and long_enough:
                on, free_at, counted_from = False, now + options.cooldown, now + 1
        else:
            heard = history[max(counted_from, now - options.of + 1) : now + 1]
            if sum(one for one, _ in heard) >= options.needed and now >= free_at:
                on, since = True, now
        shown.append(on)
    return shown


@pytest.mark.parametrize(
    "options",
    [
        LatchOptions(1, 1, 1),
        LatchOptions(2, 3, 2),
        LatchOptions(2, 3, 2, hold=3.0),
        LatchOptions(2, 2, 1, cooldown=4.0),
        LatchOptions(3, 4, 3, hold=2.0, cooldown=2.0),
    ],
)
def test_a_latch_follows_its_rules_over_all_histories_of_seven_windows(options):
    # Above the level, between the levels, at or below the release level.
    for history in itertools.product([(True, False), (False, False), (False, True)], repeat=7):
        state, shown = LatchState(), []
        for now, (above, released) in enumerate(history):
            state = step(options, state, float(now), above, released)
            shown.append(state.on)
        assert shown == plain_latch(options, history), history


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"needed": 0}, "0 of 3"),
        ({"quiet": 0}, "quiet=0"),
        ({"hold": -1.0}, "hold=-1.0"),
        ({"cooldown": float("nan")}, "nan"),
    ],
)
def test_options_that_no_latch_can_have_are_told(values, words):
    with pytest.raises(UserError, match=words):
        LatchOptions(**values)
