"""The checkpoint of a run: written every so many updates, and when the run ends."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint


class LastCheckpoint(ModelCheckpoint):
    """Keeps ``last.ckpt``, replaced atomically.

    No metric chooses between checkpoints: there is no labelled validation set, and choosing by test labels is a leak.
    Lightning's callback saves at multiples of ``every_n_train_steps`` alone: the weights that are tested when a run of
    another length ends would not be the saved ones.
    """

    def __init__(self, dirpath: str | Path, every_n_train_steps: int = 500) -> None:
        super().__init__(dirpath, save_last=True, save_top_k=0, every_n_train_steps=every_n_train_steps)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # A run is one epoch.
        trainer.save_checkpoint(Path(self.dirpath or ".") / f"{self.CHECKPOINT_NAME_LAST}{self.FILE_EXTENSION}")
