"""A trained run, tested again: with another back-end, other clips, or on several devices."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from asd_lightning.configuration import as_yaml, plain
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import is_first_process
from asd_lightning.experiment.dashboard import finishing_wandb
from asd_lightning.experiment.identity import warn_of_other_training
from asd_lightning.experiment.quiet import hide_irrelevant_messages
from asd_lightning.experiment.recorded import retest_configuration, write_to
from asd_lightning.experiment.train import make_trainer, users_mistake
from asd_lightning.run_folder import CHECKPOINT, CONFIG, ResultSet, claim_results, new_results, refuse_filled
from asd_lightning.scoring.machines import warn_of_too_few
from asd_lightning.training.build import load_module

logger = logging.getLogger(__name__)

# What a test may change; the embedder and its head are the checkpoint's.
_CHANGEABLE = ("scorer", "threshold", "score_after_head", "recording_score", "scoring_precision")


def retest(run: Path, overrides: Sequence[str] = (), out: Path | None = None) -> ResultSet:
    """Test the checkpoint of ``run`` again with its own configuration, changed by ``overrides``.

    Results go to ``out``; by default to ``results`` in the run's folder, or to ``results_2``, ``results_3``... where
    there are some already.

    Returns:
        The results.

    Raises:
        UserError: the folder is not a run, has no checkpoint, or ``out`` holds files.
    """
    hide_irrelevant_messages()
    # What is wrong with the run or the overrides is told before a folder is made.
    config = retest_configuration(run, overrides, run)
    _refuse_places(Path(config.data.root), out)
    changes = {name: value for name, value in plain(config.model).items() if name in _CHANGEABLE}
    try:
        module = load_module(run / CHECKPOINT, changes)
    except Exception as error:
        raise users_mistake(error) from None
    results = _claimed(run, out, _is_trained(run, module.updates, config.trained.trainer.get("max_steps")))
    try:
        write_to(config, results.folder)
        pl.seed_everything(config.seed, workers=True, verbose=False)
        datamodule = _datamodule(run, config)
        warn_of_too_few(datamodule.recordings(), module.threshold)
        datamodule.prepare_data()
        warn_of_other_training(run, module.training_clips, datamodule.training_clips())
        with finishing_wandb():
            make_trainer(config, as_yaml(config), results.folder).test(module, datamodule, verbose=False)
    except BaseException as error:
        # Keep the folder of a test that finished, even if a plot failed; remove that of any other.
        if is_first_process() and not results.finished:
            shutil.rmtree(results.folder, ignore_errors=True)
        if isinstance(error, Exception):
            raise users_mistake(error) from None
        # Lightning turns a KeyboardInterrupt into a SystemExit.
        raise KeyboardInterrupt from None
    return results


def _datamodule(run: Path, config: DictConfig) -> ClipDataModule:
    """Build the data module; a damaged or edited configuration becomes a UserError."""
    try:
        datamodule = instantiate(config.data)
    except (InstantiationException, TypeError, ValueError) as error:
        raise users_mistake(error) from None
    if not isinstance(datamodule, ClipDataModule):
        raise UserError(f"{run / CONFIG}: its data is no data module; copy the run again")
    return datamodule


def _refuse_places(root: Path, out: Path | None) -> None:
    # Only the first process looks: it makes the folder, which the others then find there.
    if is_first_process() and out is not None:
        refuse_filled(out)
    if not root.is_dir():
        raise UserError(
            f"data.root={root}: no such folder, and the run's recordings were there; say where they are now with "
            "data.root="
        )


def _is_trained(run: Path, updates: int, wanted: object) -> bool:
    """Whether the training is finished; if not, a warning says so, and the results do not stand for the run."""
    if not isinstance(wanted, int) or updates >= wanted:
        return True
    logger.warning("%s: its training has had %d of %d updates; these are tested", run, updates, wanted)
    return False


def _claimed(run: Path, out: Path | None, trained: bool) -> ResultSet:
    """The folder of this test, made by its first process and by nobody else."""
    if not is_first_process():
        return ResultSet(out or run)
    return claim_results(run, first=1 if trained else 2) if out is None else new_results(out)
