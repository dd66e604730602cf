"""Many runs from one command: what each is called, which sweeps are refused, and the one table they end with.

A sweep's table is built from the jobs' own result files when Hydra has returned, whether or not a job failed: Hydra's
sweeper raises after a failed job, and its ``on_multirun_end`` is then never called.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from asd_lightning.atomic import write_atomically
from asd_lightning.comparison.output import show_comparison
from asd_lightning.comparison.systems import find_runs
from asd_lightning.configuration import CONF_DIR
from asd_lightning.errors import UserError
from asd_lightning.experiment.quiet import hide_irrelevant_messages
from asd_lightning.foreign_files import first_line
from asd_lightning.run_folder import FAILURE

logger = logging.getLogger(__name__)

# Not part of a system's name: the table is over seeds, and the experiment is named without its key.
_UNNAMED_KEYS = ("experiment", "seed", "name", "system")
_WAYS_OUT = (
    "sweep with devices=1, one run to a device; or start one run at a time; or let Slurm start the processes of each "
    "job: hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node=DEVICES"
)
# These run the jobs in other places than this process, where other rules may hold.
_REMOTE_LAUNCHERS = ("submitit_slurm", "submitit_local")


# Loggers of the launchers that say each job's overrides, the system's name among them, which is resolved in the job.
_SAYING_LAUNCHERS = ("hydra._internal.core_plugins.basic_launcher", "hydra_plugins.hydra_joblib_launcher._core")


class SweepStart(Callback):  # type: ignore[misc]
    """Hydra's callback: keeps the sweep's folder for the table, and refuses a sweep that would start itself again."""

    folder: ClassVar[Path | None] = None
    unresolved: ClassVar[list[str]] = []

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the sweep's folder; end the process with status 2 where the sweep could not run properly."""
        SweepStart.folder = Path(config.hydra.sweep.dir).absolute()
        SweepStart.unresolved = _unresolved_names(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
        for launcher in _SAYING_LAUNCHERS:
            # The same function again is no second filter.
            logging.getLogger(launcher).addFilter(_without_unresolved_name)
        if config.hydra.runtime.choices["hydra/launcher"] in _REMOTE_LAUNCHERS:
            return
        HydraConfig.instance().set_config(config)
        hide_irrelevant_messages()
        try:
            _refuse_dated_folder(config.hydra.overrides.hydra)
            refuse_starting_again(instantiate(config.trainer, logger=False))
        except UserError as error:
            logger.error("%s", error)
            # Hydra turns any other exception of a callback into a warning and goes on.
            sys.exit(2)


def _unresolved_names(overrides: Any) -> list[str]:
    """Overrides of ``system`` that have interpolations, as Hydra's sweeper words them in the jobs."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    names: list[str] = []
    for one in parsed:
        if one.get_key_element() == "system":
            names += one.sweep_string_iterator() if one.is_sweep_override() else [one.get_value_element_as_str()]
    return [f"system={name}" for name in names if "${" in name]


def _without_unresolved_name(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage(), ()
    for text in SweepStart.unresolved:
        record.msg = record.msg.replace(f" {text}", "")
    return True


def is_sweep() -> bool:
    """Whether the current job is one of a multirun."""
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def refuse_starting_again(trainer: pl.Trainer) -> None:
    """Raises ``UserError`` where Lightning would start this command once more for each further device.

    In a sweep each of those processes would run the whole sweep.
    """
    processes = trainer.num_devices * trainer.num_nodes
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if processes > 1 and not (environment and environment.creates_processes_externally):
        raise UserError(f"a sweep of runs of {processes} processes each would run whole in every process; {_WAYS_OUT}")


def sweep_overrides(overrides: Sequence[str]) -> list[str]:
    """What a sweep's jobs need beside the user's ``overrides``: a folder called ``name``, and names to compare under.

    Values swept beside experiment and seed become part of ``system``: otherwise they would count as its seeds.

    Raises:
        UserError: a value of a list is given twice.
    """
    if not {"-m", "--multirun"} & set(overrides):
        return []
    parsed = OverridesParser.create().parse_overrides([text for text in overrides if not text.startswith("-")])
    # Of an argument given twice the last one counts.
    given = {override.get_key_element(): override for override in parsed}
    _refuse_repeated(given.values())
    added = []
    if "name" in given and "hydra.sweep.dir" not in given:
        added.append(f"hydra.sweep.dir='runs/{given['name'].value()}'")
    swept = [key for key, override in given.items() if override.is_sweep_override() and key not in _UNNAMED_KEYS]
    parts = [f"{key.split('.')[-1].split('/')[-1]}={_current(key)}" for key in swept]
    if parts and "system" not in given:
        added.append(f"system='{' '.join(['${hydra:runtime.choices.experiment}', *parts])}'")
    return added


def _refuse_repeated(overrides: Iterable[Override]) -> None:
    """Raise ``UserError`` where a list has a value twice: the same run would count as another."""
    for override in overrides:
        values = list(override.sweep_string_iterator()) if override.is_choice_sweep() else []
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise UserError(f"{override.input_line}: {twice} is given twice; give each value once")


def record_failure(folder: Path, error: Exception) -> None:
    """Leave ``failure.txt`` in a run's folder."""
    if isinstance(error, UserError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}\n\n{''.join(traceback.format_exception(error))}"
    with write_atomically(folder / FAILURE) as file:
        file.write(text.encode())


def finish_sweep(folder: Path) -> int:
    """Print and write the comparison of a sweep's runs, as ``asd compare FOLDER -o FOLDER`` does.

    Returns:
        Exit status: 1 if a run has failed.
    """
    try:
        show_comparison([folder], folder)
    except UserError as error:
        logger.error("%s", error)
        return 1
    failed = [run for run in find_runs([folder]) if run.failure or (run.folder / FAILURE).is_file()]
    for run in failed:
        logger.error("failed: %s: %s", run.folder.name, _reason(run.folder) or run.failure)
    return 1 if failed else 0


def processes_started_elsewhere() -> bool:
    """Whether torchrun or Slurm has started this process as one of several."""
    return any(int(os.environ.get(variable, "1")) > 1 for variable in ("WORLD_SIZE", "SLURM_NTASKS"))


def _refuse_dated_folder(overrides: Sequence[str]) -> None:
    if processes_started_elsewhere() and not any(text.startswith("hydra.sweep.dir=") for text in overrides):
        raise UserError("each process would date its own sweep folder: give the sweep a name=")


def _current(key: str) -> str:
    """The interpolation that gives the value of a key, or the choice of a group, in each job."""
    # Of a group that is chosen for a part, GROUP@PART: the dots of the part are none of a path.
    is_choice = (CONF_DIR / key.partition("@")[0]).is_dir()
    return f'${{hydra:"runtime.choices[{key}]"}}' if is_choice else f"${{{key}}}"


def _reason(folder: Path) -> str:
    path = folder / FAILURE
    return first_line(path) if path.is_file() else ""
