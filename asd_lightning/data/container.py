"""The files that recordings come in: WAV and FLAC alone, and headers whose lengths cannot be true.

Programs that stream, and recorders that lose power, leave wrong lengths in a WAV's header: 0, all ones, a power of two
less the header, a few bytes too many. The sound of such a file runs to the file's end, and a reader is given a header
with that length. A plausible length that is greater than the file means that the file was cut, and it is refused.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from asd_lightning.errors import UserError

NOT_AUDIO = "{path}: not readable as audio ({error}); convert it to WAV or FLAC, or remove it"

# Programs that stream write a length near a power of two: rounded down to whole samples, or less a header. A 32-bit
# length that is this near (in bytes) counts as such.
_NEAR_LIMIT = 1 << 16
# In bytes; a 64-bit length above this is longer than any recording.
_BEYOND_ANY = 1 << 50
# A length that is wrong by no more than this many bytes includes the header or a chunk: nothing was lost.
_FEW_BYTES = 512
# Likewise, where the whole file is as long as it says it is.
_MORE_BYTES = 1 << 16
# Warn if more bytes than this share of the stated length follow the sound.
_MUCH_BEHIND = 0.1

_OTHERS = {
    b"OggS": "OGG",
    b"ID3": "MP3",
    b"MATLAB": "MATLAB data",
    b"FORM": "AIFF",
    b"riff": "Wave64",
    b".snd": "AU",
    b"caff": "CAF",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"PK\x03\x04": "a ZIP archive",
    b"<": "a web page",
    b"version https://git-lfs": "a Git LFS pointer: git lfs pull fetches what it stands for",
}
_ORDERS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}


class BadAudioError(UserError):
    """A recording that cannot be used: the message names the file, what is wrong and what to do."""


class Repair(NamedTuple):
    """How to read a file whose header is wrong, or whose sound begins behind tags.

    Attributes:
        doubt: what its header says that cannot be true; "" where nothing is wrong.
        patches: places and bytes of the header that is to be read instead of the file's.
        start: where the file is to begin.
    """

    doubt: str
    patches: tuple[tuple[int, bytes], ...] = ()
    start: int = 0


class _Data(NamedTuple):
    """The data chunk of a WAV: where its sound begins, how long it is said to be, and where that is said."""

    begin: int
    length: int
    order: str
    magic: bytes
    magic_at: int
    whole: int
    long_lengths_at: int | None


def check_container(path: Path) -> Repair | None:
    """How a recording is to be read, ``None`` for as it is.

    Raises:
        BadAudioError: broken link, no permission, a folder or pipe, empty, neither WAV nor FLAC, or less there than the
            header promises.
    """
    try:
        status = path.stat()
        _refuse_no_file(path, status.st_mode)
        size = status.st_size
        if not size:
            raise BadAudioError(f"{path}: the file is empty; copy it again or remove it")
        with path.open("rb") as file:
            return _inspect(path, file, size)
    except FileNotFoundError as error:
        hint = "a broken link; mend or remove it" if path.is_symlink() else "no such file"
        raise BadAudioError(f"{path}: {hint}") from error
    except PermissionError as error:
        raise BadAudioError(f"{path}: no permission to read; change it (chmod +r) or remove the file") from error
    except OSError as error:
        raise BadAudioError(NOT_AUDIO.format(path=path, error=error)) from error


def _refuse_no_file(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise BadAudioError(
            f"{path}: a folder that is not listed, so nothing in it is heard; make it readable (chmod +rx), or give "
            "the recordings in it"
        )
    if not stat.S_ISREG(mode):
        raise BadAudioError(f"{path}: is no file but a pipe, socket or device; give a recording, or remove it")


@contextmanager
def source(path: Path, repair: Repair | None) -> Iterator[str | bytes | BinaryIO]:
    """What libsndfile is to open."""
    if repair is not None and (repair.patches or repair.start):
        with _Repaired(path, repair) as file:
            yield file
    else:
        # POSIX names are bytes, not all of them UTF-8.
        yield os.fsencode(path) if os.name == "posix" else str(path)


class _Repaired(io.FileIO):
    """A file that begins later, and with other bytes in some places."""

    def __init__(self, path: Path, repair: Repair) -> None:
        super().__init__(path)
        self._repair = repair
        self.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = self._repair.start
        return super().seek(offset + start if whence == os.SEEK_SET else offset, whence) - start

    def tell(self) -> int:
        return super().tell() - self._repair.start

    def readinto(self, buffer: Any) -> int:
        begin = super().tell()
        count = super().readinto(buffer) or 0
        view = memoryview(buffer)
        for place, data in self._repair.patches:
            for index, value in enumerate(data, place - begin):
                if 0 <= index < count:
                    view[index : index + 1] = bytes([value])
        return count


def _inspect(path: Path, file: BinaryIO, size: int) -> Repair | None:
    start = _after_id3(file)
    file.seek(start)
    head = file.read(32)
    if head[:4] == b"fLaC":
        return None
    if head[:4] not in _ORDERS or head[8:12] != b"WAVE":
        raise BadAudioError(NOT_AUDIO.format(path=path, error=_what(file)))
    data = _find_data(file, start, head)
    # A file without a data chunk is left to libsndfile, whose error says what is wrong.
    repair = None if data is None else _judge(path, file, size, data)
    if not start:
        return repair
    # Skip the tags: libsndfile would subtract their length from that of the sound.
    return Repair("", start=start) if repair is None else repair._replace(start=start)


def _after_id3(file: BinaryIO) -> int:
    """Where a file begins behind the tags that some programs put before it; 0 without."""
    head = file.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
    return 10 + size


def _what(file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(32)
    found = next((name for magic, name in _OTHERS.items() if head.startswith(magic)), "")
    if not found and head[4:8] == b"ftyp":
        found = "MP4"
    if not found and head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0:
        found = "MP3"
    return f"it holds {found}, and only WAV and FLAC are read" if found else "it is neither WAV nor FLAC"


def _find_data(file: BinaryIO, start: int, head: bytes) -> _Data | None:
    """RF64 tells lengths beyond 4 GB in a chunk ``ds64`` that goes before (EBU Tech 3306)."""
    magic = head[:4]
    order = _ORDERS[magic]
    (whole,) = struct.unpack(f"{order}I", head[4:8])
    long_length, long_lengths_at = None, None
    for name, length, begin in _chunks(file, start + 12, order):
        if name == b"ds64" and magic in (b"RF64", b"BW64"):
            file.seek(begin)
            lengths = file.read(16)
            if len(lengths) == 16:
                long_lengths_at = begin
                whole, long_length = struct.unpack("<QQ", lengths)
        if name == b"data":
            told = length if long_length is None else long_length
            return _Data(begin, told, order, magic, start, whole + 8, long_lengths_at)
    return None


def _chunks(file: BinaryIO, place: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, length and first byte of each chunk from ``place`` on."""
    while True:
        file.seek(place)
        chunk = file.read(8)
        if len(chunk) < 8:
            return
        name, length = struct.unpack(f"{order}4sI", chunk)
        yield name, length, place + 8
        place += 8 + length + length % 2


def _judge(path: Path, file: BinaryIO, size: int, data: _Data) -> Repair | None:
    there = size - data.begin
    behind = there - data.length
    if behind < 0:
        is_whole = abs(data.whole + data.magic_at - size) <= 1
        if not _is_no_length(data) and -behind > (_MORE_BYTES if is_whole else _FEW_BYTES):
            raise BadAudioError(
                f"{path}: truncated, its header promises {data.length:,} bytes of sound and {there:,} are there; "
                "copy it again or remove it"
            )
        doubt = f"its header promises {data.length:,} bytes of sound and {there:,} are there; read to the file's end"
        return Repair(doubt, _patches(data, there))
    if behind and data.length == 0 and not _is_chunks(file, size, data):
        doubt = f"its header tells of no sound and {there:,} bytes are there; read to the file's end"
        return Repair(doubt, _patches(data, there))
    # libsndfile reads the first of these, and not what broadcasters call it today.
    patches = ((data.magic_at, b"RF64"),) if data.magic == b"BW64" else ()
    if behind > max(_MUCH_BEHIND * data.length, _FEW_BYTES) and not _is_chunks(file, size, data):
        doubt = f"{behind:,} bytes follow the {data.length:,} that its header tells of; they are not read"
        return Repair(doubt, patches)
    return Repair("", patches) if patches else None


def _is_no_length(data: _Data) -> bool:
    if data.long_lengths_at is not None:
        return data.length > _BEYOND_ANY
    return min(abs(data.length - limit) for limit in (1 << 31, 1 << 32)) <= _NEAR_LIMIT


def _is_chunks(file: BinaryIO, size: int, data: _Data) -> bool:
    """Whether what follows the sound is chunks to the file's end, and not more sound."""
    end = data.begin + data.length
    for name, length, begin in _chunks(file, end + data.length % 2, data.order):
        if not all(0x20 <= byte < 0x7F for byte in name) or begin + length > size:
            return False
        end = begin + length
    return size - end <= 8


def _patches(data: _Data, length: int) -> tuple[tuple[int, bytes], ...]:
    """The header of a file whose sound is ``length`` bytes long."""
    if data.long_lengths_at is not None:
        # The number of samples, which follows, stays: libsndfile ignores it.
        lengths = struct.pack("<QQ", data.begin - data.magic_at + length - 8, length)
        return (data.magic_at, b"RF64"), (data.long_lengths_at, lengths)
    magic = b"RIFX" if data.order == ">" else b"RIFF"
    return (data.magic_at, magic), (data.begin - 4, struct.pack(f"{data.order}I", min(length, 0xFFFFFFFF)))
