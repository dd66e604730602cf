"""One change of a detector's file at a time, by whichever process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asd_lightning.atomic import open_unlinked, refuse_link, refuse_unwritable
from asd_lightning.errors import UserError

# Writing takes far less.
PATIENCE_SECONDS = 30.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep all others who lock the same file out, and wait for one who has it; a kill unlocks it too.

    The lock is a file beside ``path``, which is removed at the end; one that a kill has left is used again.

    Args:
        path: of a detector, which need not be there yet.

    Raises:
        UserError: the lock is a link, nothing can be written there, or another process has held it for too long.
    """
    refuse_unwritable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    place = path.with_name(f".{path.name}.lock")
    while True:
        with _held(place) as own:
            if own:
                yield
                return


@contextmanager
def _held(place: Path) -> Iterator[bool]:
    """Lock ``place``; false where another has removed it meanwhile, so that the lock keeps nobody out."""
    from filelock import FileLock, Timeout

    refuse_link(place)
    lock = FileLock(place)
    try:
        # Open throughout, so that no other file has its number; made with the umask's rights, for other users too.
        with open_unlinked(place, "ab") as file:
            lock.acquire(timeout=PATIENCE_SECONDS)
            own = _is_at(place, file.fileno())
    except Timeout:
        raise UserError(f"{place}: another process has held this lock for long; end that one") from None
    except OSError as error:
        raise UserError(f"{place}: not usable as a lock ({os.strerror(error.errno or 0)}); remove it") from error
    try:
        yield own
    finally:
        if own:
            # Before it is given back: whoever waits for it sees that it is gone. Windows removes no open file.
            with suppress(OSError):
                place.unlink()
        lock.release()


def _is_at(place: Path, number: int) -> bool:
    try:
        return os.path.samestat(place.stat(follow_symlinks=False), os.fstat(number))
    except FileNotFoundError:
        return False
