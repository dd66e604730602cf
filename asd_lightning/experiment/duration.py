"""How long a training will take, told while there is time to change one's mind."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from asd_lightning.data.batch import Batch

logger = logging.getLogger(__name__)

_MEASURED_SECONDS = 30.0
_DAYS_FROM_HOURS = 48.0


class LongTraining(pl.Callback):
    """Says once, early in a training, that it will take long.

    What is measured are the micro-batches after the first, which sets up much that the others find, over half a minute
    or one micro-batch, whichever is longer.

    Args:
        hours: that are not worth a word.
        clock: seconds from any start.
    """

    def __init__(self, hours: float = 12.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._hours = hours
        self._clock = clock
        self._start: float | None = None
        self._batches = 0
        self._measuring = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to measure, once for each training."""
        self._start, self._batches = None, 0
        self._measuring = trainer.is_global_zero and trainer.max_steps > 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count a micro-batch; when enough are measured, say how long the rest will take where that is long."""
        if not self._measuring:
            return
        if self._start is None:
            self._start = self._clock()
            return
        self._batches += 1
        measured = self._clock() - self._start
        if measured < _MEASURED_SECONDS:
            return
        self._measuring = False
        per_update = measured / self._batches * trainer.accumulate_grad_batches
        left = trainer.max_steps - trainer.global_step
        hours = left * per_update / 3600
        if hours > self._hours:
            days = f" ({hours / 24:.1f} days)" if hours > _DAYS_FROM_HOURS else ""
            logger.warning(
                "this training will take about %.0f hours%s on %s: %d updates of %.3g s are left; fewer are "
                "trainer.max_steps=N, and Ctrl-C keeps what is trained so far",
                *(hours, days, trainer.strategy.root_device, left, per_update),
            )
