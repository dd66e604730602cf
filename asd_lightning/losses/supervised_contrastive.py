"""Supervised contrastive loss of one view per clip, over one rank's batch or the joint batch of all ranks.

Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2 with its ``temperature / base_temperature``
factor.  Written here for the gathering across ranks and because the mean counts anchors without a positive.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from asd_lightning.losses.all_ranks import of_all_ranks


class ContrastiveTerms(NamedTuple):
    """Loss, and how many of this rank's clips had another clip of their class to be pulled to."""

    loss: Float[Tensor, ""]
    anchors_with_positive: Int[Tensor, ""]


def supervised_contrastive(
    embedding: Float[Tensor, "batch dim"],
    label: Int[Tensor, " batch"],
    temperature: float = 0.04,
    base_temperature: float = 0.07,
    gather: bool = False,
) -> ContrastiveTerms:
    """Mean over anchors i of ``-(t / t0) / |P_i| sum_p [f_i.f_p / t - log sum_a exp(f_i.f_a / t)]``, p in P_i, a != i.

    P_i are the other clips with the label of i.  An anchor without any counts 0 in the mean.  Computed in float32 or
    better, on embeddings normalised to length 1 here.

    Args:
        embedding: any length above 0.
        label: labels before mixup.
        temperature: t.
        base_temperature: t0.
        gather: with a process group, let the clips of all ranks be positives and negatives.  The anchors stay this
            rank's, and the gradients that other ranks' anchors send here are added, so that the average of the
            gradients over ranks is the gradient of the joint batch.  Every rank must hold the same number of clips.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        anchor = F.normalize(embedding.to(torch.promote_types(embedding.dtype, torch.float32)))
        other, other_label, offset = anchor, label, 0
        if gather and dist.is_initialized() and dist.get_world_size() > 1:
            other = torch.cat(differentiable.all_gather(anchor))  # type: ignore[no-untyped-call]
            other_label = of_all_ranks(label)
            offset = dist.get_rank() * len(label)
        similarity = anchor @ other.T / temperature
        itself = torch.zeros_like(similarity, dtype=torch.bool)
        itself.diagonal(offset).fill_(True)
        # The lowest number, not minus infinity: a batch of a single clip then gives 0 and not NaN.
        log_normalizer = similarity.masked_fill(itself, torch.finfo(similarity.dtype).min).logsumexp(1, keepdim=True)
        positive = (label[:, None] == other_label[None, :]) & ~itself
        count = positive.sum(1)
        log_likelihood = torch.where(positive, similarity - log_normalizer, 0.0).sum(1) / count.clamp(min=1)
        return ContrastiveTerms(-(temperature / base_temperature) * log_likelihood.mean(), (count > 0).sum())
