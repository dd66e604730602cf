"""Reads the tensors and the configuration of somebody else's checkpoint without running any of its code.

A .pt file is a zip of a pickle and of the tensors' bytes.  A pickle is a program that can name any function to be
called, share what it has made, and ask for views of any size.  So it is followed here by a machine that has only the
steps that checkpoints consist of: it calls nothing, makes descriptions in the place of tensors, and foreign classes
become inert placeholders, by a fixed list of names.  Bytes are read last, of the tensors that are wanted, when their
shapes are known to be right.
"""

from __future__ import annotations

import io
import math
import mmap
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from asd_lightning.encoders.weights.tensor_files import AGAIN, StoredTensor, check_is_weights, some
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, open_zip
from asd_lightning.plain_text import printable

# Classes that fairseq's training checkpoints mention around the tensors.  None of them is imported.
_INERT_NAMES = frozenset(
    {
        "_codecs.encode",
        "argparse.Namespace",
        "builtins.bool",
        "builtins.bytearray",
        "builtins.dict",
        "builtins.float",
        "builtins.int",
        "builtins.list",
        "builtins.long",
        "builtins.set",
        "builtins.str",
        "builtins.tuple",
        "builtins.unicode",
        "collections.Counter",
        "enum.Enum",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "torch.Size",
        "torch.device",
        "typing.Any",
        "typing.Union",
    }
)
_INERT_PREFIXES = ("omegaconf.", "fairseq.")
_STORAGES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_DTYPES = frozenset(str(dtype) for dtype in _STORAGES.values())
_DICTIONARIES = ("collections.OrderedDict", "collections.defaultdict")
_TENSOR, _PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
# The largest published checkpoint takes some 30,000 steps, and its pickle 1 MB.
_MOST_STEPS = 500_000
_MOST_PICKLE_BYTES = 16 << 20
_MOST_DIMENSIONS = 8


class Placeholder:
    """Stands where a checkpoint names a class; keeps the state it was given, and runs nothing."""

    state: Any = None


@dataclass(frozen=True)
class _Name:
    """A class or function that the pickle names; never looked up."""

    name: str


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    length: int


@dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _RefusedError(Exception):
    """A step that no checkpoint needs."""


def read_pickled(path: Path) -> dict[Any, Any]:
    """The dictionary that ``torch.save`` wrote to ``path``, with a `StoredTensor` in the place of each tensor.

    Objects of foreign classes are placeholders; `settings` reads a configuration among them.

    Raises:
        UserError: not a complete torch file, no dictionary, a tensor that is not in the file, or a pickle that does
            anything outside the known formats (nothing of it has run).
    """
    check_is_weights(path)
    try:
        with open_zip(path) as archive:
            program, members = _program(archive), _members(archive, path)
    except ForeignFileError as error:
        raise UserError(
            f"{path} is cut short, or is not a checkpoint: it has no complete torch archive in it ({error.reason}). "
            f"{AGAIN}"
        ) from None
    try:
        payload = _Machine(_Tensors(path, members)).run(program, path)
    except _RefusedError as error:
        raise UserError(
            f"{path} is refused: it is not a plain checkpoint ({printable(str(error))}). Nothing in it was run. {AGAIN}"
        ) from None
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {printable(f'{error!s:.200}')}. {AGAIN}") from None
    if not isinstance(payload, dict):
        raise UserError(f"{path} holds a {type(payload).__name__}, not the dictionary of a checkpoint. {AGAIN}")
    return payload


def _program(archive: zipfile.ZipFile) -> bytes:
    found = [member for member in archive.infolist() if member.filename.split("/")[1:] == ["data.pkl"]]
    if len(found) != 1:
        raise zipfile.BadZipFile("no data.pkl")
    _check_stored(found[0])
    if found[0].file_size > _MOST_PICKLE_BYTES:
        raise zipfile.BadZipFile(f"a pickle of {found[0].file_size:,} bytes")
    return archive.read(found[0])


def _check_stored(member: zipfile.ZipInfo) -> None:
    # torch never packs; what is packed unpacks to a thousand times the size.
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
        raise zipfile.BadZipFile(f"{member.filename} is compressed")


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, tuple[int, int]]:
    """Key of each storage -> where its bytes begin, and how many they are."""
    found, length = {}, path.stat().st_size
    stream: Any = archive.fp
    for member in archive.infolist():
        parts = member.filename.split("/")
        if parts[1:] == ["byteorder"] and archive.read(member) != b"little":
            raise zipfile.BadZipFile("its numbers are big-endian")
        if len(parts) == 3 and parts[1] == "data":
            _check_stored(member)
            stream.seek(member.header_offset)
            local = struct.unpack("<4s22xHH", stream.read(30))
            start = member.header_offset + 30 + local[1] + local[2]
            if local[0] != b"PK\x03\x04" or start + member.file_size > length:
                raise zipfile.BadZipFile(f"{member.filename} is not where it should be")
            found[parts[2]] = (start, member.file_size)
    return found


class _Tensors:
    """The bytes behind the views of one file."""

    def __init__(self, path: Path, members: Mapping[str, tuple[int, int]]) -> None:
        self._members = members
        with path.open("rb") as stream:
            # Private: torch wants memory that it might write to.
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)

    def storage(self, key: Any, dtype: torch.dtype, length: Any) -> _Storage:
        if not isinstance(key, str) or key not in self._members:
            raise ValueError("a tensor's bytes are missing")
        if type(length) is not int or not 0 <= length * dtype.itemsize <= self._members[key][1]:
            raise ValueError(f"a tensor wants more bytes than data/{key:.20} has")
        return _Storage(key, dtype, length)

    def view(self, storage: Any, offset: Any, shape: Any, stride: Any) -> StoredTensor:
        if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
            raise _RefusedError("a tensor without a storage or a shape")
        numbers = (offset, *shape[: _MOST_DIMENSIONS + 1], *stride[: _MOST_DIMENSIONS + 1])
        if any(type(number) is not int or number < 0 for number in numbers):
            raise _RefusedError("a tensor whose shape is no shape")
        if len(shape) != len(stride) or len(shape) > _MOST_DIMENSIONS:
            raise _RefusedError(f"a tensor of {len(shape)} dimensions and {len(stride)} strides")
        elements = math.prod(shape)
        end = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) + 1 if elements else 0
        if max(elements, end) > storage.length:
            raise _RefusedError(f"a view of shape {shape} of a storage of {storage.length} numbers")
        view = _View(storage, offset, shape, stride)
        return StoredTensor(shape, elements * storage.dtype.itemsize, lambda: self._read(view, elements))

    def _read(self, view: _View, elements: int) -> Tensor:
        storage = view.storage
        if not elements:
            return torch.empty(view.shape, dtype=storage.dtype)
        start = self._members[storage.key][0]
        flat = torch.frombuffer(self._bytes, dtype=storage.dtype, count=storage.length, offset=start)
        return flat.as_strided(view.shape, view.stride, view.offset).clone(memory_format=torch.contiguous_format)


class _Machine:
    """Follows a pickle of protocol 2, as ``torch.save`` writes it."""

    def __init__(self, tensors: _Tensors) -> None:
        self._tensors = tensors
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            "MARK": self._mark,
            "GLOBAL": lambda arg: self._stack.append(_Name(_dotted(arg))),
            "NONE": lambda _: self._stack.append(None),
            "NEWTRUE": lambda _: self._stack.append(True),
            "NEWFALSE": lambda _: self._stack.append(False),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "EMPTY_LIST": lambda _: self._stack.append([]),
            "EMPTY_SET": lambda _: self._stack.append(Placeholder()),
            "EMPTY_TUPLE": lambda _: self._stack.append(()),
            "TUPLE1": lambda _: self._tuple(1),
            "TUPLE2": lambda _: self._tuple(2),
            "TUPLE3": lambda _: self._tuple(3),
            "TUPLE": lambda _: self._replace_mark(tuple),
            "APPEND": lambda _: self._append([self._stack.pop()]),
            "APPENDS": lambda _: self._append(self._since_mark()),
            "SETITEM": lambda _: self._set([self._stack.pop(-2), self._stack.pop()]),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "BINPERSID": lambda _: self._stack.append(self._storage(self._stack.pop())),
            "REDUCE": lambda _: self._make(),
            "NEWOBJ": lambda _: self._make(),
            "BUILD": lambda _: self._build(self._stack.pop()),
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), self._memoize),
            **{name: lambda arg: self._stack.append(self._memo[arg]) for name in ("BINGET", "LONG_BINGET")},
            **dict.fromkeys(("BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1"), self._stack_append),
            **dict.fromkeys(("BINUNICODE", "SHORT_BINSTRING"), self._stack_append),
        }

    def run(self, program: bytes, path: Path) -> Any:
        """What ``program`` leaves behind; the names in it are looked through before its first step."""
        steps: list[tuple[str, Any]] = []
        for opcode, argument, _ in pickletools.genops(io.BytesIO(program)):
            steps.append((opcode.name, argument))
            if len(steps) > _MOST_STEPS:
                raise _RefusedError(f"it takes more than {_MOST_STEPS:,} steps")
        _refuse_foreign((_dotted(argument) for name, argument in steps if name == "GLOBAL"), path)
        for name, argument in steps[:-1]:  # the last one is STOP
            if name not in self._steps:
                raise _RefusedError(f"the step {name}")
            self._steps[name](argument)
        return self._stack.pop()

    def _stack_append(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _replace_mark(self, make: Callable[[list[Any]], Any]) -> None:
        items = self._since_mark()
        self._stack.append(make(items))

    def _tuple(self, length: int) -> None:
        items = [self._stack.pop() for _ in range(length)]
        self._stack.append(tuple(reversed(items)))

    def _memoize(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _append(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise _RefusedError(f"items for a {type(self._stack[-1]).__name__}")
        self._stack[-1].extend(items)

    def _set(self, items: list[Any]) -> None:
        keys = items[::2]
        if type(self._stack[-1]) is not dict or not all(map(_is_key, keys)):
            raise _RefusedError("a dictionary whose keys are neither text nor small numbers")
        self._stack[-1].update(zip(keys, items[1::2], strict=True))

    def _storage(self, identity: Any) -> _Storage:
        if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise _RefusedError("a reference to something outside")
        kind = identity[1].name if isinstance(identity[1], _Name) else ""
        if kind not in _STORAGES:
            raise _RefusedError(f"tensors of {kind or 'no kind'}")
        return self._tensors.storage(identity[2], _STORAGES[kind], identity[4])

    def _make(self) -> None:
        arguments, what = self._stack.pop(), self._stack.pop()
        if not isinstance(what, _Name) or not isinstance(arguments, tuple):
            raise _RefusedError("a call of something that it has made")
        self._stack.append(self._made(what.name, arguments))

    def _made(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == _TENSOR:
            return self._tensors.view(*arguments[:4])
        if name == _PARAMETER:
            return arguments[0]
        return {} if name in _DICTIONARIES else Placeholder()

    def _build(self, state: Any) -> None:
        target = self._stack[-1]
        if isinstance(target, Placeholder):
            target.state = state
        elif type(target) is not dict:  # attributes of an OrderedDict say nothing about its tensors
            raise _RefusedError(f"attributes for a {type(target).__name__}")


def _is_key(value: Any) -> bool:
    """Whether it takes no time to look up: tuples that share their items have exponentially many to hash.

    Whole numbers of more than 61 bits can be chosen to have one hash, and are then compared each with each.
    """
    if isinstance(value, int):
        return abs(value) < 1 << 60
    return value is None or isinstance(value, str | Placeholder | _Name)


def _dotted(argument: str) -> str:
    module, _, name = argument.partition(" ")
    return f"{'builtins' if module == '__builtin__' else module}.{name}"


def _refuse_foreign(names: Iterable[str], path: Path) -> None:
    known = _INERT_NAMES | _DTYPES | {*_STORAGES, *_DICTIONARIES, _TENSOR, _PARAMETER}
    foreign = sorted({name for name in names if name not in known and not name.startswith(_INERT_PREFIXES)})
    if foreign:
        raise UserError(
            f"{path} is refused: its pickle asks for {some(foreign)}, which no known checkpoint format needs and "
            f"which could run code. Nothing in it was run. {AGAIN}, or use a .safetensors file"
        )


def settings(value: Any, *path: str) -> dict[str, Any]:
    """The text, numbers and truth values of a configuration, of the part at ``path``; None in the place of all else.

    What lies deeper is left alone: to expand, show or compare it takes exponential time where items are shared.
    """
    part = _without_container(value)
    for key in path:
        part = _without_container(part.get(key)) if isinstance(part, dict) else None
    if not isinstance(part, dict):
        return {}
    items = ((str(key), _without_container(item)) for key, item in part.items())
    return {key: item if isinstance(item, str | int | float) else None for key, item in items}


def _without_container(value: Any) -> Any:
    for _ in range(4):  # a container in a node in a container; one that contains itself has no end
        if not isinstance(value, Placeholder):
            return value
        state = value.state if isinstance(value.state, dict) else {}
        # omegaconf keeps a container's items and a node's value under these names
        value = state.get("_content", state.get("_val", state or None))
    return None
