"""What a recording holds, told cheaply: its size, and a digest of its ends and of samples of its middle.

Size and modification time survive ``cp --preserve`` and many a synchronisation, and a copied folder has other ones than
its original: only the content says whether a recording is still the one that was decoded or trained on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from asd_lightning.atomic import write_atomically
from asd_lightning.foreign_files import ForeignFileError, load_json, open_foreign

logger = logging.getLogger(__name__)

# Bytes read at a time, and places between the two ends: a file of up to 80 kB is read whole, of any other 80 kB.
_BLOCK = 8192
_PLACES = 8
_UNREADABLE = "unreadable"
_MEMO = "contents.json"
# Limits of the memo, enough for 100,000 recordings.
_MEMO_BYTES, _MEMO_VALUES = 32 << 20, 1_000_000


def content_digest(path: Path) -> str:
    """Size and digest of a file's content; ``unreadable`` where it cannot be read."""
    try:
        with open_foreign(path) as file:
            size = os.fstat(file.fileno()).st_size
            return f"{size}-{_digest(file, size)}"
    except (ForeignFileError, OSError):
        return _UNREADABLE


def _digest(file: BinaryIO, size: int) -> str:
    digest = hashlib.blake2b(digest_size=12)
    last = max(size - _BLOCK, 0)
    starts = range(0, size, _BLOCK) if size <= (_PLACES + 2) * _BLOCK else _spread(last)
    for start in starts:
        file.seek(start)
        digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def _spread(last: int) -> list[int]:
    return [last * number // (_PLACES + 1) for number in range(_PLACES + 2)]


class Contents:
    """Digests of many files, kept in a folder: a file is read again only where its inode or a time of it differs.

    Args:
        folder: of the clip cache; where it cannot be written, every file is read at every start.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _MEMO
        self._known = _read(self._path)
        self._changed = False

    def digests(self, paths: Iterable[Path]) -> list[str]:
        """The digest of each file."""
        return [self._digest(path) for path in paths]

    def keep(self) -> None:
        """Write what was learnt."""
        if not self._changed:
            return
        try:
            with write_atomically(self._path) as file:
                file.write(json.dumps(self._known).encode())
        except OSError as error:
            logger.info("%s: cannot be written (%s); recordings are read again at the next start", self._path, error)

    def _digest(self, path: Path) -> str:
        name = os.fsencode(path.absolute()).hex()
        try:
            status = path.stat()
        except OSError:
            return _UNREADABLE
        # The right to read counts too: a file that could not be read before must be read once it can be.
        state = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, int(os.access(path, os.R_OK))]
        known = self._known.get(name)
        if known is None or known[:-1] != state:
            self._known[name] = [*state, content_digest(path)]
            self._changed = True
        return str(self._known[name][-1])


def _read(path: Path) -> dict[str, list[int | str]]:
    """The stored digests; none, so that all files are read again, where the memo is absent or damaged."""
    try:
        known = load_json(path, _MEMO_BYTES, _MEMO_VALUES)
    except ForeignFileError:
        return {}
    if not isinstance(known, dict):
        return {}
    return {
        name: row
        for name, row in known.items()
        if isinstance(row, list) and len(row) == 6 and all(type(n) is int for n in row[:-1]) and type(row[-1]) is str
    }
