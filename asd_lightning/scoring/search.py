"""Exact lowest values between clips and a bank, where a value is a distance weighed by what the bank item is.

A matrix product bounds every value from below and above; only pairs that may be among the lowest are measured, by
differences.  So the result does not depend on how many clips share the call, nor on the order of the bank.

Shapes: m queries, b bank items, vectors of one length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

Measure = Literal["angle", "length"]

SMALLEST_DISTANCE = 1e-12
"""Logarithms and divisions see no smaller distance: an exact twin in a bank has distance 0."""

_BLOCK = 256
_NUMBERS_AT_ONCE = 2**22


class View(NamedTuple):
    """Vectors as they are compared.

    Attributes:
        vectors: of length 1 under ``angle``, or zeros where there is no direction.
        missing: share of each vector that has no direction: its cosine to everything is 0.
    """

    vectors: Float[np.ndarray, "n dim"]
    missing: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Weighing:
    """Turns a distance d to bank item i into ``phi(d) * scale[i] - offset[i]``, which grows with d.

    Attributes:
        log: phi is the natural logarithm, instead of d itself.
        scale: above 0.
        offset: any number.
    """

    log: bool
    scale: Float[np.ndarray, " b"]
    offset: Float[np.ndarray, " b"]

    @classmethod
    def none(cls, items: int) -> Weighing:
        """Plain distances."""
        return cls(False, np.ones(items), np.zeros(items))

    def of(self, distance: Float[np.ndarray, "*shape"], item: Int[np.ndarray, "*shape"] | slice) -> np.ndarray:
        """Values of distances to those items."""
        phi = np.log(np.maximum(distance, SMALLEST_DISTANCE)) if self.log else distance
        return np.asarray(phi * self.scale[item] - self.offset[item])


class Kin(NamedTuple):
    """Which bank items a query must not see: those with its number among theirs.

    Attributes:
        query: number of each query's recording.
        bank: numbers of the recordings that each item was made of.
    """

    query: Int[np.ndarray, " m"]
    bank: Int[np.ndarray, "b parents"]


class Lowest(NamedTuple):
    """Ascending lowest values of each query, and their items; inf and -1 where there are fewer.

    Attributes:
        value: weighed distances.
        item: positions in the bank.
    """

    value: Float[np.ndarray, "m k"]
    item: Int[np.ndarray, "m k"]


def lowest(
    queries: View,
    bank: View,
    k: int,
    measure: Measure,
    weighing: Weighing | None = None,
    kin: Kin | None = None,
    rank: Float[np.ndarray, " b"] | None = None,
) -> Lowest:
    """The ``k`` lowest values of each query over the bank.

    Args:
        queries: to compare.
        bank: to compare with.
        k: how many.
        measure: ``angle`` is ``(1 - cosine) / 2``, from 0 to 1; ``length`` the Euclidean distance.
        weighing: of the distances; ``None`` for plain ones.
        kin: pairs to leave out.
        rank: of several items with the same value, that of the smallest rank comes first.
    """
    weighing = weighing or Weighing.none(len(bank.vectors))
    found = Lowest(np.full((len(queries.vectors), k), np.inf), np.full((len(queries.vectors), k), -1))
    sieve = _Sieve(bank, measure, weighing)
    for rows in _blocks(len(queries.vectors)):
        block = View(queries.vectors[rows], queries.missing[rows])
        values, error = sieve.values(block)
        if kin is not None:
            _leave_out(values, Kin(kin.query[rows], kin.bank))
        row, item = _candidates(values, error, k)
        value = weighing.of(_measured(block, bank, row, item, measure), item)
        order = np.lexsort((np.zeros(len(item)) if rank is None else rank[item], value, row))
        row, item, value = row[order], item[order], value[order]
        place = np.arange(len(row)) - np.searchsorted(row, row)
        kept = place < k
        found.value[rows][row[kept], place[kept]] = value[kept]
        found.item[rows][row[kept], place[kept]] = item[kept]
    return found


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, min(start + _BLOCK, count))


class _Sieve:
    """What a matrix product tells of every value: few passes over all pairs, which are what takes the time.

    The numbers order each query's items as the weighed distances do, as far as rounding lets them: squared distances
    where nothing is weighed, and for logarithms, whose scale is 1, their exponential ``d * exp(-offset)``.
    """

    def __init__(self, bank: View, measure: Measure, weighing: Weighing) -> None:
        self.center = bank.vectors.mean(axis=0)
        # The product takes it as it lies: to turn a bank around in memory takes as long as a block's product.
        self.right = (bank.vectors - self.center).T
        self.squared = np.square(self.right).sum(axis=0)
        self.missing = bank.missing
        self.measure = measure
        self.log = weighing.log
        # The smallest offset becomes the factor 1; those of items that are never the lowest may become 0.
        offset = weighing.offset - weighing.offset.min() if self.log else weighing.offset
        self.scale = np.exp(-offset) if self.log else weighing.scale
        self.offset = np.zeros(len(offset)) if self.log else offset
        self.plain = not self.offset.any() and bool((self.scale == 1).all())
        # A logarithm, an exponential and a product round once more.
        self.slack = 1e-12 * (1 + float(np.abs(weighing.offset).max()))

    def values(self, queries: View) -> tuple[Float[np.ndarray, "m b"], Float[np.ndarray, "m _"]]:
        """A number for each pair, and how far it may be off (of one row or one column where that is all alike)."""
        left = queries.vectors - self.center
        left_squared = np.square(left).sum(axis=1)[:, None]
        squared = left @ self.right
        squared *= -2
        squared += self.squared
        squared += left_squared
        # What rounding can do to a sum of that many products, with room to spare.
        error = 4 * np.finfo(np.float64).eps * (left.shape[1] + 8) * (left_squared + self.squared.max())
        if self.measure == "angle" and (queries.missing.any() or self.missing.any()):
            squared += queries.missing[:, None] + self.missing
        if self.plain and not self.log:
            return squared, error
        if self.measure == "angle":
            squared /= 4
            distance, error = squared, error / 4
        else:
            # Of two numbers that differ by e, the roots differ by no more than that of e.
            np.maximum(squared, 0, out=squared)
            distance, error = np.sqrt(squared, out=squared), np.sqrt(error)
        if self.log:
            np.maximum(distance, SMALLEST_DISTANCE, out=distance)
        distance *= self.scale
        distance -= self.offset
        return distance, error * self.scale + self.slack * (1 + np.abs(distance))


def _leave_out(values: Float[np.ndarray, "m b"], kin: Kin) -> None:
    for parent in kin.bank.T:
        values[kin.query[:, None] == parent] = np.inf


def _candidates(
    values: Float[np.ndarray, "m b"], error: Float[np.ndarray, "m _"], k: int
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Pairs, by row, whose value may be among the ``k`` lowest of the row."""
    alike = error.shape[1] == 1
    high = values if alike else values + error
    place = min(k, values.shape[1]) - 1
    bound = high.min(axis=1) if place == 0 else np.partition(high, place, axis=1)[:, place]
    # Where there are fewer than k, all that are allowed: what is left out has no finite value.
    bound = np.minimum(bound, np.finfo(np.float64).max / 2)[:, None]
    row, item = np.nonzero(values <= bound + 2 * error) if alike else np.nonzero(values - error <= bound)
    return row, item


def _measured(
    queries: View, bank: View, row: Int[np.ndarray, " pairs"], item: Int[np.ndarray, " pairs"], measure: Measure
) -> Float[np.ndarray, " pairs"]:
    squared = np.empty(len(row))
    step = max(_NUMBERS_AT_ONCE // bank.vectors.shape[1], 1)
    for start in range(0, len(row), step):
        some = slice(start, start + step)
        squared[some] = np.square(queries.vectors[row[some]] - bank.vectors[item[some]]).sum(axis=1)
    return _distance(squared, queries.missing[row] + bank.missing[item], measure)


def _distance(
    squared: Float[np.ndarray, "*shape"], missing: Float[np.ndarray, "*shape"], measure: Measure
) -> Float[np.ndarray, "*shape"]:
    """From the squared Euclidean distance.

    Between vectors of length 1 a quarter of it is ``(1 - cosine) / 2``.  Zeros stand for a vector at right angles to
    all others, also to other zeros: each missing length adds its square.
    """
    return np.asarray((squared + missing) / 4 if measure == "angle" else np.sqrt(squared))
