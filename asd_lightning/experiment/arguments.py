"""The arguments of ``asd train``, refused where they cannot work.

Torch, which takes seconds to import, is not needed for that, and nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from asd_lightning.configuration import (
    as_typed,
    compose_train,
    hydra_as_before,
    is_group,
    parse_overrides,
    refuse_missing_choices,
)
from asd_lightning.data.folders import machine_folders
from asd_lightning.errors import UserError
from asd_lightning.experiment.allowed import (
    refuse_bad_values,
    refuse_incomplete,
    refuse_odd_machines,
    refuse_other_type,
)
from asd_lightning.experiment.claim import claimed
from asd_lightning.experiment.resume import checkpoint_to_resume, refuse_another_run
from asd_lightning.run_folder import CHECKPOINT, HYDRA, LOG

_MULTIRUN = {"-m", "--multirun"}
# What a sweep may go over, so that no one place need hold the recordings.
_RECORDINGS = {"data", "data.root", "data.machines"}
_NAME = re.compile(r"\w[\w.,=+-]*")


def check_arguments(arguments: Sequence[str]) -> DictConfig | None:
    """Refuse what a run or a sweep would fail on at its start.  Of swept values only the readability is checked.

    Returns:
        The configuration, which is Hydra's current one, without what is swept; none where an option of Hydra's own is
        among the arguments.

    Raises:
        UserError: an override that does not fit, no such recordings, a bad name or number, a run's folder that cannot
            be made, or that holds a run which this is not.
    """
    options = {argument for argument in arguments if argument.startswith("-")}
    if not options <= _MULTIRUN:  # --cfg, --info, --config-dir...: Hydra's own matter
        return None
    overrides = parse_overrides([argument for argument in arguments if argument not in options])
    swept = [override for override in overrides if override.is_sweep_override()] if options else []
    if not any(override.key_or_group == "hydra.searchpath" for override in overrides):
        refuse_missing_choices(swept)
    config = compose_train([str(override.input_line) for override in overrides if override not in swept])
    given = {override.get_key_element() for override in overrides}
    changing = {override.get_key_element() for override in swept}
    _refuse_odd_name(config.name)
    refuse_incomplete(config)
    refuse_bad_values(config)
    if not changing & (_RECORDINGS if "data.root" in given else _RECORDINGS | {"scale", "experiment"}):
        _refuse_absent_data(config)
    hydra = HydraConfig.get()
    with hydra_as_before():
        _refuse_odd_types(overrides, swept)
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
        return config
    checkpoint_to_resume(folder, config.resume)
    _refuse_foreign(folder)
    if folder.is_dir():
        with claimed(folder):
            pass  # before Hydra writes into it
    if config.resume:
        refuse_another_run(folder, config)
    return config


def _refuse_odd_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"name={as_typed(name)}: the run's folder is runs/NAME; use letters, digits and . , _ = + - alone, "
            "or give a folder elsewhere with hydra.run.dir="
        )


def _refuse_odd_types(overrides: Sequence[Override], swept: Sequence[Override]) -> None:
    """A number is no text and no truth value: ``margin=0.4x`` is a slip, told before anything is done."""
    chosen = compose_train([str(one.input_line) for one in overrides if is_group(one) and one not in swept])
    for one in overrides:
        key = str(one.key_or_group)
        if is_group(one) or one.is_delete():
            continue
        usual = OmegaConf.select(chosen, key, default=None, throw_on_missing=False)
        texts = [f"{key}={text}" for text in one.sweep_string_iterator()] if one in swept else [str(one.input_line)]
        for value in (parsed.value() for parsed in parse_overrides(texts)):
            refuse_other_type(key, usual, value)


def _refuse_absent_data(config: DictConfig) -> None:
    refuse_odd_machines(config)
    try:
        machine_folders(Path(config.data.root), config.data.machines)
    except UserError as error:
        raise UserError(f"data.root={error}") from error


def _refuse_taken_sweep(folder: Path, resume: bool) -> None:
    if not resume and any(folder.glob(f"*/{CHECKPOINT}")):
        raise UserError(f"{folder}: already holds a sweep; go on with resume=true, or choose another name=")
    if (folder / HYDRA).is_dir():
        raise UserError(f"{folder}: is the folder of a single run; choose another name= for the sweep")


def _refuse_foreign(folder: Path) -> None:
    """A run writes, and where nothing has come of it removes, files whose names others use too."""
    if not folder.is_dir() or (folder / HYDRA).is_dir() or (folder / CHECKPOINT).is_file():
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
