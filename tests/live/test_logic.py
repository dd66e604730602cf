"""What is said of a stream of windows."""

import json

import numpy as np
import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.latch import LatchOptions
from asd_lightning.live.logic import Levels, Options, State, Window, acknowledge, advance, shelve

LEVELS = Levels(warning=1.0, alarm=2.0, release=0.8)
QUICK = Options(LatchOptions(1, 1, 1), LatchOptions(1, 1, 1), unfit=2, still=2)


def heard(scores, options=QUICK, state=None, start=0):
    """Kinds said at each window; a score of None is a machine that is off, text is why a window is unfit."""
    state, said = state or State(), []
    for second, score in enumerate(scores, start=start):
        unfit = score if isinstance(score, str) else ""
        number = score if isinstance(score, float) else float("nan")
        state, told = advance(options, LEVELS, state, Window(float(second), number, unfit, score is not None))
        said.append([one.kind for one in told])
    return state, said


def test_levels_are_said_where_they_begin_and_end_and_not_between():
    _, said = heard([0.5, 1.5, 1.5, 2.5, 1.5, 0.9, 0.5, 0.5])
    assert said == [[], ["warning"], [], ["alarm"], [], ["warning"], ["normal"], []]


def test_a_score_between_release_and_level_keeps_a_warning():
    _, said = heard([1.5, 0.9, 0.9, 0.9])
    assert said == [["warning"], [], [], []]


def test_what_cannot_be_judged_is_said_after_some_windows_and_holds_the_level():
    state, said = heard([2.5, "silence", "silence", "silence", 0.5, 2.5, 0.5])
    assert said == [["alarm"], [], ["cannot judge"], [], ["normal"], ["judging", "alarm"], ["normal"]]
    assert state.judging


def test_a_machine_that_is_switched_off_has_no_alarm():
    state, said = heard([2.5, None, None, None, 0.5, 0.5])
    assert said == [["alarm"], [], ["not running", "normal"], [], [], ["running"]]
    assert state.running


def test_a_shelved_input_is_silent_and_says_at_the_end_what_is_on():
    state, _ = heard([0.5])
    state, told = shelve(state, 0.0, 3.0)
    assert [one.kind for one in told] == ["shelved"]
    state, said = heard([2.5, 2.5, 2.5, 0.5], state=state, start=1)
    assert said == [[], [], ["unshelved", "alarm"], ["normal"]]


def test_shelving_is_ended_by_nought_seconds():
    state, _ = shelve(State(), 0.0, 100.0)
    state, told = shelve(state, 5.0, 0.0)
    assert told == []
    _, said = heard([2.5], state=state, start=6)
    assert said == [["unshelved", "alarm"]]
    assert shelve(State(), 5.0, 0.0) == (State(), [])


def test_an_alarm_is_acknowledged_once_and_a_new_one_again():
    assert acknowledge(State()) == (State(), [])
    state, _ = heard([2.5])
    state, told = acknowledge(state)
    assert [(one.kind, one.note) for one in told] == [("acknowledged", "alarm acknowledged")]
    assert acknowledge(state)[1] == []
    state, _ = heard([0.5, 0.5, 2.5], state=state, start=1)
    assert [one.kind for one in acknowledge(state)[1]] == ["acknowledged"]


def test_a_state_kept_as_json_goes_on_as_if_nothing_had_happened():
    rng = np.random.default_rng(0)
    options = Options(LatchOptions(2, 3, 2, hold=2.0, cooldown=3.0), LatchOptions(2, 4, 2), unfit=2, still=2)
    values = [0.3, 0.9, 1.5, 2.5, "silence", None]
    scores = [values[number] for number in rng.choice(6, 400, p=[0.3, 0.1, 0.2, 0.2, 0.1, 0.1])]
    _, without = heard(scores, options)
    state, said = State(), []
    for second, score in enumerate(scores):
        state, told = heard([score], options, State.from_dict(json.loads(json.dumps(state.to_dict()))), second)
        said += told
    assert said == without
    assert {kind for kinds in said for kind in kinds} >= {"alarm", "warning", "normal", "cannot judge", "not running"}


@pytest.mark.parametrize("levels", [(1.0, 0.5, 0.5), (1.0, 2.0, 1.5)])
def test_levels_in_another_order_are_told(levels):
    with pytest.raises(UserError, match="another order"):
        Levels(*levels)


def test_a_level_without_a_number_is_never_reached():
    nan = float("nan")
    state, told = advance(QUICK, Levels(nan, nan, nan), State(), Window(0.0, 1e9))
    assert told == []
    assert not state.alarm.on
