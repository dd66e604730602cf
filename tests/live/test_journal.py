"""All of a stretch is kept, or none of it."""

import sqlite3

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.events import Event
from asd_lightning.live.journal import Journal, JournalReader, Place
from asd_lightning.live.logic import State


def event(number, source="pump1", kind="alarm"):
    return Event(number, source, "pump", kind, float(number), "2026-01-01T00:00:00.000Z", score=3.0)


def test_what_is_kept_is_there_for_the_next_process(tmp_path):
    journal = Journal(tmp_path / "journal")
    assert journal.place("pump1") is None
    place = Place("pump", State(told="alarm", unfit=2), {"key": "a", "next": 3}, 12.5, 2, "print")
    journal.keep("pump1", place, [event(1), event(2)], heard=["a:1:2"])
    journal.close()
    again = Journal(tmp_path / "journal")
    assert again.place("pump1") == place
    assert again.was_heard("pump1", "a:1:2")
    assert not again.was_heard("pump2", "a:1:2")
    assert [row for row, _ in again.events()] == [1, 2]
    assert again.events(1) == [(2, event(2).line())]
    assert again.of_id("pump1-00000002") == (2, event(2).line())
    assert [again.of_id(name) for name in ("pump1-00000003", "?", "pump2-00000002", "-" + 30 * "9")] == [None] * 4
    assert again.mark == journal.mark != Journal(tmp_path / "other").mark
    assert again.mark.isalnum()


def test_a_recording_that_is_heard_again_stops_nothing(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.keep("pump1", Place("pump", events=1), [event(1)], heard=["a"])
    journal.keep("pump1", Place("pump", events=2), [event(2)], heard=["a", "b", "b"])
    assert journal.was_heard("pump1", "a")
    assert journal.was_heard("pump1", "b")
    assert journal.place("pump1").events == 2
    assert [row for row, _ in journal.events()] == [1, 2]


def test_a_journal_of_before_goes_on_and_its_new_events_have_its_mark(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.keep("pump1", Place("pump", events=1), [event(1)])
    journal.close()
    base = sqlite3.connect(tmp_path / "journal")
    base.executescript("DROP TABLE mark; PRAGMA user_version=2;")
    base.close()
    again = Journal(tmp_path / "journal")
    assert again.of_id("pump1-00000001") == (1, event(1).line())
    assert len(again.mark) == 6
    assert Journal(tmp_path / "journal").mark == again.mark


def test_a_stretch_that_fails_amid_leaves_nothing(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.keep("pump1", Place("pump", events=1), [event(1)])
    with pytest.raises(sqlite3.IntegrityError):
        journal.keep("pump1", Place("pump", events=3), [event(2), event(1)], heard=["b"])
    assert journal.place("pump1").events == 1
    assert len(journal.events()) == 1
    assert not journal.was_heard("pump1", "b")


def test_requests_wait_until_they_are_followed(tmp_path):
    journal = Journal(tmp_path / "journal")
    with pytest.raises(UserError, match="no input yet"):
        journal.ask("pump1", "acknowledge")
    journal.keep("pump1", Place("pump"), [])
    journal.ask("pump1", "shelve", 60.0)
    (request,) = journal.requests("pump1")
    assert (request.kind, request.seconds) == ("shelve", 60.0)
    journal.keep("pump1", Place("pump"), [], answered=[request])
    assert journal.requests("pump1") == []


def test_another_file_is_not_taken_for_a_journal(tmp_path):
    (tmp_path / "notes").write_text("not a database, and long enough to be looked at\n" * 30)
    with pytest.raises(UserError, match="not usable as a journal"):
        Journal(tmp_path / "notes")
    with pytest.raises(UserError, match="no journal there"):
        Journal.there(tmp_path / "nothing")
    base = sqlite3.connect(tmp_path / "later")
    base.execute("PRAGMA user_version=99")
    base.close()
    with pytest.raises(UserError, match="version 99"):
        Journal(tmp_path / "later")


def test_a_journal_that_another_begins_at_the_same_moment_is_waited_for(tmp_path, monkeypatch):
    """SQLite itself says at once that it is locked."""
    other = sqlite3.connect(tmp_path / "journal", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    monkeypatch.setattr("asd_lightning.live.journal.time.sleep", lambda _: other.close())
    journal = Journal(tmp_path / "journal")
    assert journal._base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()


def test_one_that_is_only_begun_is_none_for_those_who_read(tmp_path):
    (tmp_path / "journal").touch()
    with pytest.raises(UserError, match="no journal there"):
        JournalReader(tmp_path / "journal")


def test_one_that_stays_locked_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("asd_lightning.live.journal._PATIENCE", 0.1)
    other = sqlite3.connect(tmp_path / "journal", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match=r"not usable as a journal \(database is locked\)"):
        Journal(tmp_path / "journal")
    other.close()


def test_deliveries_are_of_one_sink_each(tmp_path):
    journal = Journal(tmp_path / "journal")
    journal.mark_delivered("a", 3)
    journal.mark_delivered("a", 4)
    assert (journal.delivered("a"), journal.delivered("b")) == (4, 0)
