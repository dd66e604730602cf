"""That one process listens with a journal, and no other beside it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from asd_lightning.errors import UserError


class Claim:
    """A lock on ``JOURNAL.lock``, which ends with the process, however that ends.

    It is SQLite's own lock, which every system has; the journal itself stays free for those who look into it.

    Args:
        journal: path of the journal.

    Raises:
        UserError: another listens with it.
    """

    def __init__(self, journal: Path) -> None:
        # A link to the journal is the same journal.
        place = journal.resolve()
        lock = place.with_name(f"{place.name}.lock")
        try:
            self._lock = sqlite3.connect(lock, timeout=0.0, isolation_level=None, check_same_thread=False)
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                self._lock.close()
                raise UserError(
                    f"{journal}: another asd watch listens with this journal; end that one, or name another with "
                    "--journal"
                ) from error
            raise UserError(f"{lock}: not usable as a lock ({error}); name another journal with --journal") from error

    def close(self) -> None:
        """Give it back."""
        self._lock.close()
