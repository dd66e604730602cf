"""Tokens of a clip to one vector: attentive statistics, mean, the CLS token, or a pooling over time.

Every pooling maps (batch, tokens, token_dim) to (batch, out_dim); the projection to the embedding is the branch's own.
A pooling is made from ``token_dim``, one with ``needs_grid`` from the encoder's `TokenGrid`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.encoders.grid import TokenGrid
from asd_lightning.errors import UserError

Bands = Literal["keep", "merge"]
MergeOver = Literal["tokens", "frames", "joint"]
Spikes = Literal["keep", "signed", "magnitude"]

# Floor of both variances: at zero, which a clip of equal tokens reaches, the gradient of the square root is unbounded.
MIN_VARIANCE = 1e-4
BOTTLENECK = 16

# Of EAT's tokens: smaller components are noise, larger ones spikes (arXiv 2603.04605).
_NOISE, _SPIKE = 0.1, 0.5


class AttentiveStatistics(nn.Module):
    """Attentive statistics pooling with global context (Okabe et al. 2018, eq. 4-6; Desplanques et al. 2020, eq. 3-5).

    Attention has one weight for each token and channel, computed from the token and the clip's mean and standard
    deviation: Conv1d(3C, C / 16) - ReLU - BatchNorm - Tanh - Conv1d(C / 16, C) - softmax over tokens. The output is the
    weighted mean and the weighted standard deviation, batch-normalised.  Variances are population variances.

    Args:
        token_dim: C, at least 16.

    Raises:
        ValueError: ``token_dim`` below 16.
    """

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        if token_dim < BOTTLENECK:
            raise ValueError(
                f"token_dim is {token_dim}; attentive statistics pooling needs at least {BOTTLENECK} channels"
            )
        hidden = token_dim // BOTTLENECK
        self.out_dim = 2 * token_dim
        self.attention = nn.Sequential(
            nn.Conv1d(3 * token_dim, hidden, kernel_size=1),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Tanh(),
            nn.Conv1d(hidden, token_dim, kernel_size=1),
        )
        self.norm = nn.BatchNorm1d(self.out_dim)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch out_dim"]:
        """Pool (batch, tokens, C) to (batch, 2C): weighted mean, then weighted standard deviation."""
        x = tokens.transpose(1, 2)
        mean = x.mean(dim=2, keepdim=True).expand_as(x)
        std = x.var(dim=2, correction=0, keepdim=True).clamp(min=MIN_VARIANCE).sqrt().expand_as(x)
        weight = self.attention(torch.cat([x, mean, std], dim=1)).softmax(dim=2)
        weighted_mean = (weight * x).sum(dim=2)
        # Centred form: the difference of E[x^2] and E[x]^2 loses its digits where the mean is large.
        variance = (weight * (x - weighted_mean.unsqueeze(2)).square()).sum(dim=2)
        statistics = torch.cat([weighted_mean, variance.clamp(min=MIN_VARIANCE).sqrt()], dim=1)
        pooled: Tensor = self.norm(statistics)
        return pooled


class MeanPooling(nn.Module):
    """Plain mean over tokens.

    Args:
        token_dim: channels of a token.
        skip_first: leave out token 0, for encoders that put a CLS token there.
    """

    def __init__(self, token_dim: int, skip_first: bool = False) -> None:
        super().__init__()
        self.out_dim = token_dim
        self.skip_first = skip_first

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch dim"]:
        """Pool (batch, tokens, C) to (batch, C)."""
        return tokens[:, int(self.skip_first) :].mean(dim=1)


class ClsPooling(nn.Module):
    """Token 0, the CLS token of EAT; an encoder without one (BEATs) needs another pooling."""

    def __init__(self, token_dim: int) -> None:
        super().__init__()
        self.out_dim = token_dim

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch dim"]:
        """Pool (batch, tokens, C) to (batch, C)."""
        return tokens[:, 0]


class GridPooling(nn.Module):
    """A pooling over time, of each band of frequency or of all together; nothing to train.

    Kept bands stand one behind the other, each with its D numbers: F D in all.  Merged ones are pooled over

    - ``tokens``: every band of every step, T F vectors of D numbers, to D numbers;
    - ``frames``: the mean over the bands of every step, T vectors of D numbers, to D numbers;
    - ``joint``: every step as a whole, T vectors of F D numbers, to F D numbers in the order of kept bands.

    For the mean, the first two are the same, and so are the third and kept bands.

    Args:
        grid: the layout of the encoder's tokens.
        over_time: (batch, T, groups, D) -> (batch, groups, D): one of `asd_lightning.encoders.over_time`.
        bands: ``keep`` them apart or ``merge`` them.
        merge_over: what merged bands are pooled over.
        spikes: ``keep``, or suppress those of EAT's tokens before pooling: components below 0.1 become 0, those above
            0.5 their hyperbolic tangent.  ``signed`` takes all negative ones for small, ``magnitude`` only those above
            -0.1: the paper, arXiv 2603.04605, may be read both ways.

    Raises:
        UserError: an unknown choice.

    >>> from asd_lightning.encoders.over_time import DeviationWeighted, Mean
    >>> tokens = torch.tensor([[[1.0], [5.0], [3.0], [9.0]]])  # two steps of two bands
    >>> GridPooling(TokenGrid(bands=2, channels=1), Mean())(tokens)
    tensor([[2., 7.]])
    >>> GridPooling(TokenGrid(bands=2, channels=1), DeviationWeighted(gamma=1.0), bands="merge")(tokens)
    tensor([[4.7143]])
    """

    needs_grid = True

    def __init__(
        self,
        grid: TokenGrid,
        over_time: Callable[[Tensor], Tensor],
        bands: Bands = "keep",
        merge_over: MergeOver = "tokens",
        spikes: Spikes = "keep",
    ) -> None:
        super().__init__()
        choices: tuple[tuple[str, str, Any], ...] = (
            ("bands", bands, Bands),
            ("merge_over", merge_over, MergeOver),
            ("spikes", spikes, Spikes),
        )
        for name, value, kinds in choices:
            if value not in get_args(kinds):
                raise UserError(f"{name}={value!r:.40}: choose one of {', '.join(get_args(kinds))}")
        self.grid = grid
        self.over_time = over_time
        self.bands, self.merge_over, self.spikes = bands, merge_over, spikes
        one_band = bands == "merge" and merge_over != "joint"
        self.out_dim = grid.channels * (1 if one_band else grid.bands)

    def forward(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch out_dim"]:
        """Pool (batch, tokens, token_dim) to (batch, out_dim), in single precision at least."""
        cells = self.grid(tokens if tokens.dtype == torch.float64 else tokens.float())
        return self.over_time(self._grouped(_without_spikes(cells, self.spikes))).flatten(1)

    def _grouped(self, cells: Float[Tensor, "batch time bands dim"]) -> Float[Tensor, "batch _ _ _"]:
        """(batch, vectors, groups, length): over the vectors of each group is pooled."""
        if self.bands == "keep":
            return cells
        if self.merge_over == "tokens":
            return cells.flatten(1, 2).unsqueeze(2)
        if self.merge_over == "frames":
            return cells.mean(2, keepdim=True)
        return cells.flatten(2).unsqueeze(2)


def _without_spikes(x: Float[Tensor, "*shape"], rule: Spikes) -> Float[Tensor, "*shape"]:
    if rule == "keep":
        return x
    size = x if rule == "signed" else x.abs()
    return torch.where(x > _SPIKE, x.tanh(), x).masked_fill(size < _NOISE, 0.0)
