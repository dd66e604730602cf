"""The Ray cluster that works: a running one by ``RAY_ADDRESS``, else this machine's cores for as long as the call."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from asd_lightning.errors import UserError

# A shard to be is a text of some kB; what is done already takes 16 bytes a recording.
_OBJECT_STORE_BYTES = 512 << 20
# Decoding takes a core, and the embedder of one worker leaves a GPU idle meanwhile.
_WORKERS_OF_GPU = 4
_STARTS = 3


class Workers(NamedTuple):
    """How many workers, and what part of a GPU each has (0.0: none)."""

    processes: int
    gpus: float


def refuse_without_ray() -> None:
    """Raise UserError where Ray Data cannot be imported."""
    if any(importlib.util.find_spec(name) is None for name in ("ray", "pyarrow")):
        raise UserError("--engine ray needs Ray Data: pip install 'asd_lightning[ray]'")


@contextmanager
def connected() -> Iterator[Any]:
    """The module ``ray``, connected; a cluster that a program has connected to already is used, and left as it is.

    Raises:
        UserError: nothing answers at ``RAY_ADDRESS``.
    """
    # Before the import: Ray reads them once.  Nothing is sent to its makers.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # What its own threads say is in its logs (/tmp/ray), and an error is raised.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield ray
        return
    _start(ray, os.environ.get("RAY_ADDRESS"))
    try:
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, address: str | None) -> None:
    if address:
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"RAY_ADDRESS={address}: no Ray cluster answers there ({' '.join(str(error).split())[:200]}); start "
                "one, or unset it for this machine's cores"
            ) from error
        return
    told = ""
    for _ in range(_STARTS):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="ERROR",
            )
            return
        # Ray gives a node half a minute, which a busy machine does not start one in, and then raises a bare Exception.
        except Exception as error:
            told = " ".join(str(error).split())[:200]
            ray.shutdown()
    raise UserError(f"Ray does not start on this machine ({told}); give the command again when it is less busy")


def workers(resources: dict[str, float], embedder_has_weights: bool) -> Workers:
    """As many as there are cores; where there are GPUs and weights to compute with, some for each GPU.

    Args:
        resources: of the cluster, as ``ray.cluster_resources()`` gives them.
        embedder_has_weights: whether the embedder is a network.
    """
    cores, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if gpus and embedder_has_weights:
        return Workers(max(gpus, min(cores, _WORKERS_OF_GPU * gpus)), 1 / _WORKERS_OF_GPU)
    return Workers(max(cores, 1), 0.0)
