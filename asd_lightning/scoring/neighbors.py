"""Exact nearest neighbours in a bank of embeddings, a block of queries at a time.

Written here because a matrix product chooses neighbours fast but gives distances whose last digits depend on how many
queries share the call (and, near 0, many more than the last): the chosen few are measured again by differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from asd_lightning.scoring.shared_fits import fitted_once

Metric = Literal["cosine", "euclidean"]

BLOCK = 512


def nearest(
    queries: Float[np.ndarray, "m dim"],
    bank: Float[np.ndarray, "b dim"],
    k: int,
    metric: Metric,
    weight: Float[np.ndarray, " b"] | None = None,
) -> Float[np.ndarray, "m k"]:
    """Ascending distances to the ``min(k, b)`` nearest bank items.

    Args:
        queries: of length 1 each where the metric is cosine, and so the bank.
        bank: may be empty.
        k: number of neighbours.
        metric: ``cosine`` is 1 - cosine similarity, ``euclidean`` the distance itself.
        weight: factor on the distance to each item, before the nearest are chosen.
    """
    weight_of_rows = None if weight is None else lambda rows: weight[None, :]
    return _search(queries, bank, min(k, len(bank)), metric, weight_of_rows, exclude_itself=False)[0]


def nearest_others(
    bank: Float[np.ndarray, "b dim"],
    k: int,
    metric: Metric,
    weight_of_rows: Callable[[slice], Float[np.ndarray, "r b"]] | None = None,
) -> tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"]]:
    """Distances and positions of the ``min(k, b - 1)`` nearest *other* items of each bank item.

    ``weight_of_rows`` gives the factors on the distances from a slice of the items to all.
    """

    def found() -> tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"]]:
        return _search(bank, bank, max(min(k, len(bank) - 1), 0), metric, weight_of_rows, exclude_itself=True)

    if weight_of_rows is not None:
        return found()
    distance, position = fitted_once(f"{k} nearest others, {metric}", bank, found)
    return distance, position


def _search(
    queries: Float[np.ndarray, "m dim"],
    bank: Float[np.ndarray, "b dim"],
    k: int,
    metric: Metric,
    weight_of_rows: Callable[[slice], Float[np.ndarray, "r b"]] | None,
    exclude_itself: bool,
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    distance = np.empty((len(queries), k))
    position = np.empty((len(queries), k), dtype=np.intp)
    if k == 0:
        return distance, position
    center = bank.mean(axis=0)
    centered = bank - center
    squared_length = np.square(centered).sum(axis=1)
    for start in range(0, len(queries), BLOCK):
        rows = slice(start, min(start + BLOCK, len(queries)))
        weight = None if weight_of_rows is None else weight_of_rows(rows)
        block = queries[rows] - center
        squared = np.square(block).sum(axis=1)[:, None] + squared_length - 2 * block @ centered.T
        rough = _distance(np.maximum(squared, 0), metric)
        if weight is not None:
            rough *= weight
        if exclude_itself:
            np.fill_diagonal(rough[:, start:], np.inf)
        chosen = np.argmin(rough, axis=1)[:, None] if k == 1 else np.argpartition(rough, k - 1, axis=1)[:, :k]
        exact = np.empty(chosen.shape)
        for column, item in enumerate(chosen.T):
            exact[:, column] = _distance(np.square(queries[rows] - bank[item]).sum(axis=1), metric)
        if weight is not None:
            exact *= np.take_along_axis(np.broadcast_to(weight, rough.shape), chosen, axis=1)
        order = np.argsort(exact, axis=1, kind="stable")
        distance[rows] = np.take_along_axis(exact, order, axis=1)
        position[rows] = np.take_along_axis(chosen, order, axis=1)
    return distance, position


def _distance(squared: Float[np.ndarray, "*shape"], metric: Metric) -> Float[np.ndarray, "*shape"]:
    """From the squared Euclidean distance; between rows of length 1, half of it is 1 - cosine similarity."""
    return squared / 2 if metric == "cosine" else np.sqrt(squared)
