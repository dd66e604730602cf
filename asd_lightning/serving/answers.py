"""What a detector says of recordings that were sent: plain data, the same as the commands give."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from starlette.exceptions import HTTPException

from asd_lightning.atomic import refuse_unwritable
from asd_lightning.data.audio import BadAudioError, read_header
from asd_lightning.data.recordings import clips_of, is_of_challenge
from asd_lightning.detector.actions import ChangedMeanwhile, info, take_in
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.given import is_called_anomaly, warn_of_anomalies
from asd_lightning.detector.hearing import Sound, machine_above
from asd_lightning.detector.judging import Judgment, as_json, judge
from asd_lightning.detector.machine import Machine
from asd_lightning.errors import UserError
from asd_lightning.live.current import CurrentDetector, InUse
from asd_lightning.scoring.arguments import require_machine
from asd_lightning.serving.bodies import Received
from asd_lightning.serving.settings import Settings
from asd_lightning.serving.warned import warnings_of

logger = logging.getLogger(__name__)
# Where names that clients give begin: the server's own folders say nothing of them.
_ROOT = Path("/")


class Pieces(NamedTuple):
    """A recording that was sent, as pieces that a detector hears."""

    received: Received
    sounds: list[Sound]


class Answers:
    """Answers of the detector that is on the disk; threads may share it, but for `accept`.

    Args:
        settings: of the server.

    Raises:
        UserError: not a detector, or one whose embedder cannot be built here.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.current = CurrentDetector(settings.detector)
        self._told = 0
        # Now, and not for the first who asks.
        _ = self.detector.hearing_.scored_by

    @property
    def in_use(self) -> InUse:
        """What judges now; a change of its file is told to the log once."""
        found = self.current.get()
        if found.change != self._told:
            self._told = found.change
            logger.warning("%s: %s", self.settings.detector, found.note)
        return found

    @property
    def detector(self) -> Detector:
        """The newest."""
        return self.in_use.detector

    def info(self) -> dict[str, Any]:
        """What ``asd info --json`` prints, without what JSON has no word for.

        Raises:
            HTTPException: 409 where the file is not what judges, 503 where it is damaged.
        """
        path = self.settings.detector
        with told_of(path, 503):
            found = info(path)
        self._refuse_other(found["content_hash"])
        told = json.dumps(found | {"path": path.name}, default=str)
        plain: dict[str, Any] = json.loads(told, parse_constant=lambda _: None)
        return plain

    def score(self, received: Received, machine: str | None) -> dict[str, Any]:
        """What ``asd score --json`` prints of the recording.

        Raises:
            HTTPException: 400 unreadable, 404 no such machine, 413 too long, 422 of which machine.
        """
        detector = self.detector
        within(self.settings, [received])
        return as_json(judged(detector, pieces_of(detector, received, machine)))

    def batch(self, received: Sequence[Received], machine: str | None) -> list[dict[str, Any]]:
        """Likewise of several, judged together as the command does; of one that cannot be read, why.

        Raises:
            HTTPException: 404 no such machine, 413 too long.
        """
        detector = self.detector
        if machine is not None:
            refuse_unknown(detector, machine)
        readable = within(self.settings, received, refuse=False)
        told: dict[int, dict[str, Any]] = {}
        pieces: dict[int, Pieces] = {}
        for number, (one, why) in enumerate(zip(received, readable, strict=True)):
            try:
                if why:
                    raise HTTPException(400, why)
                pieces[number] = pieces_of(detector, one, machine, number)
            except HTTPException as error:
                told[number] = {"path": one.name, "error": error.detail}
        sounds = [sound for own in pieces.values() for sound in own.sounds]
        found = judge(sounds, detector.hearing_, detector.machines_) if sounds else []
        for (number, own), judgment in zip(pieces.items(), found, strict=True):
            given = as_given(judgment, own.received)
            told[number] = as_json(given) if given.windows else {"path": given.path, "error": given.health[0]}
        return [told[number] for number in range(len(received))]

    def accept(self, received: Received, machine: str | None) -> dict[str, Any]:
        """Take the recording into the detector's file, as ``asd accept`` does; by one thread alone.

        Raises:
            HTTPException: as of `score`; 403 where nothing is accepted, 409 where somebody else has written the file,
                422 where nothing is new, 503 where the file cannot be read or written.
        """
        if self.settings.read_only:
            raise HTTPException(403, "the server is read-only (asd serve --read-only); nothing is accepted")
        within(self.settings, [received])
        path = self.settings.detector
        with told_of(path, 503):
            _refuse_unwritable(path)
            detector = Detector.load(path)
            self._refuse_other("" if detector.read_from is None else detector.read_from.content_hash)
            pieces = pieces_of(detector, received, machine)
            judged(detector, pieces)
            before = detector.machines_[pieces.sounds[0].clip.machine]
            with told_of(path, 422), warnings_of("asd_lightning.detector") as told:
                warn_of_anomalies([Path(received.name)], _ROOT)
                take_in(detector, pieces.sounds, path)
        after = detector.machines_[before.name]
        change = dataclasses.asdict(after.changes[-1])
        notes = [*told, *_moved(before, after)]
        return {"version": len(after.changes) - 1, "change": change, "notes": notes}

    def _refuse_other(self, content_hash: str) -> None:
        """Raise where the file that was just read is another than what judges: it would be answered for in vain."""
        detector, _, note = self.in_use
        if detector.read_from is None or detector.read_from.content_hash != content_hash:
            told = without_place(note, self.settings.detector) or "it changes at this moment"
            raise HTTPException(409, f"the file is not the detector that judges now: {told}")


def _moved(before: Machine, after: Machine) -> list[str]:
    """How the thresholds have moved."""
    if before.in_states or after.in_states:
        return ["each state's thresholds were made anew; /api/v1/info tells them"]
    if before.promise.warning == after.promise.warning:
        return []
    return [
        f"warnings begin above {after.promise.warning:.6g} from here on, and before above {before.promise.warning:.6g}"
    ]


def _refuse_unwritable(path: Path) -> None:
    """The same as a command, whose reason names the folder: that is for the log."""
    try:
        refuse_unwritable(path)
    except UserError as error:
        logger.warning("%s", error)
        raise HTTPException(503, f"{path.name}: cannot be written; the server's log says why") from error


def without_place(told: str, path: Path) -> str:
    """What is told of the detector's file, without where it lies."""
    return told.replace(str(path), path.name)


@contextmanager
def told_of(path: Path, status: int) -> Iterator[None]:
    """What is wrong with the detector's file is told without where it lies."""
    try:
        yield
    except UserError as error:
        told = without_place(str(error), path)
        raise HTTPException(409 if isinstance(error, ChangedMeanwhile) else status, told) from error


def within(settings: Settings, received: Sequence[Received], refuse: bool = True) -> list[str]:
    """Why each recording cannot be read, by its header; "" where it can.

    Args:
        settings: with the limits, which all recordings keep together.
        received: recordings.
        refuse: raise on what cannot be read.

    Raises:
        HTTPException: 413 over a limit; 400 unreadable.
    """
    seconds, samples, whys = 0.0, 0.0, []
    for one in received:
        try:
            header = read_header(one.path)
        except BadAudioError as error:
            whys.append(_told(str(error), one))
            if refuse:
                raise HTTPException(400, whys[-1]) from error
            continue
        whys.append("")
        seconds += header.seconds
        samples += header.seconds * header.sample_rate * header.channels
    if seconds > settings.max_seconds or samples > settings.most_samples:
        raise HTTPException(
            413,
            f"{seconds:.6g} s of sound, {samples:,.0f} samples in all channels; a request has {settings.max_seconds:g} "
            f"s and {settings.most_samples:,} at most; send shorter recordings (asd serve --max-seconds)",
        )
    return whys


def pieces_of(detector: Detector, received: Received, machine: str | None, number: int = 0) -> Pieces:
    """What the command would hear of a file of that name.

    Args:
        detector: that hears.
        received: the recording.
        machine: whose; by default the only one, or the one whose name is that of a folder in the recording's name.
        number: of the recording in its request.

    Raises:
        HTTPException: 404 no such machine, 422 of which machine.
    """
    (named,) = clips_of([Path(received.name)], _whose(detector, received.name, machine))
    # Two may have one name, and no name has a slash.
    file = named.file if number == 0 else f"{number}/{named.file}"
    clip = dataclasses.replace(named, path=received.path, name=file, file=file, recording=file)
    # Its name on the disk says nothing.
    return Pieces(received, [Sound(clip)] if is_of_challenge(named) else detector.hearing_.pieces_of([clip]))


def judged(detector: Detector, pieces: Pieces) -> Judgment:
    """What the detector says of a recording.

    Raises:
        HTTPException: 400, where it cannot be read to its end.
    """
    (found,) = judge(pieces.sounds, detector.hearing_, detector.machines_)
    one = as_given(found, pieces.received)
    if not one.windows:
        raise HTTPException(400, one.health[0])
    return one


def called_anomaly(received: Received) -> bool:
    """Whether the client's name of a recording, or the folder in it, calls it an anomaly; accepting it says so."""
    return is_called_anomaly(Path(received.name), _ROOT)


def as_given(judgment: Judgment, received: Received) -> Judgment:
    """The same under the name that the client gave."""
    health = tuple(_told(reason, received) for reason in judgment.health)
    return judgment._replace(path=received.name, health=health)


def refuse_unknown(detector: Detector, machine: str) -> None:
    """Raise a 404 where the detector has no such machine."""
    try:
        require_machine(machine, detector.machines_, "detector")
    except UserError as error:
        raise HTTPException(404, str(error)) from error


def _whose(detector: Detector, name: str, machine: str | None) -> str:
    known = list(detector.machines_)
    if machine is not None:
        refuse_unknown(detector, machine)
        return machine
    found = known[0] if len(known) == 1 else machine_above(_ROOT / PurePosixPath(name), known)
    if found is None:
        raise HTTPException(422, f"{name}: of which machine? Give ?machine=, one of {', '.join(known)}")
    return found


def _told(reason: str, received: Received) -> str:
    """A reader's reason, of the recording as the client calls it."""
    return reason.replace(str(received.path), received.name)
