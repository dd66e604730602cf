"""One training at a time in a run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from asd_lightning.atomic import refuse_link
from asd_lightning.errors import UserError
from asd_lightning.run_folder import CHECKPOINT, LOCK

# Whoever looks whether a training is going on holds the lock for a moment.
_PATIENCE_SECONDS = 0.3
# Set by Lightning, torchrun and Slurm for the processes of one training.
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


class OccupiedError(UserError):
    """Another training is going on in the folder."""


def is_first_process() -> bool:
    """Whether this is the one process of several that makes and locks their folder."""
    return all(os.environ.get(rank, "0") == "0" for rank in _RANKS)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Lock the folder; the first process of a training does so for the others, and its end, by a kill too, unlocks it.

    An unfinished checkpoint of a killed training is removed: with full encoders it has some GB.

    Raises:
        OccupiedError: another training holds it.
        UserError: the lock is a link.
    """
    if not is_first_process():
        yield
        return
    refuse_link(folder / LOCK)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=_PATIENCE_SECONDS)
    except Timeout:
        raise OccupiedError(
            f"{folder}: another training is going on in it; wait for its end, or choose another name="
        ) from None
    try:
        for leftover in (folder / CHECKPOINT).parent.glob(f".{Path(CHECKPOINT).name}.*.tmp"):
            leftover.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
