"""Learning rate: linear warm-up, then the inverse square root of the update's number."""

from __future__ import annotations

import math
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from asd_lightning.errors import UserError

Unit = Literal["update", "micro_batch"]

SHORT_RUN = 5_000


def inverse_sqrt(
    optimizer: Optimizer,
    warmup: int = 960,
    unit: Unit = "update",
    *,
    accumulate: int = 8,
    updates: int | None = None,
) -> LambdaLR:
    """Factor n / W on the optimizer's learning rate up to n = W, then sqrt(W / n).  The first update has rate 0.

    Vaswani et al., "Attention Is All You Need", NeurIPS 2017, equation 3, scaled to 1 at its peak.  Step it once per
    optimizer update.

    Args:
        optimizer: its learning rate is the peak.
        warmup: W, counted in ``unit``.
        unit: ``update`` counts optimizer updates; ``micro_batch`` counts batches, ``accumulate`` to an update, so that
            the default W of 960 is reached after 120 updates.
        accumulate: batches per optimizer update; of no effect where ``unit`` is ``update``.
        updates: length of the run, or ``None`` or -1 where it is open: a run shorter than 5,000 in ``unit`` warms up
            over a tenth of itself.

    Raises:
        UserError: an unknown unit, or a number below 1.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = inverse_sqrt(optimizer, warmup=4)
    >>> for _ in range(16):
    ...     optimizer.step()
    ...     schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """
    if unit not in get_args(Unit):
        raise UserError(f"unit={unit!r}: choose one of {', '.join(get_args(Unit))}")
    if warmup < 1 or accumulate < 1:
        raise UserError(f"warmup={warmup}, accumulate={accumulate}: both must be at least 1")
    steps_per_update = accumulate if unit == "micro_batch" else 1
    if updates is not None and updates > 0:
        warmup = warmup_for(updates * steps_per_update, warmup)

    def factor(update: int) -> float:
        step = update * steps_per_update
        return step / warmup if step < warmup else math.sqrt(warmup / step)

    return LambdaLR(optimizer, factor)


def warmup_for(steps: int, warmup: int = 960) -> int:
    """``warmup``; for a run of under 5,000 steps a tenth of them, at least 1."""
    return warmup if steps >= SHORT_RUN else max(1, round(0.1 * steps))
