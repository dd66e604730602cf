"""Tensors that are still in their file: what is known of them before they are read, and .safetensors files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from asd_lightning.download.transfer import looks_like_web_page
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import open_foreign
from asd_lightning.plain_text import printable

AGAIN = "Get the file again from its publisher (`asd weights list` names it)"
"""What to do about a file that cannot be read, as the end of a message."""

_FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_MOST_HEADER_BYTES = 16 << 20
_MOST_TENSORS = 10_000
# Tensors of one memory count once each: the twelve position tables of BEATs are one in the file.
_SHARED_BYTES = 64 << 20


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that is still in its file.

    Attributes:
        shape: its shape, which its file has bytes for.
        nbytes: of the tensor, in memory of its own.
        read: copies it out of the file.
    """

    shape: tuple[int, ...]
    nbytes: int
    read: Callable[[], Tensor]


def check_is_weights(path: Path) -> None:
    """Refuse what is no weight file at all.

    Raises:
        UserError: missing, empty, or a web page (what file hosts send in place of a file they do not want to give).
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist, or is not a file. Check the path; `asd weights list` names what there is"
        )
    with open_foreign(path) as file:
        head = file.read(512)
    if not head:
        raise UserError(f"{path} is empty. {AGAIN}")
    if looks_like_web_page(head):
        raise UserError(
            f"{path} is a web page, not a weight file: the site answered with a page. "
            "Open the address in a browser, save the file itself, then `asd weights import FILE`"
        )


def is_safetensors(path: Path) -> bool:
    """Whether the first bytes are a .safetensors header: its length in 8 bytes, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _MOST_HEADER_BYTES


def read_safetensors(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """Tensors and header metadata of a .safetensors file.

    Raises:
        UserError: not a complete .safetensors file.
    """
    check_is_weights(path)
    try:
        file: Any = safe_open(path, framework="pt")
        names = file.keys()
        if len(names) > _MOST_TENSORS:
            raise ValueError(f"{len(names):,} tensors are more than {_MOST_TENSORS:,}")
        return {name: _in_safetensors(file, name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        reason = printable(f"{error!s:.200}")
        raise UserError(f"{path} is cut short, or is not a .safetensors file: {reason}. {AGAIN}") from error


def _in_safetensors(file: Any, name: str) -> StoredTensor:
    piece = file.get_slice(name)
    shape, dtype = tuple(piece.get_shape()), str(piece.get_dtype())
    if dtype not in _FLOAT_BYTES:
        raise ValueError(f"{some([name])} has numbers of type {dtype:.20}")
    return StoredTensor(shape, math.prod(shape) * _FLOAT_BYTES[dtype], lambda: file.get_tensor(name))


def read_tensors(stored: Mapping[str, StoredTensor], path: Path) -> dict[str, Tensor]:
    """Own, contiguous float32 memory for each: .safetensors takes no shared memory.

    Raises:
        UserError: the tensors are views that take much more memory than the file has bytes.
    """
    wanted, present = sum(tensor.nbytes for tensor in stored.values()), path.stat().st_size
    if wanted > present + _SHARED_BYTES:
        raise UserError(f"{path} is refused: its {present:,} bytes ask for {wanted:,} bytes of tensors. {AGAIN}")
    try:
        return {name: tensor.read().detach().to(torch.float32).contiguous() for name, tensor in stored.items()}
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {printable(f'{error!s:.200}')}. {AGAIN}") from error


def some(names: list[str]) -> str:
    """The first of ``names``, for a message."""
    shown = ", ".join(printable(f"{name:.80}") for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
