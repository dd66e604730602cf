"""The bank of one domain: its items, and how far an item's own neighbours are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from asd_lightning.scoring.contributions import of_length
from asd_lightning.scoring.neighbors import Metric, nearest, nearest_others

# Floor of the local distance, which is 0 for an item with an equal one in its bank: dividing by 0 would give NaN.
SMALLEST_LOCAL_DISTANCE = 1e-12


class Bank:
    """Embeddings of one domain, with local density normalisation where asked for.

    With it, the distance to item y is divided by the mean distance of y to its K nearest other items of the bank.

    Args:
        items: embeddings, of length 1 each where the metric is cosine; may be empty.
        metric: of every distance.
        local_density: K, or ``None`` for plain distances.
        lonely: stands for the local distance of an item that has no others.
    """

    def __init__(
        self, items: Float[np.ndarray, "b dim"], metric: Metric, local_density: int | None, lonely: float = 1.0
    ) -> None:
        self.items = items
        self.metric: Metric = metric
        self.local_density = local_density
        self.lonely = lonely
        self.weight = None if local_density is None else 1 / self.local_distance()

    @classmethod
    def of(cls, items: Float[np.ndarray, "b dim"], metric: Metric, weight: Float[np.ndarray, " b"] | None) -> Bank:
        """A bank with given weights, such as those of a kept state."""
        bank = cls(items, metric, None)
        bank.weight = weight
        return bank

    def local_distance(self) -> Float[np.ndarray, " b"]:
        """Mean distance of each item to its K nearest others (to its nearest where K is not set)."""
        distance, _ = nearest_others(self.items, self.local_density or 1, self.metric)
        return self._mean(distance)

    def distances(self, queries: Float[np.ndarray, "m dim"], k: int) -> Float[np.ndarray, "m k"]:
        """Ascending (normalised) distances of queries to their ``min(k, b)`` nearest items."""
        return nearest(queries, self.items, k, self.metric, self.weight)

    def contributions(self, query: Float[np.ndarray, " dim"], k: int) -> Float[np.ndarray, "k dim"]:
        """What each dimension adds to the distances of one query to its ``min(k, b)`` nearest items."""
        squares = np.square(query - self.items)
        weight = np.ones(len(squares)) if self.weight is None else self.weight
        length = squares.sum(axis=1)
        nearest = np.argsort((length if self.metric == "cosine" else np.sqrt(length)) * weight, kind="stable")[:k]
        parts = [squares[item] / 2 if self.metric == "cosine" else of_length(squares[item]) for item in nearest]
        return np.array(parts).reshape(-1, len(query)) * weight[nearest, None]

    def distances_of_others(self, k: int) -> Float[np.ndarray, "b k"]:
        """Ascending (normalised) distances of each item to the bank as it would be without that item."""
        if self.local_density is None:
            return nearest_others(self.items, k, self.metric)[0]
        return nearest_others(self.items, k, self.metric, self._weights_without())[0]

    def _weights_without(self) -> Callable[[slice], Float[np.ndarray, "r b"]]:
        """From a slice of items to rows of weights: row r has every item's weight in the bank without item r.

        Where r is among an item's K nearest, the next nearest takes its place.
        """
        neighbors = max(min(self.local_density or 1, len(self.items) - 2), 0)
        distance, position = nearest_others(self.items, neighbors + 1, self.metric)
        complete = 1 / self._mean(distance[:, :neighbors])
        with_gap = [1 / self._mean(np.delete(distance, column, axis=1)) for column in range(neighbors)]

        def weight_of_rows(rows: slice) -> Float[np.ndarray, "r b"]:
            weight = np.tile(complete, (rows.stop - rows.start, 1))
            for column, replaced in enumerate(with_gap):
                left_out = position[:, column]
                item = np.flatnonzero((left_out >= rows.start) & (left_out < rows.stop))
                weight[left_out[item] - rows.start, item] = replaced[item]
            return weight

        return weight_of_rows

    def _mean(self, distance: Float[np.ndarray, "b k"]) -> Float[np.ndarray, " b"]:
        if distance.shape[1] == 0:
            return np.full(len(distance), self.lonely)
        return np.asarray(np.maximum(distance.mean(axis=1), SMALLEST_LOCAL_DISTANCE))
