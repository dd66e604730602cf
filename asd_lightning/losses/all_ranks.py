"""What every rank has, on every rank."""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


def of_all_ranks(mine: Shaped[Tensor, " batch"]) -> Shaped[Tensor, " all"]:
    """The values of all ranks, in their order, without gradients; of one process its own.

    Every rank must hold the same number of them.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return mine
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine.contiguous())
    return torch.cat(gathered)
