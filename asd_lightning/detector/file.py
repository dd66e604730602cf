"""The file of a detector: safetensors, with plain data about it in the header, and nothing else.

Arrays belong to parts (``embedder``, ``machine/0``, ``sound/0``...), the first words of their names.  The header tells
the digest of each part, and its own: a part is checked when it is read, so that one machine of hundreds costs what one
costs.  Nothing in a file is executed or unpickled, and no size in it is believed before the bytes are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from asd_lightning import __version__
from asd_lightning.atomic import write_atomically
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import open_foreign, parse_json

FORMAT = 2
"""2 has states by name, with thresholds of their own; 1 is read."""
SUFFIX = ".asd"
Arrays = dict[str, NDArray[Any]]

_KEY = "asd_detector"
_NO_HASH = "0" * 64
# A machine takes some 500 bytes of the header, an array 100: for 10,000 machines there is room.
_MOST_HEADER_BYTES = 64 << 20
_MOST_VALUES = 2_000_000
_DAMAGED = "damaged or altered ({}); copy it again, or enrol again"


def write_detector(path: Path, header: Mapping[str, Any], parts: Mapping[str, Arrays]) -> None:
    """Write a detector's file, whole or not at all; equal content gives equal bytes.

    Args:
        path: of the file; one that is there is replaced, and who may read and write it stays as it was.
        header: plain data.
        parts: arrays of each part, by name.
    """
    digests = {name: part_digest(arrays) for name, arrays in parts.items()}
    told = {"format": FORMAT, "package": __version__, "content_hash": _NO_HASH, "digests": digests, **header}
    arrays = {
        f"{part}/{name}": np.asarray(array, order="C") for part, own in parts.items() for name, array in own.items()
    }
    content = bytearray(save(arrays, {_KEY: json.dumps(told, sort_keys=True)}))
    end = 8 + int.from_bytes(content[:8], "little")
    digest = hashlib.sha256(content[8:end]).hexdigest()
    content[8:end] = content[8:end].replace(_NO_HASH.encode(), digest.encode())
    # Excerpts may hold speech: who has closed the file to others keeps it closed.
    with write_atomically(path, keep_rights=True) as file:
        file.write(content)


class DetectorFile:
    """A detector's file, opened: its header has been checked, its parts are checked as they are read.

    Args:
        path: of the file.

    Attributes:
        path: as given.
        header: plain data.
        content_hash: of everything, as 64 hexadecimal digits.

    Raises:
        UserError: no such file, not a detector's, cut short, altered, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = _header(path)
        self.content_hash = str(self.header["content_hash"])
        try:
            # It stays open: who replaces the file meanwhile does not change what this one reads.
            opened: Any = safe_open(str(path), framework="numpy")
            self._file, self._names = opened, list(opened.keys())
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            raise _damaged(path, "cut short" if _is_cut_short(path) else error) from error

    def part(self, part: str) -> Arrays:
        """The arrays of a part; there may be none.

        Raises:
            UserError: they are not what the header says.
        """
        digest = self.header["digests"].get(part)
        prefix = f"{part}/"
        try:
            arrays = {
                name.removeprefix(prefix): self._file.get_tensor(name)
                for name in self._names
                if name.startswith(prefix)
            }
        except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
            raise _damaged(self.path, error) from error
        if (digest is None and arrays) or (digest is not None and part_digest(arrays) != digest):
            raise _damaged(self.path, f"{part} is not what it was written as")
        return arrays

    def check(self) -> None:
        """Read every part, and check it.

        Raises:
            UserError: a part is not what the header says.
        """
        for part in self.header["digests"]:
            self.part(part)


def part_digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Digest of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def json_array(content: Any) -> NDArray[np.uint8]:
    """Plain data as an array of bytes: what is long has no place in a header that is always read."""
    return np.frombuffer(json.dumps(content, sort_keys=True).encode(), np.uint8)


def json_of(array: Any, source: object) -> Any:
    """What `json_array` was given.

    Raises:
        UserError: not bytes, or not JSON.
    """
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 1:
        raise UserError(f"{source}: bytes are needed")
    return parse_json(array.tobytes(), source, _MOST_HEADER_BYTES, _MOST_VALUES)


def _header(path: Path) -> dict[str, Any]:
    with open_foreign(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= _MOST_HEADER_BYTES:
            raise UserError(f"{path}: not a detector as asd enrol writes it")
        head = stream.read(length)
    if len(head) < length:
        raise _damaged(path, "cut short")
    content = parse_json(head, path, _MOST_HEADER_BYTES, _MOST_VALUES)
    metadata = content.get("__metadata__") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_KEY), str):
        raise UserError(f"{path}: not a detector as asd enrol writes it")
    header = parse_json(metadata[_KEY], path, _MOST_HEADER_BYTES, _MOST_VALUES)
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise UserError(f"{path}: not a detector as asd enrol writes it")
    if header["format"] > FORMAT:
        raise UserError(
            f"{path}: has format {header['format']} (of asd_lightning {header.get('package')!s:.20}), and this version "
            f"reads up to {FORMAT}; install a newer asd_lightning"
        )
    _refuse_altered(path, head, header)
    return header


def _is_cut_short(path: Path) -> bool:
    """Whether the arrays that the header tells of go on after the file's end."""
    with open_foreign(path) as stream:
        length = int.from_bytes(stream.read(8), "little")
        content = parse_json(stream.read(length), path, _MOST_HEADER_BYTES, _MOST_VALUES)
    told = [entry.get("data_offsets") for entry in content.values() if isinstance(entry, dict)]
    ends = [pair[1] for pair in told if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], int)]
    return path.stat().st_size < 8 + length + max(ends, default=0)


def _refuse_altered(path: Path, head: bytes, header: Mapping[str, Any]) -> None:
    told, digests = header.get("content_hash"), header.get("digests")
    if not isinstance(told, str) or len(told) != len(_NO_HASH) or not isinstance(digests, dict):
        raise _damaged(path, "no content hash")
    blank = head.replace(told.encode(), _NO_HASH.encode())
    if hashlib.sha256(blank).hexdigest() != told:
        raise _damaged(path, "its header is not what it was written as")


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path}: {_DAMAGED.format(' '.join(str(why).split()))[:300]}")
