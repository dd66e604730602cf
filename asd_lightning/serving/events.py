"""What a running ``asd watch`` has told, out of its journal, which is only read."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from asd_lightning.errors import UserError
from asd_lightning.live.journal import JournalReader

# Looked into so often, and something is sent at least so often, in s.
_EVERY, _SILENCE = 1.0, 15.0


def events(path: Path, after: str | None, limit: int) -> list[dict[str, Any]]:
    """Events, newest last: those after one, or the last ones.

    Args:
        path: of the journal.
        after: id of an event.
        limit: how many at most.

    Raises:
        HTTPException: 404, where there is no journal or no such event.
    """
    with _opened(path) as journal:
        row = journal.row_before(limit) if after is None else _row_of(journal, after)
        return [json.loads(line) for _, line in journal.events(row, limit)]


async def stream(path: Path, row: int, stopping: Event) -> AsyncIterator[str]:
    """Server-sent events: those after a row, as they come, until the server ends.

    Args:
        path: of the journal.
        row: of the last event that is known.
        stopping: set when the server ends.
    """
    silent = 0.0
    yield ": asd\n\n"
    while not stopping.is_set():
        found = await run_in_threadpool(_after, path, row)
        for number, line in found:
            row = number
            yield f"id: {json.loads(line)['id']}\ndata: {line}\n\n"
        silent = 0.0 if found else silent + _EVERY
        if silent >= _SILENCE:
            silent = 0.0
            yield ": asd\n\n"
        await asyncio.sleep(_EVERY)


def newest(path: Path, after: str | None) -> int:
    """Row of an event by its id, by default of the newest.

    Raises:
        HTTPException: 404, where there is no journal or no such event.
    """
    with _opened(path) as journal:
        return journal.row_before(0) if after is None else _row_of(journal, after)


def _after(path: Path, row: int) -> list[tuple[int, str]]:
    """None where the journal is gone for the moment."""
    try:
        with _opened(path) as journal:
            return journal.events(row)
    except (HTTPException, sqlite3.Error):
        return []


def _opened(path: Path) -> closing[JournalReader]:
    try:
        return closing(JournalReader(path))
    except UserError as error:
        raise HTTPException(404, str(error).replace(str(path), path.name)) from error


def _row_of(journal: JournalReader, event_id: str) -> int:
    found = journal.of_id(event_id)
    if found is None:
        raise HTTPException(404, f"after={event_id:.80}: the journal has no such event")
    return found[0]
