"""A single run from within a program: the checks of the command, and no global state of Hydra's left behind."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from asd_lightning.configuration import hydra_as_before
from asd_lightning.errors import UserError
from asd_lightning.experiment.arguments import check_arguments
from asd_lightning.experiment.claim import claimed
from asd_lightning.experiment.computer import check_computer
from asd_lightning.experiment.text_options import as_hydra_reads
from asd_lightning.run_folder import ResultSet, results_of


def train_once(*overrides: str) -> ResultSet:
    """Train a system and score its test clips, in this process.

    Args:
        overrides: ``KEY=VALUE``, as on the command line.

    Returns:
        The results of its test.

    Raises:
        UserError: an override that does not fit, bad data, or a folder that holds a run already.
        InterruptedRunError: Ctrl-C in training; the checkpoint is that of the interrupt.
    """
    if options := [override for override in overrides if override.startswith("-")]:
        raise UserError(f"{options[0]}: an option of the command; a sweep is one call of train() for each run")
    fit = as_hydra_reads(overrides)
    with hydra_as_before():
        config = check_arguments(fit)
        assert config is not None, "none of them is an option of Hydra's own"
        check_computer(fit, config)
        # What is wrong with the arguments is told before torch is imported.
        from asd_lightning.experiment.train import discard_if_nothing_began, train, users_mistake

        folder = Path(HydraConfig.get().runtime.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        with claimed(folder):
            try:
                train(config, folder)
            except Exception as error:
                discard_if_nothing_began(folder)
                raise users_mistake(error) from error
    return results_of(folder)
