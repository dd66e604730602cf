"""Exponential moving average of the weights: what is tested and saved."""

from __future__ import annotations

from typing import Any, get_args

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.strategies import Strategy
from torch import Tensor

from asd_lightning.errors import UserError
from asd_lightning.training.schedule import SHORT_RUN, Unit

_WHOLE_WEIGHTS = ("SingleDeviceStrategy", "SingleDeviceXLAStrategy", "DDPStrategy")


class WeightEMA(WeightAveraging):
    """``average = d * average + (1 - d) * weights`` after each optimizer update; it never enters the loss.

    Floating-point buffers are averaged too, integer ones copied.  Runs of under 5,000 updates use
    ``min(d, (1 + n) / (10 + n))`` at update n: at a constant 0.9995 they would test the initialisation.

    Lightning's callback puts the average into the module when training ends, but keeps it: a test from a checkpoint on
    the same trainer would then load the raw weights and score those.  Here the average is dropped with the fit.

    Args:
        decay: d, per optimizer update.
        unit: ``update``, or ``micro_batch``, which reads d as per micro-batch: d^accumulate per update.
    """

    def __init__(self, decay: float = 0.9995, unit: str = "update") -> None:
        super().__init__(multi_avg_fn=self._average)
        if not 0 <= decay < 1:
            raise UserError(f"decay={decay}: a number from 0 to below 1 is needed")
        if unit not in get_args(Unit):
            raise UserError(f"callbacks.ema.unit={unit}: choose one of {', '.join(get_args(Unit))}")
        self._decay = decay
        self._unit = unit
        self._decay_per_update = decay
        self._short_run = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Copy the weights into the average, on the device that trains, and note the decay per update.

        Raises:
            UserError: the strategy splits the weights over devices.
        """
        _refuse_sharding(trainer.strategy)
        batches = trainer.accumulate_grad_batches if self._unit == "micro_batch" else 1
        self._decay_per_update = self._decay**batches
        self._short_run = trainer.max_steps < SHORT_RUN
        # The weights are not there yet: left alone, the average stays in the processor's memory, and each update brings
        # all weights back from the GPU.
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Drop the average after the fit, so that no later test puts it aside for raw weights."""
        if stage == "fit":
            self._average_model = None

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average into the module, with the same buffers on every rank."""
        super().on_train_end(trainer, pl_module)
        _agree_on_buffers(pl_module)

    @torch.no_grad()
    def _average(self, average: list[Tensor], current: list[Tensor], updates: Any) -> None:
        decay = self._decay_per_update
        if self._short_run:
            decay = min(decay, (1 + int(updates)) / (10 + int(updates)))
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - decay)
        else:
            torch._foreach_copy_(average, current)


def _refuse_sharding(strategy: Strategy) -> None:
    if type(strategy).__name__ not in _WHOLE_WEIGHTS:
        raise UserError(
            f"{type(strategy).__name__} splits the weights over devices, and an average of weights needs them whole; "
            "use trainer.strategy=ddp, or remove the average with ~callbacks.ema"
        )


def _agree_on_buffers(pl_module: pl.LightningModule) -> None:
    """Rank 0's batch-norm statistics for all: each rank has averaged its own, and would embed differently."""
    if dist.is_available() and dist.is_initialized():
        for buffer in pl_module.buffers():
            dist.broadcast(buffer, src=0)
