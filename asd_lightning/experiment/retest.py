"""A trained run, tested again: with another back-end, other clips, or on several devices."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytorch_lightning as pl
from hydra.utils import instantiate

from asd_lightning.configuration import plain
from asd_lightning.errors import UserError
from asd_lightning.experiment.arguments import retest_configuration
from asd_lightning.experiment.claim import is_first_process
from asd_lightning.experiment.dashboard import finishing_wandb
from asd_lightning.experiment.quiet import hide_irrelevant_messages
from asd_lightning.experiment.train import make_trainer, users_mistake
from asd_lightning.run_folder import CHECKPOINT
from asd_lightning.training.build import load_module

# What a test may change; the embedder and its head are the checkpoint's.
_CHANGEABLE = ("scorer", "threshold", "score_after_head")


def retest(run: Path, overrides: Sequence[str] = (), out: Path | None = None) -> float:
    """Test the checkpoint of ``run`` again with its own configuration, changed by ``overrides``.

    Results go to ``out``; by default to ``results`` in the run's folder, or to ``results_2``, ``results_3``... where
    there are some already.

    Returns:
        The official score.

    Raises:
        UserError: the folder is not a run, has no checkpoint, or ``out`` holds files.
    """
    hide_irrelevant_messages()
    results = out or _new_results(run)
    if is_first_process() and results.is_dir() and any(results.iterdir()):
        raise UserError(f"{results}: holds files already; give a new folder with out=")
    config = retest_configuration(run, overrides, results)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    changes = {name: value for name, value in plain(config.model).items() if name in _CHANGEABLE}
    try:
        module = load_module(run / CHECKPOINT, changes)
        with finishing_wandb():
            trainer = make_trainer(config, results)
            trainer.test(module, instantiate(config.data), verbose=False)
    except BaseException as error:
        if is_first_process():
            shutil.rmtree(results, ignore_errors=True)
        if isinstance(error, Exception):
            raise users_mistake(error) from None
        # Lightning makes an exit of it.
        raise KeyboardInterrupt from None
    if module.outcome is None:
        raise RuntimeError("the test ended without an outcome")
    return module.outcome.result.official_score


def _new_results(run: Path) -> Path:
    candidates = (run / ("results" if number == 1 else f"results_{number}") for number in count(1))
    return next(folder for folder in candidates if not folder.exists())
