"""A detector's embedder as a graph can hold it: the same weights, with front-ends and statistics in products."""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.embedder import ScoredEmbedder
from asd_lightning.encoders.statistics import TemporalStatistics, percentile
from asd_lightning.exporting.front_ends import as_products


class SortedStatistics(nn.Module):
    """`asd_lightning.encoders.statistics.TemporalStatistics`, sorted within the graph and not by numpy."""

    def __init__(self, exact: TemporalStatistics) -> None:
        super().__init__()
        self.statistics = exact.statistics

    def forward(self, features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch dim"]:
        """As of the original."""
        ordered = features.sort(1).values
        parts = [percentile(ordered, one) if isinstance(one, float) else one(features) for one in self.statistics]
        return torch.cat(parts, dim=1)


def exportable(model: ScoredEmbedder, samples: int) -> ScoredEmbedder:
    """The embedder for windows of ``samples``; ``model`` stays as it is, and shares its weights.

    Raises:
        UserError: a front-end that there are no products for.
    """
    tensors: list[Any] = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for branch in copied.embedder.branches.values():
        branch.front_end = as_products(branch.front_end, samples)  # type: ignore[arg-type]
        if isinstance(branch.encoder, TemporalStatistics):
            branch.encoder = SortedStatistics(branch.encoder)
    return copied.eval()
