"""The arguments of ``asd train`` and ``asd test``, refused where they cannot work.

Torch, which takes seconds to import, is not needed for that, and nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from asd_lightning.configuration import compose_train, parse_overrides, plain
from asd_lightning.data.layout import machine_folders
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import claimed
from asd_lightning.experiment.resume import checkpoint_to_resume, refuse_another_run
from asd_lightning.run_folder import CHECKPOINT, LOG
from asd_lightning.trust import PARTS, refuse_foreign_targets

_MULTIRUN = {"-m", "--multirun"}
# What a sweep may go over, so that no one place need hold the recordings.
_RECORDINGS = {"data", "data.root", "data.machines"}
_NAME = re.compile(r"\w[\w.,=+-]*")
# Where the training ran: a test runs where it is started, on one device unless told otherwise.
_PLACE = frozenset({"devices", "trainer"} | {f"trainer.{key}" for key in ("accelerator", "num_nodes", "strategy")})
# What a run that was passed on must not decide: who watches a test, and where things are written.
_NOT_OF_THE_RUN = frozenset({"logger", "callbacks", "hydra", "trainer"})
_PRECISION = "trainer.precision"
# A sweep names its systems with these; what other resolvers give lies outside of the configuration.
_OWN_INTERPOLATION = re.compile(r"\$\{(hydra:runtime\.choices\.)?[\w./]+\}")
# Callbacks that only a training has.
_OF_TRAINING = ("ema", "checkpoint", "learning_rate")
# Smallest value of each whole number.
_LEAST = {
    "trainer.max_steps": 0,
    "accumulate": 1,
    "seed": 0,
    "data.batch_size": 2,  # batch normalisation has no statistics of one clip
    "data.test_batch_size": 1,
    "data.test_windows": 1,
    "data.num_workers": 0,
}
_MAY_BE_NULL = frozenset({"data.num_workers"})


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what a run or a sweep would fail on at its start.  Of swept values only the readability is checked.

    Raises:
        UserError: an override that does not fit, no such recordings, a bad name or number, a run's folder that cannot
            be made, or that holds a run which this is not.
    """
    options = {argument for argument in arguments if argument.startswith("-")}
    if not options <= _MULTIRUN:  # --cfg, --info, --config-dir...: Hydra's own matter
        return
    overrides = parse_overrides([argument for argument in arguments if argument not in options])
    swept = [override for override in overrides if override.is_sweep_override()] if options else []
    config = compose_train([str(override.input_line) for override in overrides if override not in swept])
    given = {override.get_key_element() for override in overrides}
    changing = {override.get_key_element() for override in swept}
    _refuse_odd_name(str(config.name))
    _refuse_bad_values(config)
    if not changing & (_RECORDINGS if "data.root" in given else _RECORDINGS | {"scale", "experiment"}):
        _refuse_absent_data(config)
    hydra = HydraConfig.get()
    sweeping = options or hydra.mode == RunMode.MULTIRUN
    folder = Path(hydra.run.dir)
    if sweeping:
        # A sweep's folder is called by its name, as a run's is.
        folder = (
            Path("runs", config.name) if "name" in given and "hydra.sweep.dir" not in given else Path(hydra.sweep.dir)
        )
    _refuse_unwritable(folder)
    if config.resume and not given & {"name", "hydra.run.dir", "hydra.sweep.dir"}:
        raise UserError("resume=true: give the name= of the run to go on with, a folder in runs/")
    if sweeping:
        _refuse_taken_sweep(folder, config.resume)
        return
    checkpoint_to_resume(folder, config.resume)
    _refuse_foreign(folder)
    if folder.is_dir():
        with claimed(folder):
            pass  # before Hydra writes into it
    if config.resume:
        refuse_another_run(folder, config)


def retest_configuration(run: Path, overrides: Sequence[str], results: Path) -> DictConfig:
    """The configuration of a test of ``run``: its own, changed by ``overrides``; outputs go to ``results``.

    Raises:
        UserError: not the folder of a run, an override or a number that does not fit, or another system.
    """
    if any(text.startswith("experiment=") for text in overrides):
        raise UserError("experiment=: the system is the run's own; train another run with asd train")
    recorded = run / ".hydra" / "overrides.yaml"
    if not recorded.is_file():
        raise UserError(f"{run}: not the folder of a run, .hydra/overrides.yaml is missing; give one of asd train")
    # As they were given: references to Hydra's choices mean something only in the composition.
    given: Any = OmegaConf.to_container(OmegaConf.load(recorded), resolve=False)
    of_run = [str(text) for text in given if not _is_of_the_place(str(text).lstrip("+~").split("=")[0])]
    for text in of_run:
        if "${" in _OWN_INTERPOLATION.sub("", text):
            raise UserError(f"{recorded}: {text} looks into this computer; remove it there, and give it anew if needed")
    # The run may have been without some of them.
    idle = [f"++callbacks.{name}=null" for name in _OF_TRAINING]
    # Logs go beside the results, not over those of the training.
    config = compose_train([*of_run, *overrides, *idle], results)
    for part in PARTS:
        refuse_foreign_targets(plain(config[part]), str(recorded), part, overrides)
    _refuse_bad_values(config)
    config.name = run.resolve().name
    config.callbacks.results.directory = str(results)
    return config


def _is_of_the_place(key: str) -> bool:
    """Whether an override says where and under whose eyes the training ran, which is no matter of its test."""
    return key in _PLACE or (key != _PRECISION and not _NOT_OF_THE_RUN.isdisjoint(re.split(r"[.@:/]", key)))


def _refuse_odd_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"name={name}: the run's folder is runs/NAME; use letters, digits and . , _ = + - alone, "
            "or give a folder elsewhere with hydra.run.dir="
        )


def _refuse_bad_values(config: DictConfig) -> None:
    for key, least in _LEAST.items():
        value = OmegaConf.select(config, key)
        if value is None and key in _MAY_BE_NULL:
            continue
        if type(value) is not int or value < least:
            raise UserError(f"{key}={value}: a whole number of at least {least} is needed")
    for key in ("resume", "test"):
        if not isinstance(config[key], bool):
            raise UserError(f"{key}={config[key]}: true or false is needed")


def _refuse_absent_data(config: DictConfig) -> None:
    if isinstance(config.data.machines, str):
        raise UserError(f"data.machines={config.data.machines}: give a list, [{config.data.machines}]")
    try:
        machine_folders(Path(config.data.root), config.data.machines)
    except UserError as error:
        raise UserError(f"data.root={error}") from error


def _refuse_taken_sweep(folder: Path, resume: bool) -> None:
    if not resume and any(folder.glob(f"*/{CHECKPOINT}")):
        raise UserError(f"{folder}: already holds a sweep; go on with resume=true, or choose another name=")
    if (folder / ".hydra").is_dir():
        raise UserError(f"{folder}: is the folder of a single run; choose another name= for the sweep")


def _refuse_foreign(folder: Path) -> None:
    """A run writes, and where nothing has come of it removes, files whose names others use too."""
    if not folder.is_dir() or (folder / ".hydra").is_dir():
        return
    # Hydra's log is there before its folder, and another process may have come first.
    foreign = sorted(path.name for path in folder.iterdir() if path.name != LOG)
    if foreign:
        raise UserError(f"{folder}: holds {foreign[0]} and no run; give a new folder, or an empty one")


def _refuse_unwritable(folder: Path) -> None:
    """The nearest of ``folder`` and those it lies in that is there must be a folder one may write to."""
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise UserError(
            f"{above}: not a folder, so the run's folder {folder} cannot be made; remove it, or work elsewhere"
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"{above}: not writable, so the run's folder {folder} cannot be made; run the command in a folder of your "
            "own, or give one with hydra.run.dir="
        )
