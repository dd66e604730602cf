"""Every event reaches every sink, in order, whatever happens to the sink."""

import csv
import itertools
import json
import sqlite3
import threading
import types
from dataclasses import replace

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal, Place
from asd_lightning.live.sinks import COLUMNS, Csv, JsonLines, Standard, feed
from tests.live.broker import PATIENCE, until
from tests.live.test_journal import event


@pytest.fixture
def journal(tmp_path):
    """The path of a journal with five events."""
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.keep("pump1", Place("pump", events=5), [replace(event(number), state="slow") for number in range(1, 6)])
    journal.close()
    return path


def ended():
    stop = threading.Event()
    stop.set()
    return stop


def lines_of(journal):
    return [line for _, line in Journal(journal).events()]


class Flaky:
    name = "flaky"

    def __init__(self, fails):
        self.fails, self.taken = set(fails), []

    def recover(self, journal):
        pass

    def deliver(self, line):
        if len(self.taken) in self.fails:
            self.fails.remove(len(self.taken))
            raise OSError("gone")
        self.taken.append(line)


def test_a_sink_that_fails_gets_the_same_event_again(journal, monkeypatch):
    monkeypatch.setattr("asd_lightning.live.sinks._PAUSE", 0.0)
    sink, stop = Flaky([0, 3]), threading.Event()
    taken = sink.deliver

    def until_all(line):
        taken(line)
        if len(sink.taken) == 5:
            stop.set()

    sink.deliver = until_all
    feed(sink, journal, stop)
    assert sink.taken == lines_of(journal)
    assert Journal(journal).delivered("flaky") == 5


def test_an_unreachable_sink_is_not_waited_for_at_the_end(journal):
    sink = Flaky([2])
    feed(sink, journal, ended())
    assert len(sink.taken) == 2
    feed(sink, journal, ended())
    assert sink.taken == lines_of(journal)


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_lines_are_whole_and_once_after_a_kill_amid_one(tmp_path, journal, cut):
    path = tmp_path / "out" / "events.jsonl"
    feed(JsonLines(path), journal, ended())
    whole = path.read_bytes()
    assert whole.decode().splitlines() == lines_of(journal)
    # A kill amid the fourth line, before it was marked; what came before was marked or not.
    three = sum(len(line) + 1 for line in lines_of(journal)[:3])
    for marked in (1, 3):
        path.write_bytes(whole[: three + cut])
        Journal(journal).mark_delivered(JsonLines(path).name, marked)
        feed(JsonLines(path), journal, ended())
        assert path.read_bytes() == whole


def test_rows_are_whole_and_once_after_a_kill_amid_one(tmp_path, journal):
    path = tmp_path / "events.csv"
    feed(Csv(path), journal, ended())
    whole = path.read_bytes()
    rows = list(csv.DictReader(whole.decode().splitlines()))
    assert [row["id"] for row in rows] == [json.loads(line)["id"] for line in lines_of(journal)]
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["threshold"] == ""
    assert [row["position"] for row in rows] == ["1.0", "2.0", "3.0", "4.0", "5.0"]
    assert {row["state"] for row in rows} == {"slow"}
    for size in (len(whole) - 3, len(",".join(COLUMNS)) + 1, 5, 0):
        path.write_bytes(whole[:size])
        Journal(journal).mark_delivered(Csv(path).name, 0)
        feed(Csv(path), journal, ended())
        assert path.read_bytes() == whole


def test_a_line_that_is_written_in_part_is_taken_back(tmp_path):
    resource = pytest.importorskip("resource")
    path, line = tmp_path / "events.jsonl", event(1).line()
    JsonLines(path).deliver(line)
    whole = path.read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            JsonLines(path).deliver(line)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == whole
    JsonLines(path).deliver(line)
    assert path.read_bytes() == 2 * whole


@pytest.mark.parametrize("kind", [JsonLines, Csv])
@pytest.mark.parametrize(
    "content", [b"my notes\nmore\n", b"my notes\nmore", b"notes", b"\x00" * 2_000_000, b"a\n" + b"\x00" * 99]
)
def test_a_file_of_something_else_is_left_alone(tmp_path, journal, kind, content):
    path = tmp_path / "notes"
    path.write_bytes(content)
    with pytest.raises(UserError, match="no event of the journal"):
        feed(kind(path), journal, ended())
    assert path.read_bytes() == content
    with pytest.raises(UserError, match="not a file"):
        feed(kind(tmp_path), journal, ended())


@pytest.mark.parametrize("kind", [JsonLines, Csv])
def test_a_file_of_another_journal_is_left_alone(tmp_path, journal, kind):
    """One of its events has the same id, as those of older journals have."""
    path, other = tmp_path / "events", tmp_path / "other"
    feed(kind(path), journal, ended())
    content = path.read_bytes()
    second = Journal(other)
    second.keep("pump1", Place("pump", events=5), [replace(event(number), score=4.0) for number in range(1, 6)])
    second.close()
    with pytest.raises(UserError, match="no event of the journal"):
        feed(kind(path), other, ended())
    assert path.read_bytes() == content


def test_a_table_with_other_columns_is_left_alone(tmp_path, journal):
    path = tmp_path / "events.csv"
    for content in ("id,time\n", "id,time\npump1-00000002,2026-01-01T00:00:00.000Z\n"):
        path.write_text(content)
        with pytest.raises(UserError, match="or has other columns"):
            feed(Csv(path), journal, ended())
        assert path.read_text() == content


@pytest.mark.parametrize("kind", [JsonLines, Csv])
@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\r", "\x0c", "\x1e", "\n", "\r\n"])
def test_a_line_end_in_a_name_is_none(tmp_path, kind, sign):
    path, journal = tmp_path / "events", Journal(tmp_path / "journal")
    first, second = (replace(event(number), file=f"a{sign}b.wav", note=f"x{sign}y") for number in (1, 2))
    for number, one in enumerate((first, second), start=1):
        journal.keep("pump1", Place("pump", events=number), [one])
        feed(kind(path), tmp_path / "journal", ended())
    assert len(path.read_text().splitlines()) == (2 if kind is JsonLines else 3)
    if kind is Csv:
        assert "a b.wav" in path.read_text()


class Slow:
    """Takes nothing until it may."""

    name = "slow"

    def __init__(self):
        self.may, self.taken = threading.Event(), []

    def recover(self, journal):
        pass

    def deliver(self, line):
        assert self.may.wait(PATIENCE)
        self.taken.append(line)


def test_a_slow_sink_holds_up_no_other(tmp_path, journal):
    slow, quick, stop = Slow(), Flaky([]), threading.Event()
    threads = [threading.Thread(target=feed, args=(sink, journal, stop), daemon=True) for sink in (slow, quick)]
    for thread in threads:
        thread.start()
    until(lambda: len(quick.taken) == 5)
    assert slow.taken == []
    slow.may.set()
    stop.set()
    for thread in threads:
        thread.join()
    assert slow.taken == quick.taken == lines_of(journal)


def test_what_a_full_disk_keeps_from_being_marked_is_given_once(journal, monkeypatch, caplog):
    mark, count = Journal.mark_delivered, itertools.count()

    def full(self, *arguments):
        if next(count) < 3:
            raise sqlite3.OperationalError("database or disk is full")
        mark(self, *arguments)

    monkeypatch.setattr(Journal, "mark_delivered", full)
    sink = Flaky([])
    feed(sink, journal, ended())
    assert sink.taken == lines_of(journal)
    assert Journal(journal).delivered("flaky") == 5
    assert "is not written (database or disk is full)" in caplog.text


def test_a_line_that_standard_output_took_in_part_is_ended_and_not_repeated(monkeypatch):
    taken = []

    class Narrow:
        """Takes ten bytes, and then nothing for a moment."""

        def write(self, content):
            if len(taken) % 2:
                taken.append(b"")
                raise OSError("No space left on device")
            taken.append(bytes(content[:10]))
            return len(taken[-1])

    monkeypatch.setattr("sys.stdout", types.SimpleNamespace(buffer=types.SimpleNamespace(raw=Narrow())))
    sink = Standard()
    for line in ("a line that is longer", "another"):
        for _ in range(9):
            try:
                sink.deliver(line)
            except OSError:
                continue
            break
    assert b"".join(taken) == b"a line that is longer\nanother\n"
