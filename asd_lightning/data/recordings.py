"""Recordings of one's own: long ones are cut into windows, and what makes them differ for no reason is told."""

from __future__ import annotations

import dataclasses
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from asd_lightning.data.audio import BadAudioError, read_header
from asd_lightning.data.file_names import Split, parse_file_name
from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import read_csv

logger = logging.getLogger(__name__)

# A model can tell a clip that is this many times shorter or longer than its machine's median by the length alone.
_VERY_DIFFERENT = 2.0
TABLE = "recordings.csv"
"""Beside the machines' folders: which clips were cut from one recording."""
_COLUMNS = ("file", "recording")


def cut_recordings(clips: Sequence[Clip], preprocessing: Preprocessing) -> list[Clip]:
    """Cut each plain recording that is longer than a window into windows that cover it, the last one to its end.

    Clips named in the DCASE grammar are what they are.  An unreadable recording is passed on: decoding it will say what
    is wrong.
    """
    return [piece for clip in clips for piece in _cut(clip, preprocessing)]


def clips_of(paths: Sequence[Path], machine: str, split: Split = "test") -> list[Clip]:
    """Single recordings of one machine as clips; what a name in the DCASE grammar says is heeded.

    ``name`` is the recording's file name, or the path as it was given where two have one name.

    Raises:
        UserError: a recording that is given twice.
    """
    names = Counter(path.name for path in paths)
    files = [path.name if names[path.name] == 1 else str(path) for path in paths]
    if twice := [file for file, count in Counter(files).items() if count > 1]:
        raise UserError(f"{twice[0]}: is given twice; give each recording once")
    return [_clip(path, machine, file, split) for path, file in zip(paths, files, strict=True)]


def _clip(path: Path, machine: str, file: str, split: Split) -> Clip:
    name = parse_file_name(path.stem)
    if name is None:
        return Clip(path=path, machine=machine, name=file, split=split, domain="source", condition="unknown")
    return Clip(
        path=path,
        machine=machine,
        name=file,
        section=name.section,
        split=split,
        domain=name.domain,
        condition=name.condition,
        attribute=name.attribute,
    )


def is_of_challenge(clip: Clip) -> bool:
    """Whether its name is in the DCASE grammar."""
    return parse_file_name(clip.path.stem) is not None


def _cut(clip: Clip, preprocessing: Preprocessing) -> Iterator[Clip]:
    if is_of_challenge(clip):
        yield clip
        return
    try:
        places = preprocessing.places(read_header(clip.path).seconds)
    except BadAudioError:
        places = [0.0]
    if len(places) == 1:
        yield clip
        return
    for start in places:
        yield window_of(clip, start, preprocessing.clip_seconds)


def window_of(clip: Clip, start: float, seconds: float) -> Clip:
    """The piece of a recording from ``start`` on, ``seconds`` long."""
    return dataclasses.replace(clip, name=at_second(clip.name, start), start=start, seconds=seconds)


def at_second(name: str, start: float) -> str:
    """Name of what begins there in the recording ``name``, as a media fragment.

    In full: a rounded second would give two windows of a day-long recording one name.

    >>> at_second("pump.wav", 10.0), at_second("pump.wav", 123456.75)
    ('pump.wav#t=10', 'pump.wav#t=123456.75')
    """
    place = f"{start:.6f}".rstrip("0").rstrip(".")
    return f"{name}#t={place}"


def find_table(folders: Iterable[Path]) -> Path | None:
    """The table of recordings in one of ``folders``.

    Raises:
        UserError: there are several.
    """
    found = sorted({folder / TABLE for folder in folders if (folder / TABLE).is_file()})
    if len(found) > 1:
        raise UserError(
            f"{', '.join(map(str, found))}: several tables of recordings; name the one with data.recordings"
        )
    return found[0] if found else None


class RecordingsTable:
    """Which clips were cut from one recording, as a table ``file,recording`` says.

    A row belongs to the clip whose path ends with its ``file``; of several rows the longest counts, and a clip without
    one is a recording of its own.

    Raises:
        UserError: the table cannot be read, or contradicts itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = _read_table(path)

    def recording(self, clip: Path) -> str | None:
        """The recording that a clip was cut from; ``None`` where no row belongs to it."""
        row = self._row(clip)
        return None if row is None else self._rows[row]

    def named(self, clips: Sequence[Clip], whole: bool = True) -> list[Clip]:
        """``clips`` with their recordings; logs how many there are, and warns of rows that fit no clip.

        Args:
            clips: as found.
            whole: whether ``clips`` are all that the table is about; otherwise rows that fit none of them are no
                mistake.

        Raises:
            UserError: a row fits several clips.
        """
        users: dict[tuple[str, ...], Path] = {}
        named = []
        for clip in clips:
            row = self._row(clip.path)
            if row is not None and users.setdefault(row, clip.path) != clip.path:
                raise UserError(
                    f"{self.path}: {'/'.join(row)} may be {users[row]} or {clip.path}; write more of its path"
                )
            named.append(clip if row is None else dataclasses.replace(clip, recording=self._rows[row]))
        self._say(named, users, whole)
        return named

    def _row(self, clip: Path) -> tuple[str, ...] | None:
        parts = _parts(str(clip.absolute()))
        return next((parts[-n:] for n in range(len(parts), 0, -1) if parts[-n:] in self._rows), None)

    def _say(self, clips: Sequence[Clip], users: Mapping[tuple[str, ...], Path], whole: bool) -> None:
        idle = [row for row in self._rows if row not in users]
        if idle and (whole or not users):
            logger.warning(
                "%s: %d of %d rows fit no clip, such as %s; write the end of a clip's path, as it is spelt there",
                *(self.path, len(idle), len(self._rows), "/".join(idle[0])),
            )
        count = len({(clip.machine, clip.recording) for clip in clips})
        logger.info("%s: %d clips are of %d recordings", self.path, len(clips), count)


def _read_table(path: Path) -> Mapping[tuple[str, ...], str]:
    rows: dict[tuple[str, ...], str] = {}
    if not path.exists():
        raise UserError(f"{path}: no such table of recordings; correct --recordings (data.recordings), or leave it out")
    header, *lines = read_csv(path, encoding="utf-8-sig") or [[]]
    if not set(_COLUMNS) <= set(header):
        found = ",".join(header)
        raise UserError(
            f"{path}: its first line must name the columns file,recording, with a comma between, and is {found[:80]!r}"
        )
    places = [header.index(name) for name in _COLUMNS]
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        file, recording = (line[place].strip() if place < len(line) else "" for place in places)
        if not file or not recording:
            raise UserError(f"{path}, row {number}: a file and its recording are needed")
        if rows.setdefault(_parts(file), recording) != recording:
            raise UserError(f"{path}, row {number}: {file} is said to be of two recordings")
    if not rows:
        raise UserError(f"{path}: has no rows below its first line; write one for each clip, or remove the table")
    return rows


def _parts(path: str) -> tuple[str, ...]:
    """A path's parts, in one Unicode form and with either kind of slash: a table may come from another system."""
    return PurePosixPath(unicodedata.normalize("NFC", path).replace("\\", "/")).parts


def mixed_rates(sample_rates: Iterable[int]) -> str:
    """What to say of one machine's recordings at these rates (Hz); "" where all are alike."""
    counts = Counter(sample_rates)
    if len(counts) < 2:
        return ""
    told = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(counts.items()))
    return (
        f"recorded at different rates ({told}): the lower ones lack the upper frequencies, and that alone tells them "
        f"apart; record all alike, or resample all to {min(counts)} Hz"
    )


def mixed_lengths(seconds: Sequence[float]) -> str:
    """What to say of one machine's clips of these lengths (s); "" where none is far from the usual one."""
    from statistics import median

    usual = median(seconds) if seconds else 0.0
    short = [length for length in seconds if length * _VERY_DIFFERENT < usual]
    long = [length for length in seconds if length > usual * _VERY_DIFFERENT]
    kinds = ((short, "shorter than half"), (long, "longer than twice"))
    told = [f"{len(group)} of {len(seconds)} are {kind} the usual {usual:g} s" for group, kind in kinds if group]
    if not told:
        return ""
    return (
        f"clips of very different lengths ({', '.join(told)}): short ones are repeated and long ones are cropped to "
        "data.clip_seconds, which a model may hear; use clips of one length"
    )
