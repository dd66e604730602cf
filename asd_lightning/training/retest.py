"""A trained run, tested again: with another back-end, other clips, or on several devices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from asd_lightning.configuration import compose_train, plain
from asd_lightning.errors import UserError
from asd_lightning.training.build import load_module
from asd_lightning.training.dashboard import finishing_wandb
from asd_lightning.training.quiet import hide_irrelevant_messages
from asd_lightning.training.resume import CHECKPOINT
from asd_lightning.training.train import make_trainer

_RUN, _OUT = "run=", "out="
# Callbacks that only a training has.
_TRAINING = ("ema", "checkpoint", "learning_rate")
# What a test may change; the embedder and its head are the checkpoint's.
_CHANGEABLE = ("scorer", "threshold", "score_after_head")
# Where the training ran: a test runs where it is started, on one device unless told otherwise.
_PLACE = frozenset({"devices", "trainer"} | {f"trainer.{key}" for key in ("accelerator", "num_nodes", "strategy")})


def main(arguments: Sequence[str]) -> int:
    """Run ``asd test run=RUN [out=DIR] [overrides]``; returns the exit status.

    Raises:
        UserError: no run given, or it has no checkpoint.
    """
    runs = [argument.removeprefix(_RUN) for argument in arguments if argument.startswith(_RUN)]
    outs = [argument.removeprefix(_OUT) for argument in arguments if argument.startswith(_OUT)]
    if len(runs) != 1 or len(outs) > 1:
        raise UserError("give the run to test: asd test run=runs/NAME [out=DIR] [model/scorer=... data.root=...]")
    overrides = [argument for argument in arguments if not argument.startswith((_RUN, _OUT))]
    retest(Path(runs[0]), overrides, Path(outs[0]) if outs else None)
    return 0


def retest(run: Path, overrides: Sequence[str] = (), out: Path | None = None) -> float:
    """Test the checkpoint of ``run`` again with its own configuration, changed by ``overrides``.

    Results go to ``out``; by default to ``results`` in the run's folder, or to ``results_2``, ``results_3``... where
    there are some already.

    Returns:
        The official score.

    Raises:
        UserError: the folder is not a run, or has no checkpoint.
    """
    hide_irrelevant_messages()
    results = out or _new_results(run)
    config = _configuration(run, overrides, results)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    changes = {name: value for name, value in plain(config.model).items() if name in _CHANGEABLE}
    module = load_module(run / CHECKPOINT, changes)
    with finishing_wandb():
        trainer = make_trainer(config, results)
        trainer.test(module, instantiate(config.data), verbose=False)
    if module.outcome is None:
        raise RuntimeError("the test ended without an outcome")
    return module.outcome.result.official_score


def _configuration(run: Path, overrides: Sequence[str], results: Path) -> DictConfig:
    recorded = run / ".hydra" / "overrides.yaml"
    if not recorded.is_file():
        raise UserError(f"{run}: not the folder of a run, .hydra/overrides.yaml is missing; give one of asd train")
    # As they were given: references to Hydra's choices mean something only in the composition.
    given: Any = OmegaConf.to_container(OmegaConf.load(recorded), resolve=False)
    of_run = [text for text in given if text.lstrip("+~").split("=")[0] not in _PLACE]
    # Logs go beside the results, not over those of the training.
    fixed = [
        f"name={run.name}",
        f"callbacks.results.directory={results}",
        *(f"~callbacks.{name}" for name in _TRAINING),
    ]
    return compose_train([*of_run, *overrides, *fixed], results)


def _new_results(run: Path) -> Path:
    candidates = (run / ("results" if number == 1 else f"results_{number}") for number in count(1))
    return next(folder for folder in candidates if not folder.exists())
