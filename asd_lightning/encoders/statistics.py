"""The training-free encoder: mean and standard deviation of each band over time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class TemporalStatistics(nn.Module):
    """Mean and (population) standard deviation over time of every band; nothing to train.

    >>> TemporalStatistics(num_bands=2)(torch.tensor([[[0.0, 1.0], [2.0, 1.0]]]))
    tensor([[1., 1., 1., 0.]])
    """

    def __init__(self, num_bands: int = 128) -> None:
        super().__init__()
        self.out_dim = 2 * num_bands

    def forward(self, features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch dim"]:
        """The means of all bands, then their standard deviations."""
        return torch.cat([features.mean(1), features.std(1, correction=0)], dim=1)
