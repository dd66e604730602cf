"""What each dimension of an embedding adds to its anomaly score, where a back-end's score is such a sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Contributions:
    """An anomaly score as a sum: ``values.sum() + constant`` is the score.

    Attributes:
        values: of each dimension.  A squared distance is the sum of its dimensions' squares, and each has that share
            of the distance.  Where a back-end whitens, dimensions count together with those that they vary with, and a
            value may be below 0: there the clip is nearer than the other dimensions would have it.
        constant: what is no dimension's, such as a density that is subtracted.
    """

    values: Float[np.ndarray, " dim"]
    constant: float = 0.0

    def scaled(self, factor: float, offset: float = 0.0) -> Contributions:
        """Of the score times ``factor``, plus ``offset``."""
        return Contributions(self.values * factor, self.constant * factor + offset)


@runtime_checkable
class SummingScorer(Protocol):
    """A fitted back-end that can tell what a score is made of."""

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions | None:
        """Of one clip; ``None`` where the settings make the score no sum over dimensions.

        Raises:
            UserError: an embedding that cannot be scored.
        """
        ...


def of_length(squares: Float[np.ndarray, " dim"]) -> Float[np.ndarray, " dim"]:
    """Each dimension's share of a Euclidean distance, from what it adds to its square.

    >>> of_length(np.array([9.0, 16.0])).tolist()
    [1.8, 3.2]
    """
    length = float(np.sqrt(max(squares.sum(), 0.0)))
    return np.asarray(squares / length if length > 0 else np.zeros(len(squares)))


def before_whitening(
    whitening: Float[np.ndarray, "dim dim"] | None, difference: Float[np.ndarray, " dim"]
) -> Float[np.ndarray, " dim"]:
    """What each dimension before whitening adds to the squared length of a whitened difference.

    With ``y = x W`` the squared length of y is ``x . (W y)``, a sum over the dimensions of x.

    >>> before_whitening(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([2.0, 3.0])).tolist()
    [10.0, 3.0]
    """
    if whitening is None:
        return np.asarray(np.square(difference))
    return np.asarray(np.linalg.solve(whitening.T, difference) * (whitening @ difference))
