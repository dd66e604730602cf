"""Tokens of a clip to one vector: attentive statistics, mean, or the CLS token.

Every pooling maps (batch, tokens, token_dim) to (batch, out_dim); the projection to the embedding is the branch's own.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Floor of both variances: at zero, which a clip of equal tokens reaches, the gradient of the square root is unbounded.
MIN_VARIANCE = 1e-4
BOTTLENECK = 16


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
