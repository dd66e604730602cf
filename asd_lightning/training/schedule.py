"""Learning rate: a linear warm-up, then the inverse square root of the update's number, a constant, or a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable
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
    counted, warmup = _counted(warmup, unit, accumulate, updates)
    return _after_warmup(optimizer, counted, warmup, lambda step: math.sqrt(warmup / step))


def constant(
    optimizer: Optimizer,
    warmup: int = 960,
    unit: Unit = "update",
    *,
    accumulate: int = 8,
    updates: int | None = None,
) -> LambdaLR:
    """Factor n / W on the optimizer's learning rate up to n = W, then 1.  Arguments and errors as of `inverse_sqrt`.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = constant(optimizer, warmup=4)
    >>> [schedule.lr_lambdas[0](n) for n in (0, 2, 4, 400)]
    [0.0, 0.5, 1.0, 1.0]
    """
    counted, warmup = _counted(warmup, unit, accumulate, updates)
    return _after_warmup(optimizer, counted, warmup, lambda _: 1.0)


def cosine(
    optimizer: Optimizer,
    warmup: int = 960,
    unit: Unit = "update",
    *,
    accumulate: int = 8,
    updates: int | None = None,
) -> LambdaLR:
    """Factor n / W on the optimizer's learning rate up to n = W, then half a cosine down to 0 at the run's end.

    Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5 without restarts.  Arguments and errors as of `inverse_sqrt`;
    here the length of the run has to be known.

    Raises:
        UserError: the run is open.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    >>> schedule = cosine(optimizer, warmup=960, updates=10_000)
    >>> [round(schedule.lr_lambdas[0](n), 3) for n in (0, 480, 960, 5480, 10_000)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if updates is None or updates < 0:
        raise UserError("a cosine ends with the run: give its length, trainer.max_steps, or choose another schedule")
    counted, warmup = _counted(warmup, unit, accumulate, updates)
    falling = max(1, updates * counted - warmup)
    return _after_warmup(
        optimizer, counted, warmup, lambda step: (1 + math.cos(math.pi * min(1.0, (step - warmup) / falling))) / 2
    )


def _counted(warmup: int, unit: Unit, accumulate: int, updates: int | None) -> tuple[int, int]:
    """Steps of an update in ``unit``, and the warm-up of a run of this length."""
    if unit not in get_args(Unit):
        raise UserError(f"unit={unit!r}: choose one of {', '.join(get_args(Unit))}")
    if warmup < 1 or accumulate < 1:
        raise UserError(f"warmup={warmup}, accumulate={accumulate}: both must be at least 1")
    steps_per_update = accumulate if unit == "micro_batch" else 1
    if updates is not None and updates > 0:
        warmup = warmup_for(updates * steps_per_update, warmup)
    return steps_per_update, warmup


def _after_warmup(optimizer: Optimizer, steps_per_update: int, warmup: int, then: Callable[[int], float]) -> LambdaLR:
    def factor(update: int) -> float:
        step = update * steps_per_update
        return step / warmup if step < warmup else then(step)

    return LambdaLR(optimizer, factor)


def warmup_for(steps: int, warmup: int = 960) -> int:
    """``warmup``; for a run of under 5,000 steps a tenth of them, at least 1."""
    return warmup if steps >= SHORT_RUN else max(1, round(0.1 * steps))
