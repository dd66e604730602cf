"""Directions in which clips vary, and how much: found once for whatever whitens or leaves directions out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from asd_lightning.scoring.shared_fits import fitted_once

# Below this share of the largest, a variance is rounding error and its inverse decides the score.
SMALLEST_RELATIVE_VARIANCE = 1e-10


class PrincipalAxes(NamedTuple):
    """Eigenvalues and eigenvectors of a covariance.

    Attributes:
        variance: along each axis, ascending; of an axis without any, 0 as far as rounding lets it, also below.
        direction: of each axis, of length 1, a column.
    """

    variance: Float[np.ndarray, " dim"]
    direction: Float[np.ndarray, "dim dim"]

    def whitening(self, shrinkage: float) -> Float[np.ndarray, "dim dim"] | None:
        """W with ``W W^T`` the inverse of ``(1 - shrinkage) S + shrinkage tr(S) / dim I``; ``None`` if there is none.

        S is the covariance of the clips.  Shrunk, it has the same axes.
        """
        variance = (1 - shrinkage) * self.variance + shrinkage * self.variance.mean()
        if variance[0] <= SMALLEST_RELATIVE_VARIANCE * variance[-1]:
            return None
        return np.asarray(self.direction / np.sqrt(variance))


def principal_axes(centered: Float[np.ndarray, "n dim"]) -> PrincipalAxes:
    """Of clips whose mean is 0: their covariance is ``centered^T centered / n``.

    >>> axes = principal_axes(np.array([[-3.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    >>> axes.variance.tolist(), np.abs(axes.direction).tolist()
    ([0.5, 4.5], [[0.0, 1.0], [1.0, 0.0]])
    """
    return PrincipalAxes(*fitted_once("principal axes", centered, lambda: _found(centered)))


def _found(centered: Float[np.ndarray, "n dim"]) -> PrincipalAxes:
    count, dim = centered.shape
    if 2 * count >= dim:
        return PrincipalAxes(*np.linalg.eigh(centered.T @ centered / count))
    # Of a few clips, such as a machine's ten target clips, several times as fast.
    _, length, direction = np.linalg.svd(centered)
    variance = np.concatenate([np.square(length) / count, np.zeros(dim - count)])
    return PrincipalAxes(variance[::-1], direction[::-1].T)
