"""What a run needs of the computer it is started on, told before anything is decoded: weights, and Slurm's tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from shutil import which
from typing import Any

from omegaconf import DictConfig

from asd_lightning.configuration import CONF_DIR, compose_train, plain
from asd_lightning.errors import UserError

# Loggers whose packages are not among those that come with this one.
_LOGGER_PACKAGES = {"mlflow": "mlflow", "tensorboard": "tensorboard", "wandb": "wandb"}
_RANDOM = "random"
_SLURM_LAUNCHER = "hydra/launcher=submitit_slurm"
# Job names that Lightning takes for interactive jobs: it then ignores Slurm's tasks.
_INTERACTIVE = ("bash", "interactive")


def check_computer(arguments: Sequence[str], config: DictConfig | None) -> None:
    """Refuse a single run that cannot work on this computer. Sweeps pass, where there is what they ask: Slurm.

    Args:
        arguments: those of the command.
        config: what they make, as `asd_lightning.experiment.arguments.check_arguments` has composed it.

    Raises:
        UserError: weights, a logger's package or Slurm that are not on this machine, or another number of Slurm tasks
            than of processes.
    """
    _refuse_absent_slurm(arguments)
    if config is None or any(argument.startswith("-") for argument in arguments):
        return
    agree_with_slurm(config)
    _refuse_absent_packages(config)
    _refuse_absent_weights(config)


def _refuse_absent_slurm(arguments: Sequence[str]) -> None:
    if _SLURM_LAUNCHER in arguments and which("srun") is None:
        raise UserError(
            f"{_SLURM_LAUNCHER}: no Slurm here (srun is not on the PATH); hydra/launcher=submitit_local tries it on "
            "this computer"
        )


def agree_with_slurm(config: DictConfig) -> None:
    """Slurm starts the processes of a training: as many as it has devices.

    Raises:
        UserError: their numbers differ.
    """
    tasks = os.environ.get("SLURM_NTASKS", "")
    by_hand = os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE or "TORCHELASTIC_RUN_ID" in os.environ
    devices, nodes = config.trainer.get("devices"), config.trainer.get("num_nodes", 1)
    if not tasks.isdecimal() or by_hand or type(devices) is not int or devices < 1 or type(nodes) is not int:
        return
    processes = devices * nodes
    if int(tasks) != processes:
        raise UserError(
            f"SLURM_NTASKS={tasks}, and devices={devices}, trainer.num_nodes={nodes} make {processes}: start the run "
            f"with srun --ntasks={processes}, or set devices and trainer.num_nodes to what Slurm has; without srun, "
            "unset SLURM_NTASKS"
        )
    if int(tasks) > 1:
        # Lightning requires this variable, which Slurm sets only where ``--ntasks-per-node`` was given.
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(devices))


def _refuse_absent_packages(config: DictConfig) -> None:
    for name, package in _LOGGER_PACKAGES.items():
        if (config.get("logger") or {}).get(name) and find_spec(package) is None:
            raise UserError(f"logger={name}: the package {package} is not installed: pip install {package}")


def _refuse_absent_weights(config: DictConfig) -> None:
    names = sorted(set(_weights(plain(config.model))))
    if not names:
        return
    # Imported late, since it imports torch, which takes seconds.
    from asd_lightning.encoders.weights.checkpoints import find_weights

    for name in names:
        try:
            find_weights(name)
        except UserError as error:
            raise UserError(
                f"{error}. Without weights: {', '.join(f'experiment={name}' for name in _without_weights())}"
            ) from error


def _weights(node: Any) -> Iterator[str]:
    """Names of the weights in a configuration."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "weights" and isinstance(value, str) and value != _RANDOM:
                yield value
            else:
                yield from _weights(value)
    elif isinstance(node, list):
        for value in node:
            yield from _weights(value)


@cache
def _without_weights() -> list[str]:
    names = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
    return [name for name in names if not any(_weights(plain(compose_train([f"experiment={name}"]).model)))]
