"""What a machine's windows are compared with: made once for all inputs that hear it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from asd_lightning.detector.drift import DriftTest
from asd_lightning.errors import UserError
from asd_lightning.live.current import InUse
from asd_lightning.live.false_alarms import FalseAlarms, level_for
from asd_lightning.live.levels import LeftOut, common_levels, drift_of, left_out_windows, levels_of
from asd_lightning.live.logic import Levels, Options

log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """Of one machine.

    Attributes:
        levels: of warnings and alarms, by the machine's state; "" is all, and any that has none of its own.
        found: false alarms of the level that was set for some a day; ``None`` where none was asked for.
        drift: the test for drift; ``None`` where it is not wanted or not possible.
    """

    levels: Mapping[str, Levels]
    found: FalseAlarms | None
    drift: DriftTest | None

    def levels_in(self, state: str) -> Levels:
        """What a window of the machine in a state is compared with."""
        return self.levels.get(state, self.levels[""])


class Preparing:
    """Prepares machines, each once for each change of the detector; threads may share it.

    Args:
        options: how long something has to last before it is said.
        a_day: false alarms that the level of alarms is set for; ``None`` for the level of the machine's promise.
        drift: whether normal sound that changes is told.
    """

    def __init__(self, options: Options, a_day: float | None, drift: bool) -> None:
        self._options, self._a_day, self._drift = options, a_day, drift
        self._lock = threading.Lock()
        self._made: dict[tuple[int, str], Prepared] = {}

    def of(self, in_use: InUse, machine: str) -> Prepared:
        """What a machine of the detector in use is compared with.

        Raises:
            UserError: false alarms a day were asked for and cannot be found.
        """
        key = in_use.change, machine
        with self._lock:
            if key not in self._made:
                # Another input may be one change behind.
                self._made = {other: one for other, one in self._made.items() if other[0] >= in_use.change - 1}
                self._made[key] = self._prepare(in_use, machine)
            return self._made[key]

    def _prepare(self, in_use: InUse, name: str) -> Prepared:
        machine = in_use.detector.machines_[name]
        seconds = in_use.detector.hearing_.preprocessing.clip_seconds

        # It costs as much as enrolling.
        @cache
        def left_out() -> LeftOut:
            return left_out_windows(machine, seconds)

        alarm, found = None, None
        if self._a_day is not None:
            scores, _, ends = left_out()
            found = level_for(self._a_day, scores, ends, common_levels(machine), self._options)
            found = replace(found, in_states=bool(machine.in_states))
            alarm = found.level
        levels = {state: levels_of(machine, alarm, state) for state in ("", *machine.in_states)}
        return Prepared(levels, found, _drift_test(name, left_out) if self._drift else None)


def _drift_test(machine: str, left_out: Callable[[], LeftOut]) -> DriftTest | None:
    try:
        return drift_of(left_out())
    except UserError as error:
        # Alarms do without.
        log.warning("%s: drift is not told: %s", machine, error)
        return None
