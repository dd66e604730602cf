"""Exact evaluation by several processes: every clip counts once, whichever process embedded it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.distributed as dist
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor


def gather_by_clip_id(
    clip_ids: Sequence[Tensor], embeddings: Sequence[Tensor]
) -> tuple[Int64[ndarray, " clips"], Float32[ndarray, "clips dim"]]:
    """Join the batches of all ranks, sorted by ``clip_id``; a clip that came twice is kept once.

    Args:
        clip_ids: one (batch,) tensor for each batch this rank has seen.
        embeddings: likewise (batch, dim).
    """
    mine = [(ids.cpu().numpy(), z.float().cpu().numpy()) for ids, z in zip(clip_ids, embeddings, strict=True)]
    everyone: list[Any] = [mine]
    if dist.is_available() and dist.is_initialized():
        everyone = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, mine)
    batches = [batch for rank in everyone for batch in rank]
    if not batches:
        return np.empty(0, np.int64), np.empty((0, 0), np.float32)
    ids, first = np.unique(np.concatenate([ids for ids, _ in batches]), return_index=True)
    return ids, np.concatenate([z for _, z in batches])[first]
