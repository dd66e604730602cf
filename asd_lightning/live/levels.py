"""What a machine's windows are compared with, from what its detector has learnt: levels, and a test for drift."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from asd_lightning.data.recordings import at_second
from asd_lightning.detector.bank import Bank
from asd_lightning.detector.drift import DriftTest
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.thresholds import fit_bank
from asd_lightning.errors import UserError
from asd_lightning.live.logic import Levels

# Windows in which a run without drift says so in one of twenty cases.
_RUN = 2000
# A level is left where scores are so far, from it down to the middle of normal sound.
_DEADBAND = 0.25


def levels_of(machine: Machine, alarm: float | None = None, state: str = "") -> Levels:
    """Warning and alarm of a machine's promise, and a release level a quarter of the way from the warning to normal.

    Args:
        machine: of a detector.
        alarm: another level of alarms, not below that of warnings; of a machine with several states on their common
            scale, see `Machine.common`.
        state: one of the machine's, "" for all.
    """
    promise = machine.thresholds(state).promise
    warning, middle = promise.warning, machine.middle(state)
    if alarm is not None and machine.in_states:
        alarm = max(promise.alarm, middle + alarm * machine.unit(state))
    return Levels(
        warning=warning,
        alarm=max(promise.alarm if alarm is None else alarm, warning),
        release=warning - _DEADBAND * (warning - middle),
    )


def common_levels(machine: Machine) -> Levels:
    """Levels on the scale of `Machine.common`: the alarm is the highest of the states'."""
    if not machine.in_states:
        return levels_of(machine)
    alarm = max(machine.common(own.promise.alarm, name) for name, own in machine.in_states.items())
    return Levels(warning=1.0, alarm=max(alarm, 1.0), release=1.0 - _DEADBAND)


class LeftOut(NamedTuple):
    """The windows of a machine's bank, each scored without its recording, in the order of the sound.

    Attributes:
        scores: of the windows, on the scale of `Machine.common`.
        recordings: name of each window's.
        ends: in s from the first recording's beginning; what overlaps counts once.
    """

    scores: Float[ndarray, " windows"]
    recordings: list[str]
    ends: Float[ndarray, " windows"]


def left_out_windows(machine: Machine, seconds: float) -> LeftOut:
    """What a machine's own normal sound scores.

    Args:
        machine: of a detector.
        seconds: length of a window.

    Raises:
        UserError: a run's machine that does not tell how to fit it, or one with a single recording.
    """
    if not machine.maker or not machine.bank.items:
        raise UserError(f"{machine.name}: its run does not tell how to fit it again; enrol it from its recordings")
    bank = machine.bank.of_role("bank")
    names = bank.recordings()
    own = [(item.recording, item.file, item.start) for item in bank.items]
    order = sorted(range(len(own)), key=own.__getitem__)
    blocked = {*bank.blocked.tolist()}
    items = tuple(
        item if row in blocked else item._replace(file=at_second(item.file, item.start))
        for row, item in enumerate(bank.items)
    )
    fitted = fit_bank(Bank(items, bank.embeddings, bank.blocking), machine.maker, "max")
    steps = [_new_sound(bank, before, row, seconds) for before, row in zip([None, *order], order, strict=False)]
    scores = [machine.common(score, item.state) for score, item in zip(fitted.scores, bank.items, strict=True)]
    return LeftOut(np.array(scores)[np.array(order)], [names[row] for row in order], np.cumsum(steps))


def _new_sound(bank: Bank, before: int | None, row: int, seconds: float) -> float:
    """Seconds of a window that the window before does not have."""
    item = bank.items[row]
    length = item.seconds or seconds
    if before is None or bank.items[before].file != item.file:
        return length
    return min(length, item.start - bank.items[before].start)


def drift_of(left_out: LeftOut) -> DriftTest:
    """A test for new normal sound that is unlike the enrolled.

    Raises:
        UserError: too few recordings were enrolled.
    """
    recording = np.unique(left_out.recordings, return_inverse=True)[1]
    return DriftTest.fit(left_out.scores, recording, "up", _RUN)
