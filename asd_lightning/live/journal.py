"""What was heard and said so far, on disk: after a kill at any moment nothing is said twice and nothing is lost.

One SQLite file.  What one stretch of sound has changed (events, state of the logic, place in the input) is one
transaction: all of it is there after a restart, or none of it, and then the stretch is heard again where the input
still has it.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from asd_lightning.detector.drift import DriftState
from asd_lightning.errors import UserError
from asd_lightning.live.events import Event
from asd_lightning.live.logic import State

_VERSION = 3
_TABLES = """
CREATE TABLE input(source TEXT PRIMARY KEY, machine TEXT NOT NULL, origin TEXT NOT NULL, state TEXT NOT NULL,
    place TEXT NOT NULL, position REAL NOT NULL, events INTEGER NOT NULL, previous TEXT NOT NULL, drift TEXT NOT NULL);
CREATE TABLE event(row INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, number INTEGER NOT NULL,
    line TEXT NOT NULL, UNIQUE(source, number));
CREATE TABLE heard(source TEXT NOT NULL, file TEXT NOT NULL, PRIMARY KEY(source, file)) WITHOUT ROWID;
CREATE TABLE delivery(sink TEXT PRIMARY KEY, row INTEGER NOT NULL);
CREATE TABLE request(row INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, kind TEXT NOT NULL,
    seconds REAL NOT NULL);
"""
# Version 2 had none; its events keep their ids.
_MARK = "CREATE TABLE mark(mark TEXT NOT NULL)"
# Another process that looks into the journal is waited for so long, in s.
_PATIENCE = 30.0
# Between two looks, in s.
_LOOK = 0.01
# In digits: SQLite counts no further.
_LONGEST_NUMBER = 18
_NONE = "{path}: no journal there; asd watch says --journal, or DETECTOR.journal by default"


@dataclass(frozen=True)
class Place:
    """Where an input stands.

    Attributes:
        machine: which is heard there.
        state: of the logic.
        place: what the input needs to go on, plain data.
        position: seconds of sound heard.
        events: number of its last event.
        previous: fingerprint of the last window.
        drift: state of the drift test.
        origin: where the sound comes from, such as a folder's path.
    """

    machine: str
    state: State = field(default_factory=State)
    place: dict[str, Any] = field(default_factory=dict)
    position: float = 0.0
    events: int = 0
    previous: str = ""
    drift: DriftState = field(default_factory=DriftState)
    origin: str = ""


class Request(NamedTuple):
    """Somebody asks: ``acknowledge``, or ``shelve`` for some seconds (0: no longer)."""

    row: int
    source: str
    kind: str
    seconds: float


class JournalReader:
    """A journal that is only looked into: nothing of it is changed, and whoever writes it does not notice.

    Args:
        path: of the file.

    Raises:
        UserError: there is none, or it is something else.
    """

    _base: sqlite3.Connection

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(_NONE.format(path=path))
        try:
            self._base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
            # In this order: tables and version come at once, maybe between the two.
            (tables,) = self._base.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        if version == tables == 0:
            # Whoever makes it has the file, and not yet what is in it.
            self.close()
            raise UserError(_NONE.format(path=path))
        if version not in (_VERSION - 1, _VERSION):
            self.close()
            raise _other_version(path, version)

    def close(self) -> None:
        """Close the file."""
        self._base.close()

    def events(self, after: int = 0, at_most: int = 1000) -> list[tuple[int, str]]:
        """Events as lines of JSON with the number of their row, oldest first, after a row."""
        query = "SELECT row, line FROM event WHERE row > ? ORDER BY row LIMIT ?"
        return list(self._base.execute(query, (after, at_most)))

    def left(self, after: int) -> int:
        """Events after a row."""
        return int(self._base.execute("SELECT COUNT(*) FROM event WHERE row > ?", (after,)).fetchone()[0])

    def of_id(self, event_id: str) -> tuple[int, str] | None:
        """Row and line of an event by its id; ``None`` where there is no such event."""
        number = event_id.rpartition("-")[2]
        if not number.isdecimal() or len(number) > _LONGEST_NUMBER:
            return None
        rows = self._base.execute("SELECT row, line FROM event WHERE number = ?", (int(number),))
        return next(((row, line) for row, line in rows if json.loads(line)["id"] == event_id), None)

    def row_before(self, last: int) -> int:
        """Row after which the last so many events come."""
        query = "SELECT row FROM event ORDER BY row DESC LIMIT 1 OFFSET ?"
        row = self._base.execute(query, (last,)).fetchone()
        return 0 if row is None else int(row[0])


class Journal(JournalReader):
    """The journal in one file; every thread opens its own.

    Attributes:
        mark: letters and digits by chance, that ids of its events have and those of no other journal.

    Args:
        path: of the file; it is made where there is none.
        other_threads: it is made in one thread and used in another.

    Raises:
        UserError: the file is something else, or cannot be opened.
    """

    def __init__(self, path: Path, other_threads: bool = False) -> None:
        self.path = path
        try:
            self._base = sqlite3.connect(
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=not other_threads
            )
            self._write_ahead()
            self._base.execute("PRAGMA synchronous=FULL")
            self._prepare()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error

    @classmethod
    def there(cls, path: Path) -> Journal:
        """A journal that exists.

        Raises:
            UserError: there is none, or it is something else.
        """
        if not path.is_file():
            raise UserError(_NONE.format(path=path))
        return cls(path)

    def _write_ahead(self) -> None:
        """Readers and a writer do not wait for one another then.

        SQLite itself does not wait where several make the same new journal at once: one of them is told at once that it
        is locked.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                self._base.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                # What stands above a byte says why it is busy.
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
            time.sleep(_LOOK)

    def _prepare(self) -> None:
        with self._transaction():
            (version,) = self._base.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for table in filter(str.strip, _TABLES.split(";")):
                    self._base.execute(table)
            if version in (0, _VERSION - 1):
                self._base.execute(_MARK)
                self._base.execute("INSERT INTO mark VALUES (?)", (secrets.token_hex(3),))
                self._base.execute(f"PRAGMA user_version={_VERSION}")
            elif version != _VERSION:
                raise _other_version(self.path, version)
            (self.mark,) = self._base.execute("SELECT mark FROM mark").fetchone()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def place(self, source: str) -> Place | None:
        """Where an input stands; ``None`` where it was never heard."""
        row = self._base.execute(
            "SELECT machine, origin, state, place, drift, position, events, previous FROM input WHERE source = ?",
            (source,),
        ).fetchone()
        if row is None:
            return None
        machine, origin, state, place, drift, position, events, previous = row
        kept = State.from_dict(json.loads(state)), json.loads(place), position, events, previous
        return Place(machine, *kept, DriftState.from_dict(json.loads(drift)), origin)

    def was_heard(self, source: str, file: str) -> bool:
        """Whether a recording was heard to its end."""
        query = "SELECT 1 FROM heard WHERE source = ? AND file = ?"
        return self._base.execute(query, (source, file)).fetchone() is not None

    def keep(
        self,
        source: str,
        place: Place,
        events: Sequence[Event],
        heard: Sequence[str] = (),
        answered: Sequence[Request] = (),
    ) -> None:
        """Everything that a stretch of sound has changed, at once.

        Args:
            source: the input.
            place: where it stands now.
            events: what is said.
            heard: recordings that were heard to their end.
            answered: requests that were followed.

        Raises:
            sqlite3.Error: it could not be written (a full disk, for example); nothing has changed then.
        """
        with self._transaction():
            self._base.execute(
                "INSERT OR REPLACE INTO input VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(source, place.machine, place.origin),
                    *(json.dumps(place.state.to_dict()), json.dumps(place.place)),
                    *(place.position, place.events, place.previous, json.dumps(asdict(place.drift))),
                ),
            )
            rows = [(event.source, event.number, event.line()) for event in events]
            self._base.executemany("INSERT INTO event(source, number, line) VALUES (?, ?, ?)", rows)
            self._base.executemany("INSERT OR IGNORE INTO heard VALUES (?, ?)", [(source, key) for key in heard])
            self._base.executemany("DELETE FROM request WHERE row = ?", [(request.row,) for request in answered])

    def delivered(self, sink: str) -> int:
        """Row of the last event that a sink has taken; 0 before the first."""
        row = self._base.execute("SELECT row FROM delivery WHERE sink = ?", (sink,)).fetchone()
        return 0 if row is None else int(row[0])

    def mark_delivered(self, sink: str, row: int) -> None:
        """A sink has taken all events up to ``row``."""
        self._base.execute("INSERT OR REPLACE INTO delivery VALUES (?, ?)", (sink, row))

    def ask(self, source: str, kind: str, seconds: float = 0.0) -> None:
        """Leave a request for whoever listens to the input.

        Raises:
            UserError: the journal knows no such input.
        """
        known = [name for (name,) in self._base.execute("SELECT source FROM input ORDER BY source")]
        if source not in known:
            raise UserError(f"{source}: the journal {self.path} knows {', '.join(known) or 'no input yet'}")
        self._base.execute("INSERT INTO request(source, kind, seconds) VALUES (?, ?, ?)", (source, kind, seconds))

    def requests(self, source: str) -> list[Request]:
        """What was asked and not yet followed."""
        query = "SELECT row, source, kind, seconds FROM request WHERE source = ? ORDER BY row"
        return [Request(*row) for row in self._base.execute(query, (source,))]


def _unusable(path: Path, error: sqlite3.Error) -> UserError:
    return UserError(f"{path}: not usable as a journal ({error}); name another with --journal")


def _other_version(path: Path, version: int) -> UserError:
    return UserError(
        f"{path}: a journal of version {version}, and {_VERSION} is what is read here; name another with --journal"
    )
