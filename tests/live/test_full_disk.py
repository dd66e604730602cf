"""A disk that is really full: of the journal, of the events' file, of excerpts."""

import json
import subprocess
import sys
import threading

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.excerpts import Excerpts
from asd_lightning.live.journal import Journal
from asd_lightning.live.listener import Listener, Source
from asd_lightning.live.sinks import Csv, JsonLines, feed
from asd_lightning.live.watch import Watch
from tests.live.broker import until
from tests.live.plant import Scores, around, unmarked
from tests.live.test_listener import DAY, OPTIONS, told
from tests.live.test_sinks import ended
from tests.live.test_sinks import journal as journal

# The detector is none.
pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def disk(tmp_path):
    """A disk of half a megabyte of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk of one's own can be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk):
    """Until not a byte more is taken."""
    with (disk / "filling").open("ab", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def whole_day(folder):
    folder.mkdir()
    Listener(Source("pump1", "pump", Scores(DAY)), around(folder, options=OPTIONS)).run(threading.Event())
    return told(folder / "journal", start=False)


class Filled(Scores):
    """The disk is full from one stretch to another."""

    def __init__(self, scores, disk, full, free):
        super().__init__(scores)
        self.disk, self.full, self.free = disk, full, free

    def stretches(self, place, was_heard):
        for number, stretch in enumerate(super().stretches(place, was_heard)):
            if number == self.full:
                fill(self.disk)
            if number == self.free:
                (self.disk / "filling").unlink()
            yield stretch


def test_events_of_a_time_when_the_journals_disk_was_full_are_written_and_sent_later_and_once(tmp_path, disk, caplog):
    expected = whole_day(tmp_path / "whole")
    source = Source("pump1", "pump", Filled(DAY, disk, full=2, free=8))
    sinks = [JsonLines(disk / "events.jsonl"), Csv(tmp_path / "events.csv")]
    Watch([source], around(disk, options=OPTIONS), sinks).run()
    assert told(disk / "journal", start=False) == expected
    sent = [json.loads(line) for line in (disk / "events.jsonl").read_text().splitlines()]
    assert [unmarked(event) for event in sent[1:]] == expected
    assert len((tmp_path / "events.csv").read_text().splitlines()) == len(sent) + 1
    assert "listening goes on" in caplog.text


def test_a_disk_that_stays_full_ends_nothing_and_the_count_says_so(tmp_path, disk):
    source = Source("pump1", "pump", Filled(DAY, disk, full=2, free=99))
    watch = Watch([source], around(disk, options=OPTIONS), [Csv(tmp_path / "events.csv")])
    watch.run()
    # After the start: a warning in the first two stretches is written, and all else waits.
    assert watch.status()["pump1"].unwritten == 7
    assert watch.status()["pump1"].windows == len(DAY)


def test_a_table_whose_head_finds_no_room_is_begun_later(tmp_path, disk, journal, caplog):
    feed(Csv(tmp_path / "events"), journal, ended())
    fill(disk)
    path, stop = disk / "events", threading.Event()
    feeding = threading.Thread(target=feed, args=(Csv(path), journal, stop), daemon=True)
    feeding.start()
    until(lambda: "No space left" in caplog.text)
    (disk / "filling").unlink()
    until(lambda: path.read_bytes() == (tmp_path / "events").read_bytes())
    stop.set()
    feeding.join()


@pytest.mark.parametrize("kind", [JsonLines, Csv])
def test_no_line_is_cut_or_doubled_by_a_full_disk(tmp_path, disk, journal, kind, caplog):
    feed(kind(tmp_path / "events"), journal, ended())
    expected = (tmp_path / "events").read_bytes()
    path, stop = disk / "events", threading.Event()
    with path.open("wb") as file:
        # What is left of a page takes a part of a line.
        head = b"" if kind is JsonLines else expected[: expected.index(b"\n") + 1]
        file.write(head)
    fill(disk)
    feeding = threading.Thread(target=feed, args=(kind(path), journal, stop), daemon=True)
    feeding.start()
    # A part of a line was taken and cut off again; or the page has room for all of them.
    until(lambda: "No space left" in caplog.text or path.read_bytes() == expected)
    (disk / "filling").unlink()
    until(lambda: path.read_bytes() == expected)
    stop.set()
    feeding.join()
    assert path.read_bytes() == expected


def test_events_are_told_without_their_sound_where_its_disk_is_full(tmp_path, disk, caplog):
    fill(disk)
    excerpts = Excerpts(disk / "sound")
    listener = Listener(Source("pump1", "pump", Scores(DAY)), around(tmp_path, options=OPTIONS, excerpts=excerpts))
    listener.run(threading.Event())
    events = told(tmp_path / "journal")
    assert len(events) == 9
    assert not any(event["excerpt"] for event in events)
    assert "no sound is kept" in caplog.text
    assert not (disk / "sound").exists() or not list((disk / "sound").iterdir())


def test_a_journal_that_cannot_be_begun_is_one_line(disk):
    fill(disk)
    with pytest.raises(UserError, match="not usable as a journal"):
        Journal(disk / "journal")
