"""One run: train, then test."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig

from asd_lightning.configuration import CONF_DIR, instantiate_all, plain
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.errors import UserError
from asd_lightning.training.build import build_module
from asd_lightning.training.results import ResultsWriter

logger = logging.getLogger(__name__)


def main(overrides: Sequence[str]) -> int:
    """Run ``asd train`` with Hydra's arguments; returns the exit status."""
    script = sys.argv[0]

    @hydra.main(config_path=str(CONF_DIR), config_name="train", version_base="1.3")
    def job(config: DictConfig) -> float:
        # Lightning starts the processes of other devices with the command line it finds here.
        sys.argv = [script, "train", *overrides]
        return _run(config)

    sys.argv = [script, *overrides]
    job()
    return 0


def _run(config: DictConfig) -> float:
    """One job; a user's error ends a single run without a traceback, and is kept as the job's failure in a sweep."""
    try:
        return train(config, Path(HydraConfig.get().runtime.output_dir))
    except UserError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        logger.error("%s", error)
        sys.exit(2)


def train(config: DictConfig, output_dir: Path) -> float:
    """Train and test as configured; returns the official score (nan where there is nothing to compare with).

    Raises:
        UserError: bad data, or a run folder that already holds a run.
    """
    pl.seed_everything(config.seed, workers=True, verbose=False)
    checkpoint = _checkpoint_to_resume(output_dir, config.resume)
    datamodule: ClipDataModule = instantiate(config.data)
    datamodule.prepare_data()
    module = build_module(plain(config.model), datamodule.classes)
    trainer: pl.Trainer = instantiate(
        config.trainer,
        callbacks=_callbacks(config),
        logger=instantiate_all(config.logger),
        default_root_dir=str(output_dir),
    )
    if trainer.max_steps > 0:
        trainer.fit(module, datamodule, ckpt_path=checkpoint, weights_only=True)
    if config.test:
        trainer.test(module, datamodule, verbose=False)
    return module.outcome.result.official_score if module.outcome else float("nan")


def _callbacks(config: DictConfig) -> list[pl.Callback]:
    callbacks = instantiate_all(config.callbacks)
    if config.trainer.max_steps == 0:
        callbacks = [callback for callback in callbacks if isinstance(callback, (ResultsWriter,))]
    return callbacks


def _checkpoint_to_resume(output_dir: Path, resume: bool) -> Path | None:
    checkpoint = output_dir / "checkpoints" / "last.ckpt"
    if not checkpoint.exists():
        return None
    if not resume:
        raise UserError(f"{output_dir}: already holds a run; go on with resume=true, or choose another name=")
    return checkpoint
