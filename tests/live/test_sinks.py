"""Every event reaches every sink, in order, whatever happens to the sink."""

import csv
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal, Place
from asd_lightning.live.sinks import COLUMNS, Csv, JsonLines, Webhook, feed
from tests.live.test_journal import event


@pytest.fixture
def journal(tmp_path):
    """The path of a journal with five events."""
    path = tmp_path / "journal"
    journal = Journal(path)
    journal.keep("pump1", Place("pump", events=5), [event(number) for number in range(1, 6)])
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
    for size in (len(whole) - 3, len(",".join(COLUMNS)) + 1, 5, 0):
        path.write_bytes(whole[:size])
        Journal(journal).mark_delivered(Csv(path).name, 0)
        feed(Csv(path), journal, ended())
        assert path.read_bytes() == whole


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


@pytest.fixture
def server():
    """An address, what was posted to it, and the statuses that it answers with, 200 by default."""
    posted, statuses = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"])).decode()
            posted.append((self.path, self.headers["Idempotency-Key"], content))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            pass

    running = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/hook", posted, statuses
    running.shutdown()


def test_events_are_posted_until_they_are_taken(journal, server, monkeypatch):
    address, posted, statuses = server
    statuses += [200, 503, 302]
    for _ in range(3):
        feed(Webhook(address), journal, ended())
    ids = [json.loads(line)["id"] for line in lines_of(journal)]
    assert [key for _, key, _ in posted] == [ids[0], ids[1], ids[1], *ids[1:]]
    assert [content for _, _, content in posted[-4:]] == lines_of(journal)[1:]
    assert {path for path, _, _ in posted} == {"/hook"}


@pytest.mark.parametrize("address", ["ftp://host/x", "file:///etc/passwd", "host", "http:///x"])
def test_an_address_of_another_kind_is_refused(address):
    with pytest.raises(UserError, match="http:// or https://"):
        Webhook(address)


def test_the_name_of_an_address_has_no_password():
    assert "secret" not in Webhook("https://me:secret@host/x?key=secret").name
