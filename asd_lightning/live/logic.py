"""From the windows of one input to what is said of it: two levels, sensor health, machine off, shelving.

A pure function of what went before: the same windows give the same events, in a live stream, in an accelerated one and
after a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from asd_lightning.errors import UserError
from asd_lightning.live.events import Kind
from asd_lightning.live.latch import LatchOptions, LatchState, step

Level = Literal["normal", "warning", "alarm"]


class Window(NamedTuple):
    """What was heard in one window.

    Attributes:
        end: seconds of sound heard up to its end.
        score: higher is more anomalous; nan where it is unfit or the machine does not run.
        unfit: why it cannot be judged; "" where it can.
        running: whether the machine runs.
    """

    end: float
    score: float
    unfit: str = ""
    running: bool = True


@dataclass(frozen=True)
class Levels:
    """Scores at which levels begin.

    Attributes:
        warning: scores above it.
        alarm: scores above it; not below ``warning``.  nan in either: that level is never reached.
        release: a level ends where scores are at or below this.
    """

    warning: float
    alarm: float
    release: float

    def __post_init__(self) -> None:
        if self.alarm < self.warning or self.release > self.warning:
            raise UserError(
                f"levels release {self.release:g}, warning {self.warning:g}, alarm {self.alarm:g}: "
                "they must not be in another order"
            )


@dataclass(frozen=True)
class Options:
    """How long something has to last before it is said.

    Args:
        warning: latch of the lower level.
        alarm: latch of the upper level.
        unfit: windows in a row that cannot be judged before that is said, and fit ones before it is taken back.
        still: windows in a row without the machine running before it is called off, and back.
    """

    warning: LatchOptions = field(default_factory=LatchOptions)
    alarm: LatchOptions = field(default_factory=LatchOptions)
    unfit: int = 3
    still: int = 2


class Told(NamedTuple):
    """An event before it has a number; ``threshold`` is the level concerned, ``None`` where none is."""

    kind: Kind
    threshold: float | None = None
    note: str = ""


@dataclass(frozen=True)
class State:
    """Where the logic stands, as plain data.

    Attributes:
        warning: of the lower level's latch.
        alarm: of the upper level's.
        told: the level that was said last.
        acknowledged: somebody has seen the level that was said last.
        shelved_until: until then, in s of sound, levels are not said; ``None``: they are.
        unfit: windows in a row that do not fit ``judging``.
        judging: whether the sound can be judged, as it was said last.
        still: windows in a row that do not fit ``running``.
        running: whether the machine runs, as it was said last.
    """

    warning: LatchState = field(default_factory=LatchState)
    alarm: LatchState = field(default_factory=LatchState)
    told: Level = "normal"
    acknowledged: bool = False
    shelved_until: float | None = None
    unfit: int = 0
    judging: bool = True
    still: int = 0
    running: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> State:
        """What gave ``kept``."""
        latches = {
            name: LatchState(**{**kept[name], "recent": tuple(kept[name]["recent"])}) for name in ("warning", "alarm")
        }
        return cls(**{**kept, **latches})


def advance(options: Options, levels: Levels, state: State, window: Window) -> tuple[State, list[Told]]:
    """The state after one more window, and what is to be said.

    >>> state, levels = State(), Levels(warning=1.0, alarm=2.0, release=0.8)
    >>> for second, score in enumerate([0.5, 3.0, 3.0, 0.5, 0.5, 0.5]):
    ...     state, events = advance(Options(), levels, state, Window(float(second), score))
    ...     print(second, [event.kind for event in events])
    0 []
    1 []
    2 ['alarm']
    3 []
    4 []
    5 ['normal']
    """
    state, said = _health(options, state, window)
    if window.unfit:
        return state, said
    state, more = _running(options, state, window)
    if window.running:
        state = replace(
            state,
            warning=_latched(options.warning, state.warning, window, levels.warning, levels.release),
            alarm=_latched(options.alarm, state.alarm, window, levels.alarm, min(levels.warning, levels.alarm)),
        )
    state, levels_said = _levels(levels, state, window.end)
    return state, [*said, *more, *levels_said]


def acknowledge(state: State) -> tuple[State, list[Told]]:
    """Somebody has seen the level that was said last; nothing where none is on, or it was seen before."""
    if state.told == "normal" or state.acknowledged:
        return state, []
    return replace(state, acknowledged=True), [Told("acknowledged", note=f"{state.told} acknowledged")]


def shelve(state: State, now: float, seconds: float) -> tuple[State, list[Told]]:
    """Levels are not said for ``seconds`` of sound; 0 ends that.  What is on when it ends is said then."""
    if seconds <= 0:
        return (state, []) if state.shelved_until is None else (replace(state, shelved_until=now), [])
    return replace(state, shelved_until=now + seconds), [Told("shelved", note=f"for {seconds:g} s")]


def _latched(options: LatchOptions, state: LatchState, window: Window, level: float, release: float) -> LatchState:
    return step(options, state, window.end, window.score > level, window.score <= release)


def _health(options: Options, state: State, window: Window) -> tuple[State, list[Told]]:
    fit = not window.unfit
    if fit == state.judging:
        return replace(state, unfit=0), []
    if state.unfit + 1 < options.unfit:
        return replace(state, unfit=state.unfit + 1), []
    told = Told("judging") if fit else Told("cannot judge", note=window.unfit)
    return replace(state, unfit=0, judging=fit), [told]


def _running(options: Options, state: State, window: Window) -> tuple[State, list[Told]]:
    if window.running == state.running:
        return replace(state, still=0), []
    if state.still + 1 < options.still:
        return replace(state, still=state.still + 1), []
    if window.running:
        return replace(state, still=0, running=True), [Told("running")]
    # A machine that was switched off has no alarm any more.
    off = replace(state, still=0, running=False, warning=LatchState(), alarm=LatchState())
    return off, [Told("not running")]


def _levels(levels: Levels, state: State, now: float) -> tuple[State, list[Told]]:
    said: list[Told] = []
    if state.shelved_until is not None:
        if now < state.shelved_until:
            return state, []
        state, said = replace(state, shelved_until=None), [Told("unshelved")]
    level: Level = "alarm" if state.alarm.on else "warning" if state.warning.on else "normal"
    if level == state.told:
        return state, said
    threshold = levels.alarm if "alarm" in (level, state.told) else levels.warning
    return replace(state, told=level, acknowledged=False), [*said, Told(level, threshold)]
