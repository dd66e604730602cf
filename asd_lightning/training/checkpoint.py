"""The checkpoint of a run: written every so many updates, when the run ends, and at Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from asd_lightning.atomic import write_atomically
from asd_lightning.errors import UserError
from asd_lightning.run_folder import CHECKPOINT


class InterruptedRunError(Exception):
    """Ctrl-C: the update in progress was finished, and the checkpoint holds it."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint, then renames.

    Lightning's own collects the whole file in memory, twice, and writes it to the system's folder for temporary files:
    where that is another file system the move is a copy, and a kill during the copy destroys the old checkpoint and the
    new one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write the checkpoint; an earlier one stays whole until the new one is complete."""
        with write_atomically(Path(path)) as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:
                # Torch reports that the archive could not be finished, and hides the error of the disk.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``, always saved between two updates: a run could not be resumed exactly from within one.

    No metric chooses between checkpoints: there is no labelled validation set, and choosing by test labels is a leak.
    Lightning's ModelCheckpoint saves at multiples of ``every_n_train_steps`` alone, so the tested weights of a run of
    another length would not be the saved ones; after a restart it saves within the first update; and its
    ``save_on_exception`` may save within any update.

    At Ctrl-C the update in progress is finished and saved, then `InterruptedRunError` is raised; a second Ctrl-C stops
    at once.  With several processes Ctrl-C always stops at once: they would not all stop after the same update.

    Args:
        dirpath: folder of the checkpoint.
        every_n_train_steps: updates from one checkpoint to the next.
    """

    def __init__(self, dirpath: str | Path, every_n_train_steps: int = 500) -> None:
        if every_n_train_steps < 1:
            raise UserError(f"callbacks.checkpoint.every_n_train_steps={every_n_train_steps}: at least 1 is needed")
        self._path = Path(dirpath) / Path(CHECKPOINT).name
        self._every = every_n_train_steps
        self._updates = 0
        self._saved: int | None = None
        self._interrupted = False
        self._handler: Any = None
        # What loggers ask for when they look for the file to upload.
        self.save_top_k = 0
        self.best_model_path = ""
        self.last_model_path = ""
        self.current_score = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over Ctrl-C, where this is the only process and its main thread."""
        self._updates = trainer.global_step
        # No sooner: the trainer notes the handlers it finds before this, and puts those back when it ends.
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._stop_after_update)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give Ctrl-C back to whoever handled it before."""
        self._restore_handler()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after every so many updates; after Ctrl-C save and raise `InterruptedRunError`."""
        if trainer.global_step == self._updates:
            return
        self._updates = trainer.global_step
        if self._interrupted or self._updates % self._every == 0:
            self._save(trainer)
        if self._interrupted:
            raise InterruptedRunError(f"interrupted after update {self._updates}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last update, unless it was saved already."""
        # A run is one epoch.
        if self._saved != trainer.global_step:
            self._save(trainer)
        if self._interrupted:  # since the last update
            raise InterruptedRunError(f"interrupted after update {self._updates}")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give Ctrl-C back to whoever handled it before; nothing is saved."""
        self._restore_handler()

    def _save(self, trainer: pl.Trainer) -> None:
        self.last_model_path = str(self._path)
        trainer.save_checkpoint(self._path, weights_only=False)
        self._saved = trainer.global_step
        for each in trainer.loggers:
            each.after_save_checkpoint(self)  # type: ignore[arg-type]

    def _stop_after_update(self, *_: Any) -> None:
        # A signal handler may run amid a print: this takes no lock and no buffer.
        os.write(2, b"\nasd: finishing the update in progress; Ctrl-C again stops at once\n")
        self._interrupted = True
        self._restore_handler()

    def _restore_handler(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            self._handler = None
