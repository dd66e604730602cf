"""The command, with a detector and recordings."""

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import threading
import time

import numpy as np
import pytest
import soundfile

from asd_lightning.cli import main
from asd_lightning.detector.actions import accept, calibrate
from asd_lightning.detector.detector import Detector
from asd_lightning.live.claim import Claim
from asd_lightning.live.journal import Journal
from asd_lightning.live.levels import drift_of, left_out_windows, levels_of
from tests.detector.sounds import RATE, hum, whine, write
from tests.forked import Forked, python_of_libraries, run_forked
from tests.live.plant import unmarked

DAY = 1_700_000_000


def write_day(folder, faults=(6, 7, 8, 9), files=14):
    """Recordings of two seconds, of which some have a fault."""
    for number in range(files):
        make = whine if number in faults else hum
        path = folder / f"{number:02d}.wav"
        write(path, np.concatenate([make(500 + 2 * number), make(501 + 2 * number)]))
        os.utime(path, (DAY + number, DAY + number))


def events_of(path):
    """Half a line at the end is one that is being written."""
    whole, _, _ = path.read_text().rpartition("\n") if path.exists() else ("", "", "")
    return [json.loads(line) for line in whole.splitlines()]


def arrives(sound, path):
    """A recording comes into the folder that is heard, whole and finished a while ago: nothing is to be waited for.

    A writer that is held up leaves half of one alone.
    """
    coming = write(path.parent.with_name("coming") / path.name, sound)
    os.utime(coming, (time.time() - 10,) * 2)
    coming.rename(path)


def kinds(events):
    return [event["kind"] for event in events]


@pytest.fixture
def day(tmp_path):
    write_day(tmp_path / "in")
    return tmp_path


def watch(folder, pump, *options):
    words = ["watch", pump / "pump.asd", "--input", f"p1={folder / 'in'}", "--journal", folder / "journal", "--once"]
    return main([*map(str, words), "-o", str(folder / "events.jsonl"), *options])


def test_a_fault_of_some_recordings_begins_and_ends(day, pump, capsys):
    assert watch(day, pump, "--csv", str(day / "events.csv"), "--excerpts", str(day / "sound")) == 0
    events = events_of(day / "events.jsonl")
    assert kinds(events)[0] == "started"
    levels = [event for event in events if event["kind"] in ("warning", "alarm", "normal")]
    assert levels[0]["file"] == "06.wav"
    assert (levels[-1]["kind"], levels[-1]["file"]) == ("normal", "11.wav")
    assert "alarm" in kinds(levels)
    alarm = next(event for event in levels if event["kind"] == "alarm")
    (judged,) = Detector.load(pump / "pump.asd").judge([day / "in" / alarm["file"]])
    assert alarm["score"] in [pytest.approx(window.score, rel=1e-5) for window in judged.windows]
    assert (day / "sound" / alarm["excerpt"]).is_file()
    rows = (day / "events.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [event["id"] for event in events]
    before = (day / "events.jsonl").read_bytes()
    assert watch(day, pump) == 0
    assert (day / "events.jsonl").read_bytes() == before


def test_a_level_by_false_alarms_a_day_is_told(day, pump, capsys):
    assert watch(day, pump, "--false-alarms-a-day", "0", "--hop", "0.5") == 0
    error = capsys.readouterr().err
    assert "p1: alarms above" in error
    assert "too little normal sound to promise 0 a day" in error
    assert "windows that overlap (--hop) were not counted" in error
    machine = Detector.load(pump / "pump.asd").machines_["pump"]
    left_out = left_out_windows(machine, 1.0)
    scores, names, ends = left_out
    # Each clip is a recording of one window here: the same scores as the promise rests on.
    np.testing.assert_allclose(np.sort(scores), machine.normal.scores)
    assert len(set(names)) == len(names) == len(ends)
    np.testing.assert_allclose(ends, np.arange(1.0, len(names) + 1))
    levels = levels_of(machine)
    assert levels.release < levels.warning <= levels.alarm
    assert drift_of(left_out).clips == 2000


def test_windows_that_overlap_are_heard_in_their_order(day, pump):
    assert watch(day, pump, "--hop", "0.5") == 0
    told = next(event for event in events_of(day / "events.jsonl") if event["kind"] in ("warning", "alarm"))
    detector = Detector.load(pump / "pump.asd")
    machine, above = detector.machines_["pump"], []
    for number, start in itertools.product(range(14), (0.0, 0.5, 1.0)):
        waveform = soundfile.read(day / "in" / f"{number:02d}.wav", dtype="float32")[0]
        window = waveform[round(start * RATE) : round((start + 1.0) * RATE)]
        (judged,) = detector.judge([window])
        above.append(judged.score > machine.promise.warning)
        if sum(above[-3:]) >= 2:
            break
    assert (told["file"], told["offset"]) == (f"{number:02d}.wav", start)
    assert told["score"] == pytest.approx(judged.score, rel=1e-5)
    assert told["position"] == 2 * number + start + 1.0
    assert heard(day / "journal") == 28.0


def test_a_bar_is_not_drawn_for_each_stretch(day, pump, monkeypatch):
    drawn = []
    monkeypatch.setattr("asd_lightning.detector.judging.shown", lambda items, words: drawn.append(words) or items)
    assert watch(day, pump) == 0
    assert drawn == []
    Detector.load(pump / "pump.asd").judge([day / "in" / "00.wav"])
    assert drawn == ["listening"]


def test_two_folders_of_one_name_do_not_share_a_place(day, pump, capsys):
    write_day(day / "other" / "in", files=2)
    words = ["watch", str(pump / "pump.asd"), "--journal", str(day / "journal"), "--once", "--input"]
    assert main([*words, str(day / "in")]) == 0
    capsys.readouterr()
    assert main([*words, str(day / "other" / "in")]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert f"in was {day / 'in'} so far, and is {day / 'other' / 'in'} now; give the input a name" in error
    assert main([*words, f"other={day / 'other' / 'in'}"]) == 0
    assert heard(day / "journal", "other") == 4.0
    assert main([*words, str(day / "in")]) == 0


def test_recordings_that_are_there_give_the_same_events(day, pump, capsys):
    assert watch(day, pump) == 0
    capsys.readouterr()
    files = sorted(map(str, (day / "in").iterdir()))
    assert main(["score", str(pump / "pump.asd"), *files, "--events"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    live = events_of(day / "events.jsonl")[1:]
    names = ("kind", "position", "score", "threshold", "offset", "time")
    assert [[event[name] for name in names] for event in told] == [[event[name] for name in names] for event in live]
    assert main(["score", str(pump / "pump.asd"), files[0], "--events"]) == 0
    assert main(["score", str(pump / "pump.asd"), files[0], "--events", "--json"]) == 2


def test_what_is_asked_meanwhile_is_followed(day, pump, capsys):
    assert watch(day, pump) == 0
    journal = str(day / "journal")
    assert main(["shelve", journal, "p1", "--minutes", "1"]) == 0
    assert main(["acknowledge", journal, "p1"]) == 0
    assert [line.partition(", as soon")[0].partition(";")[0] for line in capsys.readouterr().out.splitlines()] == [
        "p1: silent for 1 min of sound",
        "p1: seen",
    ]
    assert main(["acknowledge", journal, "p2"]) == 2
    write(day / "in" / "99.wav", hum(999))
    os.utime(day / "in" / "99.wav", (DAY + 99, DAY + 99))
    assert watch(day, pump) == 0
    assert kinds(events_of(day / "events.jsonl"))[-1] == "shelved"


def test_a_detector_that_is_written_anew_judges_at_once(day, pump, tmp_path):
    copy = tmp_path / "pump.asd"
    copy.write_bytes((pump / "pump.asd").read_bytes())
    words = ["watch", str(copy), "--input", f"p1={day / 'in'}", "-o", str(tmp_path / "out.jsonl")]
    process = Forked(words, tmp_path)
    try:
        journal = tmp_path / "pump.asd.journal"
        wait(lambda: heard(journal) == 28)
        write(tmp_path / "more" / "new.wav", hum(7777))
        accept(copy, tmp_path / "more" / "new.wav", machine="pump")
        wait(lambda: kinds(events_of(tmp_path / "out.jsonl"))[-1:] == ["detector"])
        # No sound is passed over, and none is heard again.
        arrives(hum(8888), day / "in" / "more.wav")
        wait(lambda: heard(journal) == 29)
        calibrate(copy, [tmp_path / "more" / "new.wav", day / "in" / "more.wav"], machine="pump")
        wait(lambda: kinds(events_of(tmp_path / "out.jsonl")).count("detector") == 2)
        arrives(hum(9999), day / "in" / "most.wav")
        wait(lambda: heard(journal) == 30)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        assert process.so_far().endswith("asd: ended; the journal keeps where it was\n")
    finally:
        if process.poll() is None:
            process.kill()


def test_killed_three_times_a_day_the_events_are_those_of_a_whole_day(day, pump, tmp_path):
    assert watch(day, pump) == 0
    expected = list(map(unmarked, events_of(day / "events.jsonl")[1:]))
    words = ["watch", pump / "pump.asd", "--input", f"p1={day / 'in'}", "--journal", tmp_path / "second", "--once"]
    words += ["-o", tmp_path / "second.jsonl"]
    for position in (5, 13, 21):
        kill_at(position, tmp_path / "second", Forked(words, tmp_path))
    assert run_forked(words, tmp_path).returncode == 0
    again = list(map(unmarked, events_of(tmp_path / "second.jsonl")[1:]))
    assert again == expected


def kill_at(position, journal, process):
    wait(lambda: heard(journal) >= position or process.poll() is not None, every=0.02)
    process.kill()
    process.wait()


def heard(path, name="p1"):
    place = Journal(path).place(name) if path.exists() else None
    return 0.0 if place is None else place.position


def wait(true, seconds=600.0, every=0.1):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(every)


def test_raw_samples_from_a_pipe(pump, tmp_path):
    samples = np.concatenate([hum(1), hum(2), *(whine(300 + number) for number in range(4))])
    words = ["watch", str(pump / "pump.asd"), "--input", "-", "--journal", str(tmp_path / "journal")]
    content = (samples * 32767).astype("<i2").tobytes()
    done = subprocess.run(
        [python_of_libraries(), "-m", "asd_lightning.cli", *words], input=content, capture_output=True, check=True
    )
    events = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert kinds(events)[0] == "started"
    assert "alarm" in kinds(events)
    assert {event["source"] for event in events} == {"stream"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--input", "in", "--on", "3/2"], "3 of 2 windows"),
        (["--input", "in", "--on", "few"], "write M/N"),
        (["--input", "a/x", "--input", "b/x"], "two are called x"),
        (["--input", "in", "--machine", "y=pump"], "there is no such input"),
        (["--input", "in", "--machine", "fan"], "the detector knows pump"),
        (["--input", "a b=in"], "letters, digits"),
        (["--input", "a+=in"], "letters, digits"),
        (["--input", "a\nb=in"], "letters, digits"),
        (["--input", "in", "--excerpts", "in/sound"], "is in the folder that is heard"),
        (["--input", "in", "--excerpts", "notes"], "--excerpts notes: is no folder"),
        (["--input", "p="], "--input p=: names no place"),
        (["--input", ""], "names no place"),
        (["--input", "nowhere", "--once"], "no such folder"),
        (["--input", "in", "--webhook", "x"], "http:// or https://"),
        (["--input", "in", "--hop", "99"], "hop_seconds=99"),
        (["--input", "in", "--false-alarms-a-day", "-1"], "0 or more"),
        (["--input", "in", "--journal", "in"], "not usable as a journal"),
        (["--input", "a=-", "--input", "b=-"], "standard input can be heard once"),
        (["--input", "in", "--metrics", "99999"], "port is not to be had"),
        (["--input", "in", "-o", "journal"], "is the detector or its journal"),
    ],
)
def test_mistakes_are_one_line(tmp_path, pump, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "notes").write_text("mine")
    if "--journal" not in words:
        words = [*words, "--journal", "journal"]
    assert main(["watch", str(pump / "pump.asd"), *words]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.strip().splitlines()) == 1


def test_what_no_sink_has_taken_is_told(day, pump, capsys):
    assert watch(day, pump, "--webhook", "http://127.0.0.1:9/") == 1
    assert "event(s) wait in the journal for webhook:http://127.0.0.1:9/" in capsys.readouterr().err


def test_a_second_watch_on_a_journal_is_refused(day, pump, capsys):
    claim = Claim(day / "journal")
    assert watch(day, pump) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert "another asd watch listens with this journal" in error
    assert not (day / "events.jsonl").exists()
    claim.close()
    assert watch(day, pump) == 0


def test_events_that_the_journal_did_not_take_are_told_at_the_end(day, pump, capsys, monkeypatch):
    keep = Journal.keep

    def full(self, source, place, events, *others):
        if any(event.kind != "started" for event in events):
            raise sqlite3.OperationalError("database or disk is full")
        keep(self, source, place, events, *others)

    monkeypatch.setattr(Journal, "keep", full)
    assert watch(day, pump) == 1
    assert "event(s) could not be written to" in capsys.readouterr().err


def test_threads_end_with_their_watch(day, pump):
    # One of an earlier test may end meanwhile.
    before = set(threading.enumerate())
    watch(day, pump)
    assert set(threading.enumerate()) <= before
    assert Detector.load(pump / "pump.asd").hearing_.preprocessing.sample_rate == RATE


def test_the_line_on_a_terminal_has_no_score_before_there_is_one():
    """It said `normal nan`."""
    from asd_lightning.commands.watch import _of_now
    from asd_lightning.live.journal import Place
    from asd_lightning.live.listener import Status

    assert _of_now(Status(Place("pump"))) == "normal, no score"
    assert _of_now(Status(Place("pump"), score=1.25)) == "normal 1.25"
