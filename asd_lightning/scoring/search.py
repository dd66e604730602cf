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
from jaxtyping import Bool, Float, Int

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
    center = bank.vectors.mean(axis=0)
    for rows in _blocks(len(queries.vectors)):
        block = View(queries.vectors[rows], queries.missing[rows])
        allowed = np.ones((len(block.vectors), len(bank.vectors)), dtype=bool)
        if kin is not None:
            allowed = (kin.query[rows, None, None] != kin.bank).all(axis=2)
        row, item = _candidates(block, bank, center, k, measure, weighing, allowed)
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


def _candidates(
    queries: View,
    bank: View,
    center: Float[np.ndarray, " dim"],
    k: int,
    measure: Measure,
    weighing: Weighing,
    allowed: Bool[np.ndarray, "m b"],
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Pairs, by row, whose value may be among the ``k`` lowest of the row as far as a matrix product can tell."""
    left, right = queries.vectors - center, bank.vectors - center
    left_squared, right_squared = np.square(left).sum(axis=1)[:, None], np.square(right).sum(axis=1)
    lengths = left_squared + right_squared
    squared = lengths - 2 * left @ right.T
    # What rounding can do to a sum of that many products, with room to spare.
    error = 4 * np.finfo(np.float64).eps * (left.shape[1] + 8) * lengths
    missing = queries.missing[:, None] + bank.missing
    every = slice(None)
    low = weighing.of(_distance(np.maximum(squared - error, 0), missing, measure), every)
    high = weighing.of(_distance(np.maximum(squared + error, 0), missing, measure), every)
    high[~allowed] = np.inf
    place = min(k, high.shape[1]) - 1
    bound = np.partition(high, place, axis=1)[:, place, None]
    # A logarithm and a product round once more.
    slack = 1e-12 * (1 + np.abs(np.where(np.isfinite(bound), bound, 0)) + np.abs(weighing.offset).max())
    row, item = np.nonzero((low <= bound + slack) & allowed)
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
