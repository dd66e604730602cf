"""Files that somebody else may have written: one reader for each format, within limits, with one kind of error.

Runs and submissions pass from hand to hand.  What their files may cost is fixed here before they are parsed, and
whatever is wrong with one becomes a `ForeignFileError`: one line that names the file.
"""

from __future__ import annotations

import csv
import json
import math
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, StringIO
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from asd_lightning.errors import UserError
from asd_lightning.limits import DEPTH
from asd_lightning.plain_text import is_text, printable

# A run's configuration has some 10 kB and 300 nodes, its summary 2 kB, its table of scores 200 kB.
YAML_BYTES = 1 << 20
JSON_BYTES, JSON_NODES = 4 << 20, 500_000
CSV_BYTES, CSV_ROWS, CSV_FIELDS = 32 << 20, 1_000_000, 4_000_000
NPZ_BYTES = 4 << 30
# Limits of a line of a table and of a zip's directory, which are read into memory whole before they can be counted.
_LINE_CHARACTERS = 1 << 20
_ZIP_CONTENTS_BYTES = 16 << 20
# Bytes that any zip may unpack to, and the largest ratio beyond that. Deflated zeros unpack to a thousand times their
# size, real numbers and text to a few times.
_FREELY_UNPACKED_BYTES, _UNPACKING_RATIO = 64 << 20, 20
_ZIP_FAULTS = (
    *(zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError),
    *(OSError, EOFError, KeyError, ValueError),
)
_ARRAY_KINDS = frozenset("biufcUS")
_REASON_CHARACTERS = 300


class ForeignFileError(UserError):
    """A file that cannot be read, or is not to be; the message names it in one line.

    Attributes:
        reason: the message without the name.
    """

    def __init__(self, source: object, reason: object) -> None:
        text = printable(" ".join(str(reason).split()))
        self.reason = text if len(text) <= _REASON_CHARACTERS else f"{text[:_REASON_CHARACTERS]} ..."
        super().__init__(f"{source}: {self.reason}")


@contextmanager
def open_foreign(path: Path) -> Iterator[BufferedReader]:
    """``path``, opened for reading; a pipe or a device might never end, so only regular files are.

    Raises:
        ForeignFileError: absent, unreadable, or no regular file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody to write into it.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise ForeignFileError(path, "no such file") from None
    except (OSError, ValueError) as error:
        raise ForeignFileError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ForeignFileError(path, "is not a file")
    with os.fdopen(descriptor, "rb") as stream:
        yield stream


def read_text(path: Path, at_most: int, encoding: str = "utf-8", errors: str = "strict") -> str:
    """The text of a file of ``at_most`` bytes, line ends as they are.

    Raises:
        ForeignFileError: as `open_foreign`; too long, or not UTF-8.
    """
    with open_foreign(path) as stream:
        try:
            # One more than is allowed: a file may grow, and those of /proc say that they are empty.
            content = stream.read(at_most + 1)
        except OSError as error:
            raise ForeignFileError(path, f"cannot be read: {error.strerror}") from None
    if len(content) > at_most:
        raise ForeignFileError(path, f"has more than {at_most:,} bytes, which is the most that is read of such a file")
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise ForeignFileError(path, f"is not UTF-8 text: {error.reason} at byte {error.start:,}") from None


def first_line(path: Path) -> str:
    """The first line of a text file, of at most 4 kB; raises as `open_foreign`."""
    with open_foreign(path) as stream:
        return stream.readline(4096).decode("utf-8", "replace").rstrip("\r\n")


# --- YAML -------------------------------------------------------------------------------------------------------------


def load_yaml(path: Path) -> Any:
    """The content of a YAML file, as builtins.

    Raises:
        ForeignFileError: as `read_text`; not YAML, or YAML with aliases, tags, a key twice, or too much of anything.
    """
    return parse_yaml(read_text(path, YAML_BYTES), path)


def parse_yaml(text: str, source: object) -> Any:
    """The content of YAML ``text``, which came from ``source``; raises as `load_yaml`."""
    # Here: its import takes a while, and what scores a recording reads none.
    import yaml

    from asd_lightning.yaml_loader import Loader

    try:
        return yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, TypeError) as error:
        raise ForeignFileError(source, f"not YAML as it is read here: {_yaml_reason(error)}") from None


def _yaml_reason(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}" if mark is not None else ""
    return f"{getattr(error, 'problem', None) or error}{place}"


# --- JSON -------------------------------------------------------------------------------------------------------------


def load_json(path: Path, most_bytes: int = JSON_BYTES, most_values: int = JSON_NODES) -> Any:
    """The content of a JSON file.

    Raises:
        ForeignFileError: as `read_text`; not JSON, or too deep or too many values.
    """
    return parse_json(read_text(path, most_bytes), path, most_bytes, most_values)


def parse_json(text: str | bytes, source: object, most_bytes: int = JSON_BYTES, most_values: int = JSON_NODES) -> Any:
    """The content of JSON ``text``, which came from ``source``; raises as `load_json`."""
    if len(text) > most_bytes:
        raise ForeignFileError(source, f"has more than {most_bytes:,} bytes of JSON, which is the most that is read")
    try:
        content = json.loads(text)
    except RecursionError:
        raise ForeignFileError(source, f"JSON deeper than {DEPTH} levels") from None
    except ValueError as error:
        raise ForeignFileError(source, f"not JSON: {error}") from None
    _check_extent(content, source, most_values)
    if not is_text(json.dumps(content, ensure_ascii=False)):
        raise ForeignFileError(source, "half a character (a lone surrogate) in its text")
    return content


def _check_extent(content: Any, source: object, most_values: int) -> None:
    level, nodes, depth = [content], 0, 0
    while level and nodes <= most_values and depth <= DEPTH:
        nodes, depth = nodes + len(level), depth + 1
        level = [inner for outer in level for inner in _inside(outer)]
    if level or nodes > most_values:
        raise ForeignFileError(source, f"JSON deeper than {DEPTH} levels, or of more than {most_values:,} values")


def _inside(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


# --- CSV --------------------------------------------------------------------------------------------------------------


def read_csv(path: Path, encoding: str = "utf-8", errors: str = "strict", most_rows: int = CSV_ROWS) -> list[list[str]]:
    """The rows of a CSV file, empty ones too: row ``n`` of the file is item ``n - 1``.

    Raises:
        ForeignFileError: as `read_text`; not CSV, or too many rows or fields.
    """
    lines = StringIO(read_text(path, CSV_BYTES, encoding, errors), newline="")
    rows: list[list[str]] = []
    fields = 0
    try:
        for row in csv.reader(_short(lines, path)):
            rows.append(row)
            fields += len(row)
            if len(rows) > most_rows or fields > CSV_FIELDS:
                raise ForeignFileError(path, f"more than {most_rows:,} rows or {CSV_FIELDS:,} fields")
    except csv.Error as error:
        raise ForeignFileError(path, f"not readable as CSV, row {len(rows) + 1}: {error}") from None
    return rows


def _short(lines: StringIO, path: Path) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if len(line) > _LINE_CHARACTERS:
            raise ForeignFileError(path, f"line {number} has more than {_LINE_CHARACTERS:,} characters")
        yield line


# --- zip, NPZ, NPY ---------------------------------------------------------------------------------------------------


class _BriefReads:
    """A file that, until it is opened, gives no more at once than a zip's contents may have.

    zipfile reads them in one piece when it opens; what it reads later are members, which may be of any size.
    """

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self.opened = False

    def read(self, size: int = -1) -> bytes:
        if self.opened:
            return self._stream.read(size)
        content = self._stream.read(_ZIP_CONTENTS_BYTES + 1 if size < 0 else min(size, _ZIP_CONTENTS_BYTES + 1))
        if len(content) > _ZIP_CONTENTS_BYTES:
            raise zipfile.BadZipFile(f"its table of contents has more than {_ZIP_CONTENTS_BYTES:,} bytes")
        return content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """The zip archive at ``path``; faults while it is read come out of the context as a `ForeignFileError` too.

    Raises:
        ForeignFileError: as `open_foreign`; not a zip archive, damaged, encrypted, or packed in an unknown way.
    """
    with open_foreign(path) as stream:
        brief = _BriefReads(stream)
        try:
            with zipfile.ZipFile(cast("IO[bytes]", brief)) as archive:
                brief.opened = True
                for member in archive.infolist():
                    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise ForeignFileError(path, f"{member.filename} is packed in a way that is not read")
                yield archive
        except _ZIP_FAULTS as error:
            raise ForeignFileError(path, f"damaged: {error}") from None


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz`` file: numbers, truth values and text; Python objects, which could run code, never.

    Raises:
        ForeignFileError: as `open_zip`; an array of another kind, shorter than it says, or too large together.
    """
    with open_zip(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        packed = sum(member.compress_size for member in members)
        if unpacked > NPZ_BYTES or unpacked > _FREELY_UNPACKED_BYTES + _UNPACKING_RATIO * packed:
            raise ForeignFileError(path, f"{packed:,} bytes that unpack to {unpacked:,}: more than is read")
        return {member.filename.removesuffix(".npy"): _member(archive, member, path) for member in members}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> NDArray[Any]:
    with archive.open(member) as stream:
        return _array(stream, member.filename, member.file_size, path)


def load_npy(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file; raises as `load_npz`, and of objects there are none either."""
    with open_foreign(path) as stream:
        return _array(stream, path.name, os.fstat(stream.fileno()).st_size, path)


def _array(stream: Any, name: str, size: int, path: Path) -> NDArray[Any]:
    shape, fortran_order, dtype = _array_header(stream, name, path)
    # In Python's integers: sizes from a file may overflow those of numpy.
    wanted = math.prod(shape) * dtype.itemsize
    if any(length < 0 for length in shape) or wanted > min(size, NPZ_BYTES):
        raise ForeignFileError(path, f"{name}: shape {shape} is more than the file holds, or than is read")
    content = bytearray(stream.read(wanted))
    if len(content) != wanted:
        raise ForeignFileError(path, f"{name} is cut short")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")


def _array_header(stream: Any, name: str, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(stream)
    except Exception as error:
        # The header is a piece of Python, and numpy passes on whatever parsing it stumbles over.
        raise ForeignFileError(path, f"{name} is not an array: {error}") from None
    if version not in ((1, 0), (2, 0)) or dtype.kind not in _ARRAY_KINDS or not dtype.itemsize:
        raise ForeignFileError(path, f"{name} holds {dtype}, neither numbers nor text")
    return shape, fortran_order, dtype
