"""The bank of a detector: what was heard of one machine, piece for piece, and where each piece is from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from numpy import ndarray

from asd_lightning.data.recordings import at_second
from asd_lightning.detector.promise import Blocks, blocks
from asd_lightning.errors import UserError

Role = Literal["bank", "calibration"]
"""``bank``: new sound is compared with it; ``calibration``: it was compared with the bank, for the threshold."""


class Item(NamedTuple):
    """One piece of normal sound.

    ``recording`` is what it was cut from (pieces of one are left out together), ``file`` what its score is of,
    ``start`` and ``seconds`` its place in it (0.0 s long: all of it, of a length that is not known), ``digest`` of its
    samples, ``domain`` source or target, ``version`` the change of the detector that brought it, from 0, ``state`` the
    one of the machine's states that it is taken for by the other recordings; "" where there is one.
    """

    recording: str
    file: str
    start: float
    seconds: float
    digest: str
    domain: str
    role: Role
    version: int
    state: str = ""


# Of a long recording: windows of a block, with one more on either side as the gap, and blocks.
_WINDOWS_OF_A_BLOCK, _FEWEST_BLOCKS, _MOST_BLOCKS = 3, 3, 99
_TYPES = {"start": float, "seconds": float, "version": int}


@dataclass(frozen=True)
class Blocking:
    """A long recording in blocks of time: they stand in for recordings.

    Attributes:
        file: the recording.
        count: of blocks.
        gap: in s, between a block and what it is compared with.
    """

    file: str
    count: int
    gap: float


@dataclass(frozen=True)
class Bank:
    """Items and their embeddings, row for row.

    Attributes:
        items: in the order in which they came.
        embeddings: as the embedder gave them.
        blocking: long recordings that stand for many each: the only one of its machine, or of a state.
    """

    items: tuple[Item, ...]
    embeddings: Float32[ndarray, "n dim"]
    blocking: tuple[Blocking, ...] = ()

    def of_role(self, role: Role) -> Bank:
        """The items of one role."""
        return self.where([item.role == role for item in self.items])

    def up_to(self, version: int) -> Bank:
        """The items that had come by then."""
        return self.where([item.version <= version for item in self.items])

    def where(self, wanted: Sequence[bool]) -> Bank:
        """Some of the items."""
        items = tuple(item for item, keep in zip(self.items, wanted, strict=True) if keep)
        there = {item.file for item in items if not item.version}
        blocking = tuple(one for one in self.blocking if one.file in there)
        return Bank(items, self.embeddings[np.array(wanted, dtype=bool)], blocking)

    def plus(self, items: Sequence[Item], embeddings: Float32[ndarray, "more dim"]) -> Bank:
        """With further items after these.

        Raises:
            UserError: their embeddings are of another length.
        """
        if embeddings.shape[1:] != self.embeddings.shape[1:]:
            raise UserError(f"embeddings of {embeddings.shape[1:]} beside those of {self.embeddings.shape[1:]}")
        return Bank((*self.items, *items), np.concatenate([self.embeddings, embeddings]), self.blocking)

    @property
    def is_target(self) -> Bool[ndarray, " n"]:
        """Which items are of the target domain."""
        return np.array([item.domain == "target" for item in self.items], dtype=bool)

    @property
    def blocked(self) -> Int[ndarray, " b"]:
        """Rows of the recordings that are in blocks."""
        return np.concatenate([np.empty(0, int), *(self._rows(one) for one in self.blocking)])

    def recordings(self) -> list[str]:
        """Name of each item's recording; a block of time is one."""
        names = [item.recording for item in self.items]
        for one in self.blocking:
            for row, block in zip(self._rows(one), self._blocks(one).group, strict=True):
                names[row] = f"{one.file} block {block}"
        return names

    def files(self) -> list[str]:
        """What each item's score is of; in blocks each window is a clip."""
        names = [item.file for item in self.items]
        for row in self.blocked:
            names[row] = at_second(names[row], self.items[row].start)
        return names

    def blocks(self) -> list[tuple[Int[ndarray, " b"], Blocks]]:
        """Rows of each recording that is in blocks, and those, see `asd_lightning.detector.promise.blocks`."""
        return [(self._rows(one), self._blocks(one)) for one in self.blocking]

    def _rows(self, one: Blocking) -> Int[ndarray, " b"]:
        return np.array([row for row, item in enumerate(self.items) if item.file == one.file and not item.version], int)

    def _blocks(self, one: Blocking) -> Blocks:
        rows = self._rows(one)
        starts = np.array([self.items[row].start for row in rows], dtype=np.float64)
        return blocks(starts, max(self.items[rows[0]].seconds, 1e-3), one.count, one.gap)

    def record(self) -> dict[str, Any]:
        """Plain data: a list for each column of the items; without states none for them, as in format 1.

        Of several recordings in blocks a list, which this version is the first to write.
        """
        columns = {name: [getattr(item, name) for item in self.items] for name in Item._fields}
        if not any(columns["state"]):
            del columns["state"]
        told = [asdict(one) for one in self.blocking]
        return {"items": columns, "blocking": told if len(told) > 1 else next(iter(told), None)}

    @classmethod
    def of_record(cls, record: Any, embeddings: Any) -> Bank:
        """What ``record()`` was given of.

        Raises:
            UserError: something is missing, or not what it should be.
        """
        try:
            told = record["items"]
            names = [name for name in Item._fields if name != "state" or name in told]
            columns = [_column(name, told[name]) for name in names]
            items = tuple(Item(*row) for row in zip(*columns, strict=True))
            blocking = _blocking(record["blocking"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"its bank cannot be read ({error!s:.99})") from error
        if not isinstance(embeddings, ndarray) or embeddings.dtype != np.float32 or embeddings.ndim != 2:
            raise UserError("its embeddings are no table of float32")
        if len(embeddings) != len(items) or not np.isfinite(embeddings).all():
            raise UserError("its embeddings are not those of its bank, or not finite")
        return cls(items, embeddings, blocking)


def in_blocks(items: Sequence[Item], group: Sequence[str], gap: float) -> tuple[Blocking, ...]:
    """Blocks of time in the place of a group's only recording, where that is long enough; any other stays as it is.

    Args:
        items: of normal sound.
        group: of each item, such as the state that it was filed under.
        gap: in s, between a block and what it is compared with.
    """
    made = []
    for name in dict.fromkeys(group):
        own = [item for item, of in zip(items, group, strict=True) if of == name]
        others = {item.recording for item, of in zip(items, group, strict=True) if of != name}
        count = min(len(own) // _WINDOWS_OF_A_BLOCK, _MOST_BLOCKS)
        single = len({item.recording for item in own}) == len({item.file for item in own}) == 1
        if single and own[0].recording not in others and count >= _FEWEST_BLOCKS:
            made.append(Blocking(own[0].file, count, gap))
    return tuple(made)


def spread_over(embeddings: Float[ndarray, "n dim"]) -> Float[ndarray, " dim"]:
    """Standard deviation of each dimension, 1 where a dimension does not vary."""
    deviation = embeddings.astype(np.float64).std(axis=0)
    return np.where(deviation > 0, deviation, 1.0)


def _blocking(told: Any) -> tuple[Blocking, ...]:
    several = told if isinstance(told, list) and len(told) > 1 else [] if told is None else [told]
    found = tuple(Blocking(str(one["file"]), int(one["count"]), float(one["gap"])) for one in several)
    if len({one.file for one in found}) < len(found):
        raise ValueError("blocking: a file twice")
    return found


def _column(name: str, values: Any) -> list[Any]:
    kind = _TYPES.get(name, str)
    if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"{name}: a list of {kind.__name__} is needed")
    if name == "role" and not set(values) <= set(get_args(Role)):
        raise ValueError("role")
    return values
