"""The index of a store of decoded clips: what lies where in it, written and read as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asd_lightning.foreign_files import ForeignFileError, load_json

# Number of the format: raise it with every change of what the bytes on disk mean.
FORMAT = 5
# Limits of an index, enough for a machine with 300,000 windows.
_INDEX_BYTES, _INDEX_VALUES = 32 << 20, 2_000_000
_TYPES = ("int16", "float32")


@dataclass(frozen=True, slots=True)
class Entry:
    """Place of one clip in a store and its recording's own rate in Hz, or why it has none."""

    offset: int
    samples: int
    dtype: str
    checksum: int
    source_rate: int = 0
    error: str = ""

    @property
    def size(self) -> int:
        """Length of the samples in bytes."""
        return self.samples * np.dtype(self.dtype).itemsize

    def row(self) -> list[int | str]:
        """The entry as a row of the index, without the place, which follows from the lengths before it."""
        return [self.samples, self.dtype, self.checksum, self.source_rate, self.error]


@dataclass(frozen=True, slots=True)
class Index:
    """What is in a store: its machine and split, each file with the digest of its content, and the clips in order."""

    title: tuple[str, str]
    files: dict[str, str]
    entries: list[Entry]

    @property
    def size(self) -> int:
        """Length of the samples' file in bytes: one more than the samples', since an empty file cannot be mapped."""
        return sum(entry.size for entry in self.entries) + 1

    def text(self) -> str:
        """What `read_index` reads."""
        rows = [entry.row() for entry in self.entries]
        return json.dumps({"format": FORMAT, "of": self.title, "files": self.files, "entries": rows})


def read_index(folder: Path) -> Index:
    """What a store says of itself.

    Raises:
        ForeignFileError: absent, of another format, or not what `Index.text` writes.
    """
    path = folder / "index.json"
    content = load_json(path, _INDEX_BYTES, _INDEX_VALUES)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ForeignFileError(path, "not an index of this version")
    title, files, rows = content.get("of"), content.get("files"), content.get("entries")
    if not (isinstance(title, list) and len(title) == 2 and _texts(title)):
        raise ForeignFileError(path, "not the index of a machine and split")
    if not (isinstance(files, dict) and _texts([*files, *files.values()])):
        raise ForeignFileError(path, "not the files of an index")
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ForeignFileError(path, "not the clips of an index")
    return Index((title[0], title[1]), files, _entries(rows))


def _texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 5:
        return False
    *numbers, error = row[0], row[2], row[3], row[4]
    return row[1] in _TYPES and isinstance(error, str) and all(type(n) is int and 0 <= n < 1 << 48 for n in numbers)


def _entries(rows: list[list[Any]]) -> list[Entry]:
    entries, offset = [], 0
    for samples, dtype, checksum, source_rate, error in rows:
        entries.append(Entry(offset, samples, dtype, checksum, source_rate, error))
        offset += entries[-1].size
    return entries
