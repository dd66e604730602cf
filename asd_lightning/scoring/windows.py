"""From the windows of a recording to its score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

WindowReduction = Literal["max", "mean"]


def numbered(names: Sequence[str]) -> Int[ndarray, " n"]:
    """Each name's number, in the order of their first appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.intp)


def reduced(
    files: Sequence[str], values: Float[ndarray, " n"], reduction: WindowReduction
) -> tuple[list[str], Float[ndarray, " files"]]:
    """The score of each recording from those of its windows.

    Args:
        files: the recording of each window.
        values: the windows' scores.
        reduction: the largest of them, or their mean.

    Returns:
        Files in the order of their first appearance, and the score of each.
    """
    number = numbered(files)
    count = int(number.max(initial=-1)) + 1
    if reduction == "mean":
        scores = np.bincount(number, values, count) / np.maximum(np.bincount(number, minlength=count), 1)
    else:
        scores = np.full(count, -np.inf)
        np.maximum.at(scores, number, values)
    return list(dict.fromkeys(files)), scores
