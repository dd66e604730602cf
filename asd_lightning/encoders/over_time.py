"""One vector of many steps: what the poolings of a grid do along time.

Each maps (batch, T, groups, D) to (batch, groups, D), every group by itself: the bands of frequency, or a single group
where they are merged.  Nothing is trained.  x_t is the vector of step t, all operations on vectors are by component.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from asd_lightning.errors import UserError

# Where all steps are this near to their mean, none deviates more than another.
_NO_DEVIATION = 1e-8
# Beyond it the weight of a usual step is lost in single precision.
_LARGEST_EXPONENT = 100.0


@dataclass(frozen=True)
class Mean:
    """Mean over the steps."""

    def __call__(self, x: Float[Tensor, "batch time groups dim"]) -> Float[Tensor, "batch groups dim"]:
        """(batch, T, groups, D) to (batch, groups, D)."""
        return x.mean(1)


@dataclass(frozen=True)
class Max:
    """Largest value of each component."""

    def __call__(self, x: Float[Tensor, "batch time groups dim"]) -> Float[Tensor, "batch groups dim"]:
        """(batch, T, groups, D) to (batch, groups, D)."""
        return x.amax(1)


@dataclass(frozen=True)
class Deviation:
    """Standard deviation (of the population) of each component."""

    def __call__(self, x: Float[Tensor, "batch time groups dim"]) -> Float[Tensor, "batch groups dim"]:
        """(batch, T, groups, D) to (batch, groups, D)."""
        # The floor changes no value, and keeps the gradient of the root finite where all steps are equal.
        return x.var(1, correction=0).clamp(min=torch.finfo(x.dtype).tiny).sqrt()


@dataclass(frozen=True)
class RankWeighted:
    """Global weighted rank pooling (Kolesnikov and Lampert, "Seed, expand and constrain", ECCV 2016).

    Each component is sorted downwards; its k-th largest value has the weight ``r^(k - 1)``, the weights' sum is 1.

    Args:
        r: from 0, the maximum, to 1, the mean.

    >>> RankWeighted(0.5)(torch.tensor([1.0, 1.0, 3.0, 7.0]).view(1, 4, 1, 1)).squeeze()
    tensor(4.7333)
    """

    r: float = 0.7

    def __post_init__(self) -> None:
        _require("r", self.r, 0.0, 1.0)

    def __call__(self, x: Float[Tensor, "batch time groups dim"]) -> Float[Tensor, "batch groups dim"]:
        """(batch, T, groups, D) to (batch, groups, D)."""
        steps = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        weights = self.r**steps
        return ((weights / weights.sum())[:, None, None] * x.sort(1, descending=True).values).sum(1)


@dataclass(frozen=True)
class PowerMean:
    """Generalised mean, GeM: ``(mean_t max(x_t, 0)^p)^(1/p)`` (Radenovic et al., TPAMI 2019, eq. 3).

    Args:
        power: p, above 0: 1 is the mean of what is positive; the larger, the nearer to the maximum.

    >>> PowerMean(3.0)(torch.tensor([1.0, 1.0, 3.0, 7.0]).view(1, 4, 1, 1)).squeeze()
    tensor(4.5307)
    """

    power: float = 3.0

    def __post_init__(self) -> None:
        _require("power", self.power, math.ulp(0.0), _LARGEST_EXPONENT)

    def __call__(self, x: Float[Tensor, "batch time groups dim"]) -> Float[Tensor, "batch groups dim"]:
        """(batch, T, groups, D) to (batch, groups, D)."""
        return _power_mean(x, torch.full_like(x[..., :1], 1 / x.shape[1]), self.power)


@dataclass(frozen=True)
class DeviationWeighted:
    """Relative deviation pooling, RDP (arXiv 2603.04605): steps weigh the more, the farther they are from the mean.

    With ``d_t`` the Euclidean distance of x_t to the mean over time and ``r_t = d_t / max d``, the weights are
    ``w_t = (1 + r_t)^gamma``, divided by their sum; a group's components share them.  The result is ``sum_t w_t x_t``
    or, with a power, ``(sum_t w_t max(x_t, 0)^p)^(1/p)``, whose weights are those of the x that nothing is cut from.

    Args:
        gamma: from 0, the mean.  The largest weight is at most ``2^gamma`` times the smallest.
        power: p of the generalised mean, or ``None`` for the plain one.

    >>> x = torch.tensor([[1.0, 0.0], [1.0, 2.0], [3.0, -1.0], [7.0, 3.0]]).view(1, 4, 1, 2)
    >>> DeviationWeighted(4.0)(x).squeeze(), DeviationWeighted(4.0, power=3.0)(x).squeeze()
    (tensor([4.4339, 1.7612]), tensor([5.6886, 2.4926]))
    """

    gamma: float = 4.0
    power: float | None = None

    def __post_init__(self) -> None:
        _require("gamma", self.gamma, 0.0, _LARGEST_EXPONENT)
        if self.power is not None:
            _require("power", self.power, math.ulp(0.0), _LARGEST_EXPONENT)

    def __call__(self, x: Float[Tensor, "batch time groups dim"]) -> Float[Tensor, "batch groups dim"]:
        """(batch, T, groups, D) to (batch, groups, D)."""
        weights = self.weights(x)
        return (weights * x).sum(1) if self.power is None else _power_mean(x, weights, self.power)

    def weights(self, x: Float[Tensor, "batch time groups dim"]) -> Float[Tensor, "batch time groups 1"]:
        """The weight of each step in each group; over the steps they sum to 1."""
        distance = torch.linalg.vector_norm(x - x.mean(1, keepdim=True), dim=3, keepdim=True)
        largest = distance.amax(1, keepdim=True)
        deviates = largest > _NO_DEVIATION
        relative = torch.where(deviates, distance / largest.where(deviates, torch.ones_like(largest)), 0.0)
        return (self.gamma * relative.log1p()).softmax(1)


def _power_mean(
    x: Float[Tensor, "batch time groups dim"], weights: Float[Tensor, "batch time groups 1"], power: float
) -> Float[Tensor, "batch groups dim"]:
    """In units of each component's maximum: a power of the values themselves would soon overflow."""
    positive = x.clamp(min=0.0)
    largest = positive.amax(1)
    # Where nothing is positive the result is 0, and 1 stands in for what would be divided by 0.
    none = largest == 0
    shares = positive / largest.masked_fill(none, 1.0)[:, None]
    mean = (weights * shares**power).sum(1).masked_fill(none, 1.0)
    return largest * mean ** (1 / power)


def _require(name: str, value: float, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        kind = f"from {least:g}" if least in (0.0, 1.0) else "above 0"
        raise UserError(f"{name}={value!r:.40}: a number {kind}, at most {most:g}, is needed")
