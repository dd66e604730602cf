"""Shards of a scored archive: Parquet files that are there whole or not at all, and tell which detector wrote them.

A row is a window of a recording; a recording that could not be heard is one row without a window.  What a shard says of
itself (the detector's hash, how many recordings have which decision) is JSON among the file's own metadata.

Shards may come from strangers.  Readers of Parquet build whatever types a stored Arrow schema names, and those of Ray
unpickle; shards are written without one, and a file that has one is refused before anything of it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from asd_lightning.atomic import write_atomically
from asd_lightning.detector.judging import Judgment, Window
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, open_foreign, parse_json

if TYPE_CHECKING:
    import pyarrow

FORMAT = 1
# A judgment's own fields, each as a column; what has a form of its own in a table is spelt out below.
_PLAIN = tuple(name for name in Judgment._fields if name not in ("path", "health", "windows", "nearest"))
COLUMNS = ("path", *_PLAIN, "health", "nearest", "nearest_start", *(f"window_{name}" for name in Window._fields))
_REALS = frozenset(
    {
        "nearest_start",
        *(name for name in _PLAIN if get_type_hints(Judgment)[name] is float),
        *(f"window_{name}" for name in Window._fields if get_type_hints(Window)[name] is float),
    }
)
_KEY = b"asd_archive"
_PATTERN = "scores-*.parquet"
_DIGEST_BYTES = 16
_ARROW_SCHEMA = b"ARROW:schema"
_FOOTER_BYTES, _TOLD_BYTES, _TOLD_VALUES = 16 << 20, 1 << 16, 1000
_NOT_OURS = "no shard as asd score --engine ray writes it; move it away, or give another folder"


class Wanted(NamedTuple):
    """A recording to judge; ``machine`` is "" where its folders name none that the detector knows."""

    path: Path
    machine: str

    @property
    def key(self) -> bytes:
        """What it is known by, in shards too."""
        return _key(self.machine, text_of(self.path))


@dataclass(frozen=True)
class Told:
    """What a shard says of itself.

    Attributes:
        content_hash: of the detector.
        decisions: decision -> number of recordings.
    """

    content_hash: str
    decisions: Counter[str]


def text_of(path: Path | str) -> str:
    """A path as text that every reader takes, whatever bytes are in the name."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def shard_path(folder: Path, content_hash: str, wanted: Iterable[Wanted]) -> Path:
    """Where the judgments of these recordings belong; the same recordings and detector have the same place."""
    digest = hashlib.blake2b(content_hash.encode(), digest_size=_DIGEST_BYTES)
    for one in wanted:
        digest.update(one.key)
    return folder / _PATTERN.replace("*", digest.hexdigest())


def begun_path(shard: Path) -> Path:
    """Where workers count how often a shard was begun."""
    return shard.with_name(f".{shard.name}.begun")


def write_shard(path: Path, content_hash: str, judgments: Sequence[Judgment]) -> Told:
    """Write a shard, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    told = Told(content_hash, Counter(one.decision for one in judgments))
    rows = [row for one in judgments for row in _rows(one)]
    schema = pa.schema([(name, pa.float64() if name in _REALS else pa.string()) for name in COLUMNS])
    record = {"format": FORMAT, "content_hash": content_hash, "decisions": told.decisions}
    columns = [[row[place] for row in rows] for place in range(len(COLUMNS))]
    with (
        write_atomically(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", store_schema=False) as writer,
    ):
        writer.write_table(pa.table(columns, schema=schema))
        writer.add_key_value_metadata({_KEY: json.dumps(record, sort_keys=True)})
    return told


def read_told(path: Path) -> Told:
    """What a shard says of itself.

    Raises:
        UserError: not a shard, or one of a newer version.
    """
    file = _opened(path)
    record = parse_json((file.metadata.metadata or {}).get(_KEY, b"null"), path, _TOLD_BYTES, _TOLD_VALUES)
    try:
        if record["format"] > FORMAT:
            raise UserError(f"{path}: a newer asd_lightning has written it; install that")
        decisions = Counter({str(name): int(count) for name, count in record["decisions"].items()})
        return Told(str(record["content_hash"]), decisions)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: {_NOT_OURS}") from error


def shards_of(folder: Path) -> list[Path]:
    """The complete shards in a folder."""
    return sorted(folder.glob(_PATTERN))


def remove_leftovers(folder: Path) -> None:
    """What killed workers have begun to write; nobody else may be writing there."""
    for pattern in (f".{_PATTERN}.*.tmp", f".{_PATTERN}.begun"):
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)


def scored_keys(shards: Iterable[Path]) -> Iterator[bytes]:
    """Keys of the recordings in shards (`Wanted.key`)."""
    for shard in shards:
        try:
            table = _opened(shard).read(columns=["path", "machine"])
            paths, machines = (table.column(name).to_pylist() for name in ("path", "machine"))
            yield from dict.fromkeys(_key(machine, path) for path, machine in zip(paths, machines, strict=True))
        except (KeyError, OSError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{shard}: {_NOT_OURS}") from error


def table_of(shards: Sequence[Path]) -> pyarrow.Table:
    """All rows of shards, in the order of path, machine and window; for archives that fit in memory."""
    import pyarrow as pa

    tables = [_opened(shard).read() for shard in shards]
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in ("path", "machine", "window_start")])


def _opened(path: Path) -> Any:
    """A Parquet file, of which the footer has been looked at: no type in it makes a reader run code."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_foreign(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - 8, 0))
        end = stream.read(8)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != b"PAR1" or not length <= min(size - 8, _FOOTER_BYTES):
            raise ForeignFileError(path, _NOT_OURS)
        stream.seek(size - 8 - length)
        footer = stream.read(length)
    if _ARROW_SCHEMA in footer:
        raise ForeignFileError(path, _NOT_OURS)
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ForeignFileError(path, _NOT_OURS) from error


def _key(machine: str, path: str) -> bytes:
    return hashlib.blake2b(f"{machine}\0{path}".encode(), digest_size=_DIGEST_BYTES).digest()


def _rows(one: Judgment) -> Iterator[list[Any]]:
    plain = [_known(getattr(one, name)) for name in _PLAIN]
    head = [text_of(one.path), *plain, "; ".join(one.health), *(one.nearest or (None, None))]
    for window in one.windows:
        yield [*head, *map(_known, window)]
    if not one.windows:
        yield [*head, *[None] * len(Window._fields)]


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
