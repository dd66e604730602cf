"""One run: train, then test."""

from __future__ import annotations

import logging
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, open_dict
from pytorch_lightning.callbacks import Checkpoint, LearningRateMonitor, WeightAveraging
from pytorch_lightning.utilities import rank_zero_only

from asd_lightning.atomic import full_disk, write_atomically, write_text_atomically
from asd_lightning.comparison.systems import official_score
from asd_lightning.configuration import CONF_DIR, as_yaml, instantiate_all, is_option, own_folders, plain, recorded
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.pseudo_classes import write_pseudo_classes
from asd_lightning.errors import UserError
from asd_lightning.experiment import multirun
from asd_lightning.experiment.claim import OccupiedError, claimed, is_first_process
from asd_lightning.experiment.dashboard import finishing_wandb
from asd_lightning.experiment.identity import refuse_other_training, with_absolute_paths
from asd_lightning.experiment.quiet import hide_irrelevant_messages
from asd_lightning.experiment.results import ResultsWriter, evaluated
from asd_lightning.experiment.resume import checkpoint_to_resume, refuse_another_run
from asd_lightning.own_code import why_not_built
from asd_lightning.plain_text import without_secrets
from asd_lightning.run_folder import (
    CHECKPOINT,
    CONFIG,
    FAILURE,
    HYDRA,
    LOCK,
    LOG,
    PSEUDO_CLASSES,
    claim_results,
    results_of,
)
from asd_lightning.scoring.machines import warn_of_too_few
from asd_lightning.training.build import build_module, read_checkpoint
from asd_lightning.training.checkpoint import InterruptedRunError
from asd_lightning.training.compilation import compiled
from asd_lightning.training.module import AnomalousSoundModule

logger = logging.getLogger(__name__)

_NEED_TRAINING = (WeightAveraging, Checkpoint, LearningRateMonitor)
_NEED_LOGGER = (LearningRateMonitor,)
# The only files in the folder of a run that failed before its first batch.
_OF_THE_START = {CONFIG, LOG, LOCK, "hydra.yaml", "overrides.yaml", "hparams.yaml", FAILURE}
_INTERRUPTED = 130
_TAKE_MEMORY = ("data.batch_size", "data.test_batch_size", "data.clip_seconds", "data.test_windows or data.num_workers")


def main(overrides: Sequence[str]) -> int:
    """Run ``asd train`` with Hydra's arguments; returns the exit status."""
    script = sys.argv[0]

    @hydra.main(  # type: ignore[untyped-decorator]
        config_path=str(CONF_DIR), config_name="train", version_base="1.3"
    )
    def job(config: DictConfig) -> float:
        # Lightning starts the processes of other devices with the command line it finds here.
        sys.argv = [script, "train", *overrides]
        return _run(config)

    sys.argv = [script, *sorted([*overrides, *multirun.sweep_overrides(overrides)], key=is_option)]
    multirun.SweepStart.folder = None
    status = 0
    try:
        job()
    except SystemExit as stop:
        # 2 where the sweep was refused, Ctrl-C's status, and Hydra's own 1 where a launcher has given up: the finished
        # jobs count.
        if multirun.SweepStart.folder is None or stop.code == 2:
            raise
        status = int(stop.code or 0)
    if multirun.SweepStart.folder is None or rank_zero_only.rank != 0:
        return status
    return max(status, multirun.finish_sweep(multirun.SweepStart.folder))


def _run(config: DictConfig) -> float:
    """One job, alone in its folder."""
    output_dir = Path(HydraConfig.get().runtime.output_dir)
    try:
        with claimed(output_dir):
            return _run_alone(config, output_dir)
    except OccupiedError as error:
        logger.error("%s", error)
    if not multirun.is_sweep():
        sys.exit(2)
    return math.nan


def _run_alone(config: DictConfig, output_dir: Path) -> float:
    """A user's error ends a single run without a traceback; in a sweep a failed job does not stop the others.

    Either way the run's folder says why it failed.
    """
    (output_dir / FAILURE).unlink(missing_ok=True)
    try:
        return train(config, output_dir)
    except (InterruptedRunError, KeyboardInterrupt, SystemExit):
        # Lightning makes an exit of a KeyboardInterrupt.
        if multirun.is_sweep():
            multirun.record_failure(output_dir, UserError("interrupted; the sweep goes on with resume=true"))
        _say_how_to_go_on(output_dir, config.name)
        sys.exit(_INTERRUPTED)
    except Exception as error:
        cause = users_mistake(error)
        multirun.record_failure(output_dir, cause)
        if not multirun.is_sweep() and not isinstance(cause, UserError):
            raise
        logger.error("%s", cause, exc_info=None if isinstance(cause, UserError) else cause)
    if not multirun.is_sweep():
        if rank_zero_only.rank == 0:  # type: ignore[attr-defined]
            discard_if_nothing_began(output_dir)
        sys.exit(2)
    if multirun.processes_started_elsewhere():
        # The other processes of this job wait for this one: only its end makes their launcher stop them.
        sys.exit(1)
    return math.nan


def _say_how_to_go_on(output_dir: Path, name: str) -> None:
    if multirun.is_sweep():
        name = output_dir.parent.name
    if (output_dir / CHECKPOINT).exists():
        logger.warning("interrupted; the same command with name=%s resume=true goes on from the last checkpoint", name)
    else:
        logger.warning("interrupted before the first checkpoint; the same command starts anew")


def discard_if_nothing_began(output_dir: Path) -> None:
    """Remove the folder of a run that has left nothing but its settings."""
    files = [path for path in output_dir.rglob("*") if path.is_file()]
    if all(path.name in _OF_THE_START for path in files):
        shutil.rmtree(output_dir, ignore_errors=True)


def users_mistake(error: Exception) -> Exception:
    """The UserError that Hydra has wrapped, or one that says what was wrong with an argument it has passed on.

    A full disk and too little memory are the user's to mend as well.
    """
    if isinstance(error, InstantiationException):
        if error.__cause__ is None:
            # Hydra itself has refused to call something.
            reason, _, where = str(error).rpartition("full_key: ")
            return UserError(f"{where.strip()}: {' '.join(reason.split())}")
        if isinstance(error.__cause__, UserError):
            return error.__cause__
        where = str(error).rpartition("full_key: ")[2]
        if why := why_not_built(error):
            return UserError(f"{where}: {why}")
        if isinstance(error.__cause__, TypeError | ValueError | MisconfigurationException):
            return UserError(f"{where}: {error.__cause__}")
    return full_disk(error) or _no_memory(error) or error


def _no_memory(error: Exception) -> UserError | None:
    """What to say where memory was asked for that is not there; ``None`` of any other error."""
    of_torch = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and not of_torch:
        return None
    reason = (str(error).splitlines() or ["no more memory"])[0]
    return UserError(f"not enough memory ({reason}); lower {', '.join(_TAKE_MEMORY)}")


def train(config: DictConfig, output_dir: Path) -> float:
    """Train and test as configured; returns the official score (nan where there is nothing to compare with).

    Raises:
        UserError: bad data, a run folder that already holds a run, or a sweep over several processes.
        InterruptedRunError: Ctrl-C in training; the checkpoint is that of the interrupt.
    """
    hide_irrelevant_messages()
    with_absolute_paths(config)
    with open_dict(config):
        # Recorded so that a later test finds the user's own configuration files.
        config.config_dirs = [str(folder) for folder in own_folders()]
        config.choices = {name: str(choice) for name, choice in _choices() if not name.startswith("hydra/")}
    checkpoint = checkpoint_to_resume(output_dir, config.resume)
    if config.resume:
        refuse_another_run(output_dir, config)
    if is_first_process():
        _clean_notes_of_hydra(output_dir)
    written = as_yaml(config)
    if checkpoint is None:
        _record(written, output_dir)
    with finishing_wandb():
        return _train_and_test(config, written, output_dir, checkpoint)


def _record(written: str, output_dir: Path) -> None:
    with write_atomically(output_dir / CONFIG) as file:
        file.write(written.encode())


def _clean_notes_of_hydra(output_dir: Path) -> None:
    """Hydra has written down the command line as it was typed."""
    for path in [*(output_dir / HYDRA).glob("*.yaml"), *output_dir.parent.glob("multirun.yaml")]:
        text = path.read_text(encoding="utf-8")
        if (cleaned := without_secrets(text)) != text:
            write_text_atomically(path, cleaned)


def _train_and_test(config: DictConfig, written: str, output_dir: Path, checkpoint: Path | None) -> float:
    if config.trainer.max_steps == 0 and not config.test:
        raise UserError("trainer.max_steps=0 and test=false: there is nothing to do")
    reached = read_checkpoint(checkpoint) if checkpoint else None
    finished = reached is not None and reached["global_step"] >= config.trainer.max_steps
    if finished and reached and _tested(output_dir, reached["global_step"]):
        logger.info("%s: trained and tested already; asd test %s tests it again", output_dir, output_dir)
        return official_score(results_of(output_dir))
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule: ClipDataModule = instantiate(config.data)
    if config.test:
        warn_of_too_few(datamodule.recordings(), instantiate(config.model.threshold))
    datamodule.prepare_data()
    if checkpoint and reached:
        refuse_other_training(checkpoint, reached, datamodule.classes, datamodule.training_clips())
        # Not before the checks: a run that is not resumed keeps its recorded configuration.
        _record(written, output_dir)
    module = build_module(plain(config.model), datamodule.classes)
    if datamodule.pseudo_classes and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        write_pseudo_classes(output_dir / PSEUDO_CLASSES, datamodule.pseudo_classes)
    module.training_clips = datamodule.training_clips()
    trainer = make_trainer(config, written, output_dir)
    if multirun.is_sweep():
        multirun.refuse_starting_again(trainer)
    if finished and reached:
        # Lightning would load the weights that training left off with, and test those.
        logger.info("%s: training is finished; testing its averaged weights", output_dir)
        module.load_state_dict(reached["state_dict"])
        module.updates = reached["global_step"]
    else:
        with compiled(module.embedder, trainer.strategy.root_device) if config.compile else nullcontext():
            _fit(trainer, module, datamodule, checkpoint)
    if config.test:
        trainer.test(module, datamodule, verbose=False)
    if trainer.max_steps == 0 and not checkpoint:
        # Nothing was trained, but the run can still be tested again or deployed.
        trainer.save_checkpoint(output_dir / CHECKPOINT, weights_only=False)
    found = evaluated(trainer)
    return found.result.official_score if found else math.nan


def _tested(output_dir: Path, updates: int) -> bool:
    """Whether there are results of exactly these updates; a test during the training leaves those of fewer."""
    results = results_of(output_dir)
    return results.finished and results.read_summary().get("updates", updates) == updates


def _fit(
    trainer: pl.Trainer, module: AnomalousSoundModule, datamodule: ClipDataModule, checkpoint: Path | None
) -> None:
    if trainer.max_steps == 0:
        return
    trainer.fit(module, datamodule, ckpt_path=checkpoint, weights_only=True)
    if trainer.global_step != trainer.max_steps:
        raise RuntimeError(f"training ended at update {trainer.global_step} of {trainer.max_steps}")


def make_trainer(config: DictConfig, written: str, output_dir: Path) -> pl.Trainer:
    """The configured trainer; callbacks that need a training or a logger are left out where there is none.

    ``written`` is ``config`` as it is recorded, kept beside the results.
    """
    # Left alone, cuDNN rounds what float32 convolutions read to 10 bits.  Here float32 is float32, as on a processor.
    torch.backends.cudnn.allow_tf32 = False
    # Deterministic algorithms write NaN into all memory before its first use, which finds errors and takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Hydra leaves out a group of which nothing was chosen.
    loggers = instantiate_all(config.get("logger"))
    idle = (*(() if config.trainer.max_steps else _NEED_TRAINING), *(() if loggers else _NEED_LOGGER))
    callbacks = [callback for callback in instantiate_all(config.callbacks) if not isinstance(callback, idle)]
    told = recorded(config)
    for callback in callbacks:
        if isinstance(callback, ResultsWriter):
            if is_first_process() and results_of(output_dir).finished:
                callback.results = claim_results(output_dir)
            callback.config = written
            callback.about = {
                "name": told["system"],
                "experiment": config.choices.experiment,
                "seed": config.seed,
                "data": told["data"],
                # A later test has a trainer of its own.
                "updates_planned": config.get("trained", config).trainer.get("max_steps"),
            }
    trainer: pl.Trainer = instantiate(
        config.trainer, callbacks=callbacks, logger=loggers, default_root_dir=str(output_dir)
    )
    for each in trainer.loggers:
        each.log_hyperparams(told)
    return trainer


def _choices() -> Iterable[tuple[str, Any]]:
    return HydraConfig.get().runtime.choices.items()  # type: ignore[no-any-return]
