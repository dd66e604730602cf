"""Events of a journal that somebody else writes."""

import asyncio
import itertools
import json
import sqlite3
import threading

import httpx
import pytest

from asd_lightning.live.events import Event
from asd_lightning.live.journal import Journal, Place
from asd_lightning.serving import events, routes
from tests.serving.conftest import HERE, asking, served


def told(journal, *numbers):
    """Write events as asd watch does."""
    made = [
        Event(number, "pump1", "pump", "alarm", float(number), "2026-01-01T00:00:12Z", journal=journal.mark)
        for number in numbers
    ]
    journal.keep("pump1", Place("pump", events=numbers[-1]), made)
    return [one.id for one in made]


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path / "a journal?#%.db")
    yield made
    made.close()


@pytest.fixture
def ask(own, journal):
    return asking(served(own, journal=journal.path))


def test_events_are_those_of_the_file_newest_last(ask, journal):
    assert ask("GET", "/api/v1/events").json() == []
    ids = told(journal, *range(1, 8))
    rows = sqlite3.connect(journal.path).execute("SELECT line FROM event ORDER BY row").fetchall()
    lines = [json.loads(line) for (line,) in rows]
    assert [one["id"] for one in lines] == ids
    for query, expected in [
        ({}, lines),
        ({"limit": 3}, lines[-3:]),
        ({"after": ids[4]}, lines[5:]),
        ({"after": ids[1], "limit": 2}, lines[2:4]),
        ({"after": ids[-1]}, []),
    ]:
        assert ask("GET", "/api/v1/events", params=query).json() == expected
    for unknown in ("pump1-000000-00000001", "x", "", "pump1-9", "-" + "9" * 100, "a\x00b"):
        answer = ask("GET", "/api/v1/events", params={"after": unknown})
        assert (answer.status_code, "no such event" in answer.json()["error"]) == (404, True)


def test_the_journal_is_only_read(ask, journal):
    told(journal, 1)
    journal._base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = journal.path.read_bytes()
    assert len(ask("GET", "/api/v1/events").json()) == 1
    with events._opened(journal.path) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._base.execute("DELETE FROM event")
    assert journal.path.read_bytes() == before
    told(journal, 2)
    assert len(ask("GET", "/api/v1/events").json()) == 2


def test_what_is_no_journal_is_told(own):
    path = own.with_name("own.asd.journal")
    ask = asking(served(own))
    for route in ("events", "events/stream"):
        answer = ask("GET", f"/api/v1/{route}")
        assert (answer.status_code, "own.asd.journal: no journal there" in answer.json()["error"]) == (404, True)
        assert str(own.parent) not in answer.text
    assert not path.exists()
    path.write_text("no journal")
    assert "not usable as a journal" in ask("GET", "/api/v1/events").json()["error"]
    path.unlink()
    sqlite3.connect(path).execute("CREATE TABLE event(row)")
    assert "a journal of version 0" in ask("GET", "/api/v1/events").json()["error"]


def test_a_stream_tells_what_comes_and_ends_with_the_server(journal, monkeypatch):
    monkeypatch.setattr(events, "_EVERY", 0.001)
    monkeypatch.setattr(events, "_SILENCE", 0.002)
    ids = told(journal, 1, 2)
    stopping = threading.Event()

    async def listen():
        heard = []
        async for part in events.stream(journal.path, events.newest(journal.path, ids[0]), stopping):
            if part.startswith(":"):
                # Between events something is sent all the same.
                if len(heard) == 1:
                    ids.extend(told(journal, 3))
                continue
            name, data, *end = part.split("\n")
            assert end == ["", ""]
            assert json.loads(data.removeprefix("data: "))["id"] == name.removeprefix("id: ")
            heard.append(name.removeprefix("id: "))
            if len(heard) == 2:
                stopping.set()
        return heard

    assert asyncio.run(listen()) == ids[1:]
    assert events.newest(journal.path, None) == 3


def test_streams_have_an_end_however_many_come_at_once(own, journal, monkeypatch):
    monkeypatch.setattr(routes, "_MOST_STREAMS", 2)
    monkeypatch.setattr(events, "_EVERY", 0.001)
    app = served(own, journal=journal.path)
    service = app.app.state.service

    async def all_at_once():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
            asked = [asyncio.create_task(client.get("/api/v1/events/stream")) for _ in range(6)]
            # Those that are let in go on until the server ends; without a limit all would.
            refused = [await one for one in itertools.islice(asyncio.as_completed(asked, timeout=600), 4)]
            open_now = service.streams
            service.stopping.set()
            return refused, open_now, [await one for one in asked]

    refused, open_now, answers = asyncio.run(all_at_once())
    assert {(one.status_code, one.headers["Retry-After"]) for one in refused} == {(503, "5")}
    assert (open_now, service.streams) == (2, 0)
    assert sorted(one.status_code for one in answers) == [200] * 2 + [503] * 4


def test_a_stream_whose_client_is_gone_at_once_gives_its_place_back(own, journal):
    app = served(own, journal=journal.path)

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/api/v1/events/stream", "query_string": b"", "client": None}
    asyncio.run(app(scope | {"headers": [(b"host", b"localhost")], "http_version": "1.1"}, gone, send))
    assert app.app.state.service.streams == 0
