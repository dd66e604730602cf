"""Where the sound comes from: what an input is, and a folder that recordings arrive in.

An input gives stretches of windows and says where to go on after them, so that a restart hears no window twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.audio import BadAudioError, read_header
from asd_lightning.data.folders import recordings
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.live.events import Kind

Waveform = Float32[ndarray, " samples"]


class Stretch(NamedTuple):
    """Some windows one after another, or something that happened to the input.

    Attributes:
        windows: waveforms.
        offsets: start of each in ``file`` or in the stream, in s.
        seconds: new sound in them.
        place: where the input stands after them, plain data.
        file: recording that they are of; "" for streams.
        heard: key of a recording that ends here; "" where none does.
        time: of the first window's start, in s since 1970.
        happened: kind of an event of the input itself; ``None`` for sound.
        note: what happened.
    """

    windows: list[Waveform]
    offsets: list[float]
    seconds: float
    place: dict[str, Any]
    file: str = ""
    heard: str = ""
    time: float = 0.0
    happened: Kind | None = None
    note: str = ""


@runtime_checkable
class Input(Protocol):
    """A source of sound."""

    def stretches(self, place: dict[str, Any], was_heard: Callable[[str], bool]) -> Iterator[Stretch | None]:
        """Sound from ``place`` on; ``None`` where there is nothing new for the moment.

        Args:
            place: of the last stretch that was kept; empty at the first start.
            was_heard: whether a recording was heard to its end.
        """
        ...


@dataclass
class FolderInput:
    """Recordings in a folder, oldest first, and those that come later.

    A recording is heard once it has been left alone for ``settle`` seconds: one that is still being written waits.

    Args:
        folder: with WAV or FLAC files, at any depth.
        preprocessing: of the detector; its ``hop_seconds`` says how windows overlap.
        once: end when all that is there was heard.
        settle: in s.
        windows: of one stretch.
        now: seconds since 1970.
    """

    folder: Path
    preprocessing: Preprocessing
    once: bool = False
    settle: float = 2.0
    windows: int = 32
    now: Callable[[], float] = time.time
    _since: dict[str, tuple[tuple[int, int], float]] = field(default_factory=dict, repr=False)

    def stretches(self, place: dict[str, Any], was_heard: Callable[[str], bool]) -> Iterator[Stretch | None]:
        """See `Input`."""
        while True:
            fresh = [found for found in self._found() if not was_heard(found[1])]
            for path, key in fresh:
                first = place.get("next", 0) if place.get("key") == key else 0
                name = _name(path, self.folder)
                yield from heard_in_stretches(path, name, key, self.preprocessing, self.windows, first)
            if not fresh and self.once and not self._since:
                return
            if not fresh:
                yield None

    def _found(self) -> list[tuple[Path, str]]:
        """Recordings that nobody writes any more, oldest first."""
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; make it, or name another with --input")
        found = []
        waiting: dict[str, tuple[tuple[int, int], float]] = {}
        for path in recordings(self.folder):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            seen = (status.st_size, status.st_mtime_ns)
            name = _name(path, self.folder)
            # By both clocks: a recording's own time may be of another computer, or be kept by a copy.
            since = self._since.get(name, (seen, self.now()))
            since = since if since[0] == seen else (seen, self.now())
            if self.now() - min(status.st_mtime, since[1]) >= self.settle:
                found.append((seen[1], f"{name}:{seen[0]}:{seen[1]}", path))
            else:
                waiting[name] = since
        self._since = waiting
        return [(path, key) for _, key, path in sorted(found)]


def heard_in_stretches(
    path: Path, name: str, key: str, preprocessing: Preprocessing, windows: int = 32, first: int = 0
) -> Iterator[Stretch]:
    """A recording in stretches; one that cannot be read is a single stretch that says so.

    Args:
        path: of the recording.
        name: as events call it.
        key: of it in the journal.
        preprocessing: of the detector.
        windows: of one stretch.
        first: window to begin with.
    """
    end = 0.0
    try:
        end = path.stat().st_mtime
        seconds = read_header(path).seconds
        starts = preprocessing.places(seconds)
        length = None if len(starts) == 1 else preprocessing.clip_seconds
        for begin in range(first, len(starts), windows):
            part = starts[begin : begin + windows]
            last = begin + windows >= len(starts)
            yield Stretch(
                windows=[preprocessing.read(path, start, length) for start in part],
                offsets=part,
                seconds=(seconds if last else starts[begin + windows]) - part[0],
                place={"key": key, "next": begin + windows},
                file=name,
                heard=key if last else "",
                time=end - seconds + part[0],
            )
    except (BadAudioError, OSError) as error:
        yield Stretch([], [], 0.0, {"key": key, "next": 0}, name, key, end, "unreadable", str(error))


def _name(path: Path, folder: Path) -> str:
    """Path below the folder; bytes that are no text are written out."""
    return path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()
