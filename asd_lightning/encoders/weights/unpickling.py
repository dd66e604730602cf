"""Reads the tensors and the configuration of somebody else's checkpoint without running any of its code.

A .pt file is a pickle, and a pickle can name any function to be called.  Here torch's own restricted unpickler
(``weights_only=True``) does the reading.  The few foreign classes that the known formats mention are mapped to an inert
placeholder, by a fixed list of names; a file that asks for anything else is refused before it is read.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from asd_lightning.download.transfer import looks_like_web_page
from asd_lightning.errors import UserError

# Classes that fairseq's training checkpoints mention around the tensors.  None of them is imported.
_INERT_NAMES = frozenset(
    {
        "argparse.Namespace",
        "builtins.bool",
        "builtins.dict",
        "builtins.float",
        "builtins.int",
        "builtins.list",
        "builtins.str",
        "builtins.tuple",
        "enum.Enum",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "typing.Any",
        "typing.Union",
    }
)
_INERT_PREFIXES = ("omegaconf.", "fairseq.")
_AGAIN = "Get the file again from its publisher (`asd weights list` names it)"


class Placeholder:
    """Stands where a checkpoint names a class; keeps the arguments and the state it was given, and runs nothing."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> Placeholder:
        """Store ``args``; nothing is called."""
        placeholder = super().__new__(cls)
        placeholder.args, placeholder.state = args, None
        return placeholder

    def __setstate__(self, state: Any) -> None:
        """Store ``state``; nothing is called."""
        self.state = state


def _empty_dict(*_: object) -> dict[Any, Any]:
    # In place of collections.defaultdict: the restricted unpickler fills plain dictionaries only.
    return {}


def read_pickled(path: Path) -> dict[str, Any]:
    """The dictionary that ``torch.save`` wrote to ``path``; tensors are memory-mapped.

    Objects of foreign classes come back as placeholders; :func:`plain` turns a configuration among them into builtins.

    Raises:
        UserError: not a complete torch file, no dictionary, or a pickle that names anything outside the known formats
            (nothing of it has run).
    """
    check_is_weights(path)
    if not zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is cut short, or is not a checkpoint: it has no complete torch archive in it. {_AGAIN}"
        )
    try:
        with _placeholders(path):
            payload = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(
            f"{path} is refused: it is not a plain checkpoint ({reason}). Nothing in it was run. {_AGAIN}"
        ) from error
    except (RuntimeError, ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is damaged: {str(error).splitlines()[0]}. {_AGAIN}") from error
    if not isinstance(payload, dict):
        raise UserError(f"{path} holds a {type(payload).__name__}, not the dictionary of a checkpoint. {_AGAIN}")
    return payload


@contextmanager
def _placeholders(path: Path) -> Iterator[None]:
    named = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    inert = [name for name in named if name in _INERT_NAMES or name.startswith(_INERT_PREFIXES)]
    foreign = sorted(set(named) - set(inert) - {"collections.defaultdict"})
    if foreign:
        raise UserError(
            f"{path} is refused: its pickle asks for {', '.join(foreign)}, which no known checkpoint format needs and "
            f"which could run code. Nothing in it was run. {_AGAIN}, or use a .safetensors file"
        )
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [(Placeholder, name) for name in inert]
    allowed.append((_empty_dict, "collections.defaultdict"))
    with torch.serialization.safe_globals(allowed):
        yield


def plain(value: Any) -> Any:
    """``value`` with configuration placeholders (omegaconf containers, namespaces) turned into builtins."""
    if isinstance(value, Placeholder):
        return _plain_placeholder(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _plain_placeholder(value: Placeholder) -> Any:
    state = value.state
    if not isinstance(state, Mapping):  # an enumeration member or a numpy scalar: nothing here depends on it
        return None
    for key in ("_content", "_val"):  # omegaconf keeps a container's items and a node's value under these names
        if key in state:
            return plain(state[key])
    return plain(state)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and header metadata of a .safetensors file.

    Raises:
        UserError: not a complete .safetensors file.
    """
    check_is_weights(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path} is cut short, or is not a .safetensors file: {error}. {_AGAIN}") from error


def is_safetensors(path: Path) -> bool:
    """Whether the first bytes are a .safetensors header: its length in 8 bytes, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000


def check_is_weights(path: Path) -> None:
    """Refuse what is no weight file at all.

    Raises:
        UserError: missing, empty, or a web page (what file hosts send in place of a file they do not want to give).
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist, or is not a file. Check the path; `asd weights list` names what there is"
        )
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise UserError(f"{path} is empty. {_AGAIN}")
    if looks_like_web_page(head):
        raise UserError(
            f"{path} is a web page, not a weight file: the site answered with a page. "
            "Open the address in a browser, save the file itself, then `asd weights import FILE`"
        )
