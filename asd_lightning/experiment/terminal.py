"""What a run shows in the terminal while it goes on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import RichProgressBar
from rich.console import Console
from rich.progress import ProgressColumn, Task
from rich.text import Text
from torch import nn

from asd_lightning.training.module import AnomalousSoundModule, trainable_parameters

_PACKAGE = __name__.partition(".")[0]


class Pace(ProgressColumn):
    """Time taken and time left, and batches a second since the beginning; seconds for each where that is less than one.

    Lightning counts "it/s" over the last redraws, which is 0.00 where there were few.
    """

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """The words for a task."""
        taken = task.finished_time if task.finished else task.elapsed
        words = [_clock(taken or 0.0)]
        if not task.finished and task.time_remaining is not None:
            words.append(f"{_clock(float(task.time_remaining))} left")
        if taken and task.completed:
            words.append(pace(task.completed / taken))
        return Text(" • ".join(words), style="dim")


def pace(batches_a_second: float) -> str:
    """How fast batches go by.

    >>> pace(217.45), pace(3.26), pace(0.25)
    ('217 batches/s', '3.3 batches/s', '4.0 s/batch')
    """
    if batches_a_second < 1:
        return f"{1 / batches_a_second:.1f} s/batch"
    return f"{batches_a_second:.{0 if batches_a_second >= 10 else 1}f} batches/s"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))


class ProgressBar(RichProgressBar):
    """One line that fits 80 columns, and that is left when its work is done: what is printed then comes below it.

    Lightning's bar is live until the trainer is torn down, and is drawn once more after the results.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=10, leave=True)

    @property
    def train_description(self) -> str:
        """What stands before the bar of a training, which counts batches, of which an update may take several."""
        return "Batches"

    def configure_columns(self, trainer: pl.Trainer) -> list[ProgressColumn]:
        """Lightning's columns, with times and speed that say what they are in place of its last two."""
        return [*super().configure_columns(trainer)[:-2], Pace()]

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What Lightning shows, less the logger's version number."""
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in metrics.items() if name != "v_num"}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw every tenth batch and the last: Lightning reads the loss for each, and the GPU waits for it."""
        if (batch_idx + 1) % self.refresh_rate == 0 or batch_idx + 1 == self.total_train_batches:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop drawing: what is printed next comes below the bar."""
        self._stop_progress()

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop drawing: the results are printed below the bar."""
        self._stop_progress()

    def _get_train_description(self, current_epoch: int) -> str:
        # A run is one epoch: "Epoch 0/0" would say nothing.
        return self.train_description


class SystemSummary(pl.Callback):
    """Prints the branches and their sizes before training.

    Lightning's summary lists modules one by one, and operations that it can count with an example input alone: 0.
    """

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print a line for each branch, and one for loss and head, on the first process alone."""
        if not trainer.is_global_zero or not isinstance(pl_module, AnomalousSoundModule):
            return
        console = Console(highlight=False)
        for name, branch in pl_module.embedder.branches.named_children():
            encoder = own_part(branch.get_submodule("encoder"))
            dim = pl_module.embedder.embed_dims[name]
            console.print(f"branch {name}: {encoder}embedding of {dim}, {_parameters(branch)}", markup=False)
        top = nn.ModuleList([pl_module.head, pl_module.loss])
        of_top = f"loss and head: {len(pl_module.classes)} classes, {_parameters(top)}"
        console.print(f"{of_top}; training on {trainer.strategy.root_device}", markup=False)


def own_part(part: nn.Module) -> str:
    """For a list: a part of somebody's own as it is imported, and nothing of this package's, which its branch names."""
    kind = type(part)
    return "" if kind.__module__.startswith(f"{_PACKAGE}.") else f"{kind.__module__}.{kind.__qualname__}, "


def _parameters(module: nn.Module) -> str:
    total = sum(parameter.numel() for parameter in module.parameters())
    trained = trainable_parameters(module)
    frozen = "" if trained == total else f", {trained:,} of them trained"
    return f"{total:,} parameters{frozen}"
