"""One input: from its sound to events in the journal."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from asd_lightning.detector.drift import DriftState
from asd_lightning.detector.health import fingerprint, standing_still
from asd_lightning.detector.judging import Judgment
from asd_lightning.errors import UserError
from asd_lightning.live.current import CurrentDetector, InUse
from asd_lightning.live.events import Event, utc
from asd_lightning.live.excerpts import Excerpts
from asd_lightning.live.false_alarms import FalseAlarms
from asd_lightning.live.inputs import Input, Stretch
from asd_lightning.live.journal import Journal, Place, Request
from asd_lightning.live.logic import Options, State, Told, Window, acknowledge, advance, shelve
from asd_lightning.live.prepared import Preparing
from asd_lightning.scoring.arguments import require_machine

log = logging.getLogger(__name__)

# Sound is kept of what somebody will want to listen to.
_WORTH_HEARING = ("warning", "alarm")
_LONGEST_NAME = 100
# Between two looks at an input without new sound, in s.
_PAUSE = 0.5
_NOTHING = Stretch([], [], 0.0, {})


@dataclass(frozen=True)
class Source:
    """An input under its name.

    Attributes:
        name: of letters that a topic and a file name may have, see `check_name`.
        machine: which of the detector's machines is heard there.
        input: gives the sound.
        origin: where the sound comes from, such as a folder's path.
        named: somebody has given the name; otherwise it follows from ``origin``, and is of no other.
    """

    name: str
    machine: str
    input: Input
    origin: str = ""
    named: bool = True


def check_name(name: str) -> None:
    """Names of inputs are parts of topics, file names and ids.

    Raises:
        UserError: it has other letters, or too many.

    >>> check_name("pump/1")
    Traceback (most recent call last):
    asd_lightning.errors.UserError: 'pump/1': an input's name is made of letters, digits, - _ and ., at most 100
    """
    if not 0 < len(name) <= _LONGEST_NAME or not all(sign.isalnum() or sign in "-_." for sign in name):
        raise UserError(
            f"{name!r:.120}: an input's name is made of letters, digits, - _ and ., at most {_LONGEST_NAME}"
        )


@dataclass
class Status:
    """How an input is doing, for those who look from outside.

    Attributes:
        place: where it stands.
        score: of the last window.
        threshold: that it was compared with.
        windows: heard since the start.
        unwritten: events that the disk did not take yet.
    """

    place: Place
    score: float = float("nan")
    threshold: float = float("nan")
    windows: int = 0
    unwritten: int = 0


@dataclass(frozen=True)
class Surroundings:
    """What all inputs share.

    Attributes:
        detector: judges.
        journal: path of the journal.
        options: how long something has to last before it is said.
        excerpts: where the sound of events is kept; ``None`` keeps none.
        a_day: false alarms that the level of alarms is set for; ``None`` for the level of the machine's promise.
        drift: whether normal sound that changes is told.
    """

    detector: CurrentDetector
    journal: Path
    options: Options = field(default_factory=Options)
    excerpts: Excerpts | None = None
    a_day: float | None = None
    drift: bool = True

    @cached_property
    def preparing(self) -> Preparing:
        """Prepares machines, each once for all inputs."""
        return Preparing(self.options, self.a_day, self.drift)


class _Said(NamedTuple):
    told: Told
    window: int | None


class Listener:
    """Hears one input until it ends or is stopped.

    Attributes:
        status: how it is doing.
        found: false alarms of the level that was set for some a day; ``None`` where none was asked for.

    Args:
        source: the input.
        around: what all inputs share.

    Raises:
        UserError: the detector does not know the machine, or the journal knows the input as another machine's, or one
            of that name that somebody else's sound came from.
    """

    def __init__(self, source: Source, around: Surroundings) -> None:
        self.source = source
        self.around = around
        self._in_use = around.detector.get()
        require_machine(source.machine, self._in_use.detector.machines_, "detector")
        self._journal = Journal(around.journal, other_threads=True)
        place = self._journal.place(source.name)
        if place is not None:
            self._check_same(place)
        self._prepared = around.preparing.of(self._in_use, source.machine)
        self.status = Status(replace(place or Place(source.machine), origin=source.origin))
        self._events: list[Event] = []
        self._heard: list[str] = []
        self._answered: list[Request] = []
        if place is None:
            self._take(_NOTHING._replace(time=time.time(), happened="started"))
        elif place.origin != source.origin:
            self._keep()

    @property
    def found(self) -> FalseAlarms | None:
        """See the class."""
        return self._prepared.found

    def run(self, stop: threading.Event) -> None:
        """Hear until the input ends, or ``stop`` is set.

        Raises:
            UserError: the input cannot be used at all.
        """
        try:
            for stretch in self.source.input.stretches(self.status.place.place, self._was_heard):
                if stop.is_set():
                    break
                self._take(stretch or _NOTHING)
                if stretch is None:
                    stop.wait(_PAUSE)
            # What was asked meanwhile, and what the disk has not taken.
            self._take(_NOTHING)
        finally:
            self._journal.close()

    def _was_heard(self, key: str) -> bool:
        return key in self._heard or self._journal.was_heard(self.source.name, key)

    def _check_same(self, place: Place) -> None:
        """That the journal's input of this name is this one."""
        source, journal = self.source, self.around.journal
        if place.machine != source.machine:
            raise UserError(
                f"{journal}: {source.name} was {place.machine} so far, and is {source.machine} now; give the input "
                "another name"
            )
        if place.origin != source.origin and not source.named:
            raise UserError(
                f"{journal}: {source.name} was {place.origin} so far, and is {source.origin} now; give the input a "
                f"name of its own (--input NAME=...), or that one (--input {source.name}=...) where it has only moved"
            )
        if place.origin != source.origin:
            log.warning("%s: was %s so far, and goes on with %s", source.name, place.origin, source.origin)

    def _take(self, stretch: Stretch) -> None:
        """From waveforms to what is written."""
        requests = self._requests()
        renewed = [_Said(told, None) for told in self._renewed()]
        if stretch is _NOTHING and not (requests or renewed or self._events):
            return
        detector, judged = self._in_use.detector, []
        if stretch.windows:
            judged = detector.judge(stretch.windows, self.source.machine, len(stretch.windows), progress=False)
        place, said = self._heard_of(stretch, judged, requests)
        events = [self._event(stretch, judged, number, one) for number, one in enumerate([*renewed, *said], start=1)]
        self._events += events
        self._heard += [stretch.heard] if stretch.heard else []
        self._answered += requests
        self.status.place = replace(place, events=place.events + len(events))
        self.status.windows += len(judged)
        if judged:
            self.status.score, self.status.threshold = judged[-1].score, judged[-1].threshold
        self._keep()

    def _requests(self) -> list[Request]:
        """What was asked and not yet followed; a disk that cannot be read is asked again later."""
        try:
            return [one for one in self._journal.requests(self.source.name) if one not in self._answered]
        except sqlite3.Error as error:
            log.warning("%s: the journal cannot be read (%s)", self.source.name, error)
            return []

    def _renewed(self) -> list[Told]:
        """What is said of a detector that was written anew since the last stretch."""
        fresh = self.around.detector.get()
        if fresh.change == self._in_use.change:
            return []
        try:
            self._prepared = self.around.preparing.of(fresh, self.source.machine)
        except UserError as error:
            fresh = InUse(self._in_use.detector, fresh.change, f"the detector from before goes on: {error}")
        else:
            self.status.place = replace(self.status.place, drift=DriftState())
        self._in_use = fresh
        return [Told("detector", note=fresh.note)]

    def _heard_of(
        self, stretch: Stretch, judged: Sequence[Judgment], requests: Sequence[Request]
    ) -> tuple[Place, list[_Said]]:
        """Where the input stands after a stretch, and what is to be said of it."""
        before = self.status.place
        state, previous, drift = before.state, before.previous, before.drift
        machine = self._in_use.detector.machines_[self.source.machine]
        said = [_Said(Told(stretch.happened, note=stretch.note), None)] if stretch.happened else []
        for request in requests:
            state, told = _answer(state, before.position, request)
            said += [_Said(one, None) for one in told]
        for number, (judgment, waveform) in enumerate(zip(judged, stretch.windows, strict=True)):
            now = fingerprint(waveform)
            window = _window(judgment, before.position + _end(stretch, judged, number), standing_still(now, previous))
            levels = self._prepared.levels_in(judgment.state)
            state, told = advance(self.around.options, levels, state, window)
            said += [_Said(one, number) for one in told]
            drift, told = self._drifted(drift, window, machine.common(judgment.score, judgment.state))
            said += [_Said(one, number) for one in told]
            previous = now
        place = before.place if stretch is _NOTHING else stretch.place
        position = before.position + stretch.seconds
        return replace(before, state=state, place=place, position=position, previous=previous, drift=drift), said

    def _drifted(self, state: DriftState, window: Window, score: float) -> tuple[DriftState, list[Told]]:
        """Said once; a new detector begins anew."""
        test = self._prepared.drift
        if test is None or state.drifted_at or window.unfit or not window.running:
            return state, []
        after = test.update(state, score)
        note = "sound has moved away from what was enrolled: listen; if it is normal, give it to asd calibrate"
        return after, [Told("drift", note=note)] if after.drifted_at else []

    def _event(self, stretch: Stretch, judged: Sequence[Judgment], number: int, said: _Said) -> Event:
        told, window = said
        offset = 0.0 if window is None else stretch.offsets[window]
        place = self.status.place
        event = Event(
            number=place.events + number,
            source=self.source.name,
            machine=self.source.machine,
            kind=told.kind,
            position=place.position + (0.0 if window is None else _end(stretch, judged, window)),
            time=utc((stretch.time or time.time()) + (0.0 if window is None else offset - stretch.offsets[0])),
            score=None if window is None else judged[window].score,
            threshold=told.threshold,
            file=stretch.file,
            offset=offset,
            note=told.note,
            state="" if window is None else judged[window].state,
            journal=self._journal.mark,
        )
        if window is None or told.kind not in _WORTH_HEARING or self.around.excerpts is None:
            return event
        return self._with_sound(event, stretch, window, self.around.excerpts)

    def _with_sound(self, event: Event, stretch: Stretch, window: int, excerpts: Excerpts) -> Event:
        rate = self._in_use.detector.hearing_.preprocessing.sample_rate
        try:
            name = excerpts.keep(event.id, stretch.windows[window], rate)
            excerpts.make_room(self._journal.mark)
        except OSError as error:
            # The event is worth more than its sound.
            log.warning("%s: no sound is kept of it (%s)", event.id, error)
            return event
        return replace(event, excerpt=name)

    def _keep(self) -> None:
        """Write what has happened; what the disk does not take is tried again with the next stretch."""
        try:
            self._journal.keep(self.source.name, self.status.place, self._events, self._heard, self._answered)
        except sqlite3.Error as error:
            log.warning(
                "%s: %d event(s) are not written (%s); listening goes on, and it is tried again",
                *(self.source.name, len(self._events), error),
            )
        else:
            self._events, self._heard, self._answered = [], [], []
        self.status.unwritten = len(self._events)


def _answer(state: State, position: float, request: Request) -> tuple[State, list[Told]]:
    if request.kind == "acknowledge":
        return acknowledge(state)
    return shelve(state, position, request.seconds)


def _end(stretch: Stretch, judged: Sequence[Judgment], number: int) -> float:
    """Seconds from the stretch's start to the end of one of its windows."""
    length = judged[number].windows[0].end if judged[number].windows else 0.0
    return stretch.offsets[number] - stretch.offsets[0] + length


def _window(judgment: Judgment, end: float, still: str) -> Window:
    unfit = "; ".join(judgment.health) if judgment.decision == "cannot judge" else ""
    return Window(end, judgment.score, still or unfit, judgment.decision != "not running")
