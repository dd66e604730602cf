"""Where events go: each sink takes them from the journal in its own time, so that a slow one holds nothing up.

A sink gets every event at least once and in order; what it has taken is marked in the journal.  An event has the same
``id`` however often it comes.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Protocol, runtime_checkable

from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal

log = logging.getLogger(__name__)

# Between two looks into the journal, in s.
_PAUSE = 0.2
_LONGEST_PAUSE = 60.0
# In bytes; an event's line is far shorter.
_LONGEST_LINE = 1_000_000


@runtime_checkable
class Sink(Protocol):
    """Takes events."""

    name: str

    def recover(self, journal: Journal) -> None:
        """Before the first event: mark what was taken and not marked before a kill."""
        ...

    def deliver(self, line: str) -> None:
        """Take one event, a line of JSON.

        Raises:
            OSError: not now; it is tried again.
        """
        ...


def feed(sink: Sink, journal_path: Path, stop: threading.Event) -> None:
    """Give a sink all events, those from before too, until ``stop`` is set and all are taken.

    Args:
        sink: takes them.
        journal_path: of the journal.
        stop: an unreachable sink is not waited for then: its events stay in the journal.
    """
    journal = Journal(journal_path)
    pause, taken, marked, recovered = _PAUSE, 0, 0, False
    while True:
        ending = stop.is_set()
        try:
            if not recovered:
                sink.recover(journal)
                taken = marked = journal.delivered(sink.name)
                recovered = True
            rows = journal.events(taken)
            for row, line in rows:
                sink.deliver(line)
                # A full disk keeps the mark from being written, and what was taken is not given again for that.
                taken = row
                marked = _marked(journal, sink.name, taken, marked)
            marked = _marked(journal, sink.name, taken, marked)
            pause = _PAUSE
        except (OSError, sqlite3.Error) as error:
            pause = min(2 * pause, _LONGEST_PAUSE)
            log.warning("%s: %s; tried again in %.1f s", sink.name, error, pause)
            if ending:
                break
        else:
            if ending and not rows:
                break
        stop.wait(pause)
    journal.close()


def _marked(journal: Journal, name: str, taken: int, marked: int) -> int:
    """The row that the journal knows as taken now; one more attempt comes with the next event."""
    if taken != marked:
        try:
            journal.mark_delivered(name, taken)
        except sqlite3.Error as error:
            log.warning("%s: what it has taken is not written (%s); tried again", name, error)
            return marked
    return taken


class JsonLines:
    """A file of JSON lines; a line that a kill has cut is written anew.

    Args:
        path: appended to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"json:{path.absolute()}"

    def recover(self, journal: Journal) -> None:
        """Cut off half a line, and find the last whole one in the journal."""
        last, size = _whole(self.path, '{"id": "')
        if last is None:
            _cut(self.path, size)
            return
        try:
            found = journal.of_id(str(json.loads(last)["id"]))
        except (ValueError, KeyError, TypeError):
            found = None
        if found is None or found[1] != last:
            raise UserError(f"{self.path}: its last line is no event of the journal; name another file")
        _cut(self.path, size)
        if found[0] > journal.delivered(self.name):
            journal.mark_delivered(self.name, found[0])

    def deliver(self, line: str) -> None:
        """Append a line."""
        _append(self.path, line + "\n")


COLUMNS = (
    *("id", "time", "source", "machine", "kind", "position", "state", "score", "threshold"),
    *("file", "offset", "excerpt", "note"),
)


class Csv:
    """A table, one row an event.

    Args:
        path: appended to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"csv:{path.absolute()}"

    def recover(self, journal: Journal) -> None:
        """Cut off half a row, and find the last whole one in the journal."""
        last, size = _whole(self.path, ",".join(COLUMNS))
        if last is None:
            _cut(self.path, size)
            _append(self.path, ",".join(COLUMNS) + "\n")
            return
        found = journal.of_id(last.split(",", 1)[0])
        if last != (",".join(COLUMNS) if found is None else _row(found[1])):
            raise UserError(
                f"{self.path}: its last row is no event of the journal, or has other columns; name another file"
            )
        _cut(self.path, size)
        if found is not None and found[0] > journal.delivered(self.name):
            journal.mark_delivered(self.name, found[0])

    def deliver(self, line: str) -> None:
        """Append a row."""
        _append(self.path, _row(line) + "\n")


class Standard:
    """Standard output, for another program or a person; a restart may repeat the last line."""

    name = "standard output"

    def __init__(self) -> None:
        self._line, self._rest = "", b""

    def recover(self, journal: Journal) -> None:
        """Nothing is known of what was read."""

    def deliver(self, line: str) -> None:
        """Print a line; the rest of one that was not taken whole goes first."""
        if line != self._line or not self._rest:
            self._line, self._rest = line, f"{line}\n".encode()
        # Without a buffer, which would keep what was refused and write it twice.
        raw = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        while self._rest:
            self._rest = self._rest[raw.write(self._rest) :]


def _row(line: str) -> str:
    """An event as a row of the table, without its end."""
    event = json.loads(line)
    text = io.StringIO()
    # A line end in a note or in a file's name, of whatever kind, would be a row of its own.
    csv.writer(text, lineterminator="").writerow(
        " ".join(str(event[name]).splitlines()) if event.get(name) is not None else "" for name in COLUMNS
    )
    return text.getvalue()


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a buffer: what a full disk did not take must not be written when the file is closed.
    with path.open("ab", buffering=0) as file:
        before, rest = file.tell(), memoryview(text.encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError:
            # Half a line must not stay before the next.
            os.truncate(path, before)
            raise


def _whole(path: Path, begins: str) -> tuple[str | None, int]:
    """The last line that has its end (``None``: there is none), and the size of the file up to it.

    Args:
        path: need not be there.
        begins: how a first line that a kill has cut would begin.

    Raises:
        UserError: not a file of lines.
    """
    if not path.exists():
        return None, 0
    if not path.is_file():
        raise UserError(f"{path}: not a file that events can be appended to; name another")
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - _LONGEST_LINE, 0))
        tail = file.read(_LONGEST_LINE)
    whole = tail.rfind(b"\n") + 1
    rest = tail[whole:].decode("utf-8", "replace")
    if not whole and (size >= _LONGEST_LINE or not (begins.startswith(rest) or rest.startswith(begins))):
        raise UserError(f"{path}: its last line is no event of the journal; name another file")
    # By this end alone: a name may have another kind of line end in it.
    last = tail[:whole].removesuffix(b"\n").split(b"\n")[-1].decode("utf-8", "replace")
    return (last if whole else None), size - (len(tail) - whole)


def _cut(path: Path, size: int) -> None:
    """Remove half a line, when it is known whose file it is."""
    if path.exists() and path.stat().st_size > size:
        os.truncate(path, size)
