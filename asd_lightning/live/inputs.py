"""Where the sound comes from: what an input is, and a recording as stretches of windows.

An input gives stretches of windows and says where to go on after them, so that a restart hears no window twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import soundfile
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.audio import BadAudioError, read_header
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.live.events import Kind

Waveform = Float32[ndarray, " samples"]
# As libsndfile calls what the operating system refuses.
_SYSTEM_ERROR = 2


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
    try:
        yield from read_in_stretches(path, name, key, preprocessing, windows, first)
    except (BadAudioError, OSError) as error:
        yield unreadable(name, key, error, _end(path))


def read_in_stretches(
    path: Path, name: str, key: str, preprocessing: Preprocessing, windows: int = 32, first: int = 0
) -> Iterator[Stretch]:
    """As `heard_in_stretches`, but what cannot be read is raised.

    Raises:
        BadAudioError: unreadable, or not audio.
        OSError: gone.
    """
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


def unreadable(name: str, key: str, error: Exception, time: float) -> Stretch:
    """What is said of a recording that cannot be heard.

    Args:
        name: as events call it.
        key: of it in the journal; "" where it may still come back.
        error: why.
        time: in s since 1970.
    """
    return Stretch([], [], 0.0, {"key": key, "next": 0}, name, key, time, "unreadable", str(error))


def may_pass(error: BaseException | None) -> bool:
    """Whether a recording could not be read because of its disk or network, and not because of what it is."""
    if error is None:
        return False
    system = isinstance(error, soundfile.LibsndfileError) and error.code == _SYSTEM_ERROR
    return system or isinstance(error, OSError) or may_pass(error.__cause__)


def _end(path: Path) -> float:
    """When a recording was written, in s since 1970; 0 where that is not known."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
