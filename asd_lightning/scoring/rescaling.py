"""Distances measured against how far a bank item's own neighbours are: local density normalisation and VarMin.

One family.  With b_i the mean distance of bank item i to its K nearest other items,

    identity   min_i  d_i - alpha b_i             alpha fitted: VarMin; alpha 1, K 1: local density, difference
    log        min_i  log d_i - alpha log b_i     alpha fitted: VarMin on logarithms
    ratio      min_i  d_i / b_i^alpha             alpha 1: local density, ratio

and alpha 0 is the nearest neighbour.  Local density: Wilkinghoff et al., "Local Density-Based Anomaly Score
Normalization for Domain Generalization", arXiv 2509.10951.  VarMin: Matsumoto et al., DCASE Workshop 2025: alpha is the
slope of the bank items' own nearest distances on their neighbours' b, so what is left varies least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_at_least, require_choice
from asd_lightning.scoring.contributions import Contributions, of_length
from asd_lightning.scoring.heard import logger_of
from asd_lightning.scoring.search import SMALLEST_DISTANCE, Kin, Measure, View, Weighing, lowest

Form = Literal["identity", "log", "ratio"]
Alpha = float | int | Literal["fitted"]

Squares = Callable[[Float[np.ndarray, " _"]], Float[np.ndarray, " dim"]]

SMALLEST_VARIANCE = 1e-12
"""Neighbours' densities that vary no more than this say nothing about alpha."""

log = logger_of(__name__)


@dataclass(frozen=True)
class Rescaling:
    """Settings of the family.

    Attributes:
        form: ``identity``, ``log`` or ``ratio``.
        alpha: a number from 0, or ``fitted``.  A local density of *summed* distances, as in the difference form of the
            literature, is ``identity`` with alpha = K.
        neighbors: K.
        fewest: with fewer recordings than this, a fitted alpha is 0: it would follow chance.

    Raises:
        UserError: a setting outside its range.
    """

    form: Form = "identity"
    alpha: Alpha = 0.0
    neighbors: int = 4
    fewest: int = 20

    def __post_init__(self) -> None:
        require_choice("rescale", self.form, Form)
        require_at_least("neighbors", self.neighbors, 1)
        require_at_least("fewest", self.fewest, 1)
        number = isinstance(self.alpha, Real) and not isinstance(self.alpha, bool)
        if self.alpha != "fitted" and not (number and 0 <= float(self.alpha) < math.inf):
            raise UserError(f"alpha={self.alpha!r:.40}: must be a number from 0, or fitted")

    @property
    def is_plain(self) -> bool:
        """Whether densities play no part."""
        return self.alpha == 0

    def alpha_of(self, nearest: Float[np.ndarray, " b"], neighbors_density: Float[np.ndarray, " b"]) -> float:
        """Slope of the bank items' own nearest distances on their neighbours' b (on logarithms unless ``identity``).

        >>> Rescaling("identity", "fitted").alpha_of(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
        0.5
        """
        if self.form != "identity":
            nearest, neighbors_density = _logarithm(nearest), _logarithm(neighbors_density)
        # Exact sums: the order of the bank changes nothing.
        count = len(nearest)
        x = neighbors_density - math.fsum(neighbors_density) / count
        y = nearest - math.fsum(nearest) / count
        variance = math.fsum(x * x) / count
        return math.fsum(x * y) / count / variance if variance > SMALLEST_VARIANCE else 0.0

    def weighing(self, density: Float[np.ndarray, " b"], alpha: float) -> Weighing:
        """Of distances to items with those densities b."""
        one, none = np.ones(len(density)), np.zeros(len(density))
        if self.form == "identity":
            return Weighing(False, one, alpha * density)
        if self.form == "log":
            return Weighing(True, one, alpha * _logarithm(density))
        return Weighing(False, np.exp(-alpha * _logarithm(density)), none)


class DensityBank:
    """The items of one view with their densities b and alpha; ``score`` is the lowest rescaled distance.

    Args:
        view: of the items.
        measure: of distances.
        rescaling: of distances.
        density: b of each item.
        alpha: fitted or given.
    """

    def __init__(
        self, view: View, measure: Measure, rescaling: Rescaling, density: Float[np.ndarray, " b"], alpha: float
    ) -> None:
        self.view = view
        self.measure: Measure = measure
        self.density = density
        self.alpha = alpha
        self._weighing = rescaling.weighing(density, alpha)

    @classmethod
    def fit(cls, view: View, measure: Measure, rescaling: Rescaling, recording: Int[np.ndarray, " b"]) -> DensityBank:
        """Find b, over items of other recordings alone, and alpha."""
        recordings = len(np.unique(recording))
        if rescaling.is_plain or recordings < 2:
            return cls(view, measure, rescaling, np.ones(len(view.vectors)), 0.0)
        kin = Kin(recording, recording[:, None])
        k = min(rescaling.neighbors, len(recording) - 1)
        distance = lowest(view, view, k, measure, kin=kin).value
        known = np.isfinite(distance)
        density = np.where(known, distance, 0).sum(axis=1) / known.sum(axis=1)
        density = np.maximum(density, SMALLEST_DISTANCE)
        if rescaling.alpha != "fitted":
            return cls(view, measure, rescaling, density, float(rescaling.alpha))
        if recordings < rescaling.fewest:
            return cls(view, measure, rescaling, density, 0.0)
        own = lowest(view, view, 1, measure, kin=kin, rank=density)
        alpha = rescaling.alpha_of(own.value[:, 0], density[own.item[:, 0]])
        return cls(view, measure, rescaling, density, alpha)

    def score(self, queries: View, kin: Kin | None = None) -> Float[np.ndarray, " m"]:
        """Lowest rescaled distance of each query, over the items that are no kin; inf where all are."""
        return lowest(queries, self.view, 1, self.measure, self._weighing, kin).value[:, 0]

    def contributions(self, query: View, squares: Squares) -> Contributions | None:
        """What each dimension adds to the score of one query; ``None`` of a logarithm, which is no sum.

        Args:
            query: of one row.
            squares: from a difference to what each dimension adds to its squared length.
        """
        if self._weighing.log:
            return None
        item = int(lowest(query, self.view, 1, self.measure, self._weighing).item[0, 0])
        own = squares(query.vectors[0] - self.view.vectors[item])
        missing = float(query.missing[0] + self.view.missing[item])
        distance = Contributions(own / 4, missing / 4) if self.measure == "angle" else Contributions(of_length(own))
        return distance.scaled(float(self._weighing.scale[item]), -float(self._weighing.offset[item]))


def say_of_bank(rescaling: Rescaling, recordings: int, items: int) -> None:
    """Warn once of what a small bank does to the settings."""
    if rescaling.is_plain:
        return
    if rescaling.neighbors >= items:
        log.warning("neighbors=%d: a bank of %d clips has %d others", rescaling.neighbors, items, items - 1)
    if rescaling.alpha == "fitted" and recordings < rescaling.fewest:
        log.warning(
            "alpha=fitted: %d training recordings, and it is fitted to %d or more: it is 0",
            recordings,
            rescaling.fewest,
        )


def _logarithm(distance: Float[np.ndarray, " b"]) -> Float[np.ndarray, " b"]:
    return np.asarray(np.log(np.maximum(distance, SMALLEST_DISTANCE)))
