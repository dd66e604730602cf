"""From windows to the journal: interrupted anywhere, with a full disk, with a new detector."""

import itertools
import json
import sqlite3
import threading

import numpy as np
import pytest
from scipy.io import wavfile

from asd_lightning.errors import UserError
from asd_lightning.live.current import InUse
from asd_lightning.live.excerpts import Excerpts
from asd_lightning.live.journal import Journal
from asd_lightning.live.latch import LatchOptions
from asd_lightning.live.levels import LeftOut
from asd_lightning.live.listener import Listener, Source
from asd_lightning.live.logic import Options
from asd_lightning.live.sinks import Csv, JsonLines
from asd_lightning.live.watch import Watch
from tests.live.plant import ListeningDetector, Now, Scores, around, unmarked
from tests.live.test_sinks import Slow

# The detector is none.
pytestmark = pytest.mark.usefixtures("unchecked")
DAY = [
    0.1,
    0.1,
    1.5,
    1.5,
    3.0,
    3.0,
    0.1,
    0.1,
    -1.0,
    -1.0,
    -1.0,
    0.1,
    0.1,
    0.1,
    -2.0,
    -2.0,
    0.1,
    0.1,
    3.0,
    3.0,
    3.0,
    0.1,
]
OPTIONS = Options(LatchOptions(2, 2, 2), LatchOptions(2, 2, 2), unfit=2, still=2)


def source(scores, name="pump1", machine="pump", **options):
    return Source(name, machine, Scores(scores, **options))


def told(journal, start=True):
    events = [json.loads(line) for _, line in Journal(journal).events()]
    return [unmarked(event) for event in events if start or event["kind"] != "started"]


def raw(journal):
    """Events with the journal's mark in their names."""
    return [json.loads(line) for _, line in Journal(journal).events()]


def hear(folder, scores, **changes):
    listener = Listener(source(scores), around(folder, options=OPTIONS, **changes))
    listener.run(threading.Event())
    return told(folder / "journal")


class KilledError(Exception):
    pass


def test_a_day_in_events(tmp_path):
    events = hear(tmp_path, DAY)
    assert [(event["kind"], event["position"]) for event in events] == [
        ("started", 0.0),
        ("warning", 4.0),
        ("alarm", 6.0),
        ("normal", 8.0),
        ("cannot judge", 10.0),
        ("judging", 13.0),
        ("not running", 16.0),
        ("running", 18.0),
        ("alarm", 20.0),
    ]
    mark = Journal(tmp_path / "journal").mark
    ids = [json.loads(line)["id"] for _, line in Journal(tmp_path / "journal").events()]
    assert ids == [f"pump1-{mark}-{number:08d}" for number in range(1, 10)]
    assert "journal" not in events[0]
    alarm = events[2]
    assert (alarm["score"], alarm["threshold"], alarm["file"], alarm["offset"]) == (3.0, 2.0, "day.wav", 5.0)
    assert alarm["time"] == "1970-01-01T00:16:45.000Z"


def test_interrupted_before_and_after_any_write_the_events_are_those_of_an_uninterrupted_day(tmp_path, monkeypatch):
    (tmp_path / "whole").mkdir()
    expected = hear(tmp_path / "whole", DAY)[1:]
    keep = Journal.keep
    for stretch, after in itertools.product(range(1, len(DAY) // 2 + 1), (False, True)):
        folder = tmp_path / f"{stretch}{after}"
        folder.mkdir()
        count = itertools.count()

        def killed(self, *arguments, stretch=stretch, after=after, count=count, **named):
            dies = next(count) == stretch
            if not dies or after:
                keep(self, *arguments, **named)
            if dies:
                raise KilledError

        monkeypatch.setattr(Journal, "keep", killed)
        with pytest.raises(KilledError):
            hear(folder, DAY)
        monkeypatch.setattr(Journal, "keep", keep)
        assert hear(folder, DAY)[1:] == expected


def test_what_a_full_disk_does_not_take_is_written_later_and_once(tmp_path, monkeypatch, caplog):
    (tmp_path / "whole").mkdir()
    expected = hear(tmp_path / "whole", DAY)[1:]
    keep, count = Journal.keep, itertools.count()

    def full(self, *arguments, **named):
        if 2 <= next(count) < 7:
            raise sqlite3.OperationalError("database or disk is full")
        keep(self, *arguments, **named)

    monkeypatch.setattr(Journal, "keep", full)
    assert hear(tmp_path, DAY)[1:] == expected
    assert "1 event(s) are not written (database or disk is full); listening goes on" in caplog.text


def test_a_new_detector_judges_from_the_next_stretch_on(tmp_path):
    now = Now()
    listener = Listener(source([1.5] * 8), around(tmp_path, options=OPTIONS, detector=now))
    take, count = listener._take, itertools.count()

    def changed(stretch):
        if next(count) == 2:
            now.in_use = InUse(ListeningDetector(alarm=1.2), 1, "written anew")
        take(stretch)

    listener._take = changed
    listener.run(threading.Event())
    events = told(tmp_path / "journal")
    assert [event["kind"] for event in events] == ["started", "warning", "detector", "alarm"]
    assert events[2]["note"] == "written anew"


def test_requests_are_followed_between_windows(tmp_path):
    listener = Listener(source(DAY), around(tmp_path, options=OPTIONS))
    Journal(tmp_path / "journal").ask("pump1", "shelve", 15.0)
    listener.run(threading.Event())
    kinds = [event["kind"] for event in told(tmp_path / "journal")]
    assert kinds == ["started", "shelved", "cannot judge", "judging", "unshelved", "not running", "running", "alarm"]
    assert Journal(tmp_path / "journal").requests("pump1") == []


def test_what_is_asked_of_an_input_without_new_sound_is_followed(tmp_path):
    hear(tmp_path, DAY)
    Journal(tmp_path / "journal").ask("pump1", "shelve", 60.0)
    Journal(tmp_path / "journal").ask("pump1", "acknowledge")
    events = hear(tmp_path, DAY)
    assert [event["kind"] for event in events[9:]] == ["shelved", "acknowledged"]
    assert Journal(tmp_path / "journal").requests("pump1") == []


@pytest.mark.parametrize("seconds", [3e11, -3e11])
def test_a_recording_of_an_impossible_time_is_heard(tmp_path, seconds):
    class Old(Scores):
        def stretches(self, place, was_heard):
            for stretch in super().stretches(place, was_heard):
                yield stretch._replace(time=seconds)

    Listener(Source("pump1", "pump", Old([3.0] * 4)), around(tmp_path, options=OPTIONS)).run(threading.Event())
    start, alarm = told(tmp_path / "journal")
    assert alarm["time"] == ("9999-12-31T23:59:59.000Z" if seconds > 0 else "0001-01-01T00:00:00.000Z")
    assert start["kind"] == "started"


def test_the_sound_of_events_is_kept_and_the_oldest_goes(tmp_path):
    excerpts = Excerpts(tmp_path / "sound", largest=600)
    events = hear(tmp_path, DAY, excerpts=excerpts)
    with_sound = [event for event in raw(tmp_path / "journal") if event["excerpt"]]
    assert len(events) == 9
    assert [event["kind"] for event in with_sound] == ["warning", "alarm", "alarm"]
    assert sorted(path.name for path in (tmp_path / "sound").iterdir()) == [
        event["excerpt"] for event in with_sound[-2:]
    ]
    rate, samples = wavfile.read(tmp_path / "sound" / with_sound[-1]["excerpt"])
    assert (rate, len(samples)) == (1000, 100)


def test_an_event_whose_sound_cannot_be_kept_is_told_all_the_same(tmp_path, caplog):
    (tmp_path / "sound").write_text("in the way")
    events = hear(tmp_path, DAY, excerpts=Excerpts(tmp_path / "sound"))
    assert len(events) == 9
    assert not any(event["excerpt"] for event in events)
    assert "no sound is kept" in caplog.text


def test_an_input_that_repeats_its_samples_cannot_be_judged(tmp_path):
    class Stuck(Scores):
        def stretches(self, place, was_heard):
            first = next(super().stretches(place, was_heard))
            yield from [first] * 4

    Listener(Source("pump1", "pump", Stuck([0.1, 0.1], 1)), around(tmp_path, options=OPTIONS)).run(threading.Event())
    assert [event["kind"] for event in told(tmp_path / "journal")] == ["started", "cannot judge"]
    assert "stands still" in told(tmp_path / "journal")[1]["note"]


def test_windows_of_a_machine_are_scored_once_for_all_its_inputs_and_changes_again(tmp_path, monkeypatch):
    scored = []

    def left_out(machine, seconds):
        scored.append(machine)
        return LeftOut(np.linspace(0.0, 0.9, 60), [str(number) for number in range(60)], np.arange(1.0, 61.0))

    monkeypatch.setattr("asd_lightning.live.prepared.left_out_windows", left_out)
    detector, now = ListeningDetector(("pump", "fan")), Now(ListeningDetector(("pump", "fan")))
    now.in_use = InUse(detector, 0, "")
    shared = around(tmp_path, detector=now, a_day=1.0)
    listeners = [
        Listener(source([0.1] * 4, name, machine), shared)
        for name, machine in (("a", "pump"), ("b", "pump"), ("c", "fan"), ("d", "pump"))
    ]
    assert scored == [detector.machines_["pump"], detector.machines_["fan"]]
    assert len({listener.found for listener in listeners}) == 1
    fresh = ListeningDetector(("pump", "fan"))
    now.in_use = InUse(fresh, 1, "written anew")
    for listener in listeners:
        listener.run(threading.Event())
    assert scored[2:] == [fresh.machines_["pump"], fresh.machines_["fan"]]


def test_a_new_detector_that_cannot_be_used_leaves_the_one_before(tmp_path, monkeypatch):
    def left_out(machine, seconds):
        if machine is unusable.machines_["pump"]:
            raise UserError("there is one recording")
        return LeftOut(np.linspace(0.0, 0.9, 60), [str(number) for number in range(60)], np.arange(1.0, 61.0))

    monkeypatch.setattr("asd_lightning.live.prepared.left_out_windows", left_out)
    unusable, now = ListeningDetector(alarm=99.0), Now()
    listener = Listener(source([0.1, 0.1, 3.0, 3.0]), around(tmp_path, detector=now, a_day=1.0))
    now.in_use = InUse(unusable, 1, "written anew")
    listener.run(threading.Event())
    events = told(tmp_path / "journal")
    assert [event["kind"] for event in events] == ["started", "detector", "alarm"]
    assert events[1]["note"] == "the detector from before goes on: there is one recording"


def test_an_input_that_nobody_has_named_is_of_one_folder(tmp_path, caplog):
    def heard(origin, named):
        input_ = Source("in", "pump", Scores(DAY), origin, named)
        Listener(input_, around(tmp_path)).run(threading.Event())

    heard("/plant/a/in", named=False)
    heard("/plant/a/in", named=False)
    with pytest.raises(UserError, match=r"in was /plant/a/in so far, and is /plant/b/in now; give the input a name"):
        heard("/plant/b/in", named=False)
    assert caplog.text == ""
    heard("/plant/b/in", named=True)
    assert "in: was /plant/a/in so far, and goes on with /plant/b/in" in caplog.text
    heard("/plant/b/in", named=False)


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a+", "#", 'a"b', "a\nb", "a" * 101])
def test_names_of_inputs_are_parts_of_topics_and_file_names(tmp_path, name):
    with pytest.raises(UserError, match="letters, digits, - _ and") as caught:
        Watch([source(DAY, name=name)], around(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_machine_of_any_name_is_watched(tmp_path):
    odd = 'Pümpe "A"/1+#\n\\'
    detector = ListeningDetector((odd,))
    excerpts = Excerpts(tmp_path / "sound")
    watch = Watch(
        [source(DAY, machine=odd)],
        around(tmp_path, detector=Now(detector), options=OPTIONS, excerpts=excerpts),
        [JsonLines(tmp_path / "events.jsonl"), Csv(tmp_path / "events.csv")],
    )
    watch.run()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["machine"] for event in events} == {odd}
    assert len(events) == 9
    assert len((tmp_path / "events.csv").read_text().splitlines()) == 10
    assert len(list((tmp_path / "sound").iterdir())) == 3


def test_a_sink_that_is_stuck_does_not_keep_a_watch_from_ending(tmp_path, monkeypatch):
    monkeypatch.setattr("asd_lightning.live.watch._LONG_PATIENCE", 0.2)
    stuck = Slow()
    watch = Watch([source(DAY)], around(tmp_path, options=OPTIONS), [stuck, JsonLines(tmp_path / "events.jsonl")])
    watch.run()
    assert watch.waiting() == {"slow": 9}
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 9
    stuck.may.set()


def test_recordings_of_ones_own_beside_excerpts_stay(tmp_path):
    sound = tmp_path / "sound"
    sound.mkdir()
    mine = {"mine.wav", "pump-2024.wav", "pump-20261127.wav", "pump1-4f2a91-20261127.wav", "notes.txt"}
    for name in mine:
        (sound / name).write_bytes(bytes(5000))
    hear(tmp_path, DAY, excerpts=Excerpts(sound, largest=600))
    kept = {path.name for path in sound.iterdir()}
    assert kept >= mine
    assert kept - mine == {
        event["excerpt"] for event in [event for event in raw(tmp_path / "journal") if event["excerpt"]][-2:]
    }


def test_two_journals_that_share_a_folder_of_excerpts_leave_each_others_alone(tmp_path):
    sound, contents = tmp_path / "sound", {}
    for name, scores in (("a", DAY), ("b", [0.5, *DAY])):
        (tmp_path / name).mkdir()
        hear(tmp_path / name, scores, excerpts=Excerpts(sound, largest=600))
        found = {path.name: path.read_bytes() for path in sound.iterdir()}
        assert found | contents == found
        contents = found
    assert len(contents) == 4


def test_other_sound_of_an_excerpts_name_is_not_written_over(tmp_path):
    excerpts, first, other = Excerpts(tmp_path), np.zeros(9, np.float32), np.ones(9, np.float32)
    assert excerpts.keep("pump1-4f2a91-00000001", first, 1000) == "pump1-4f2a91-00000001.wav"
    kept = (tmp_path / "pump1-4f2a91-00000001.wav").read_bytes()
    # After a kill the same event is found again.
    assert excerpts.keep("pump1-4f2a91-00000001", first, 1000) == "pump1-4f2a91-00000001.wav"
    assert excerpts.keep("pump1-4f2a91-00000001", other, 1000) == "pump1-4f2a91-00000001-2.wav"
    assert (tmp_path / "pump1-4f2a91-00000001.wav").read_bytes() == kept
    excerpts.largest = 1
    excerpts.make_room("4f2a92")
    assert len(list(tmp_path.iterdir())) == 2
    excerpts.make_room("4f2a91")
    assert len(list(tmp_path.iterdir())) == 1


def test_drift_is_told_once_across_a_restart_and_again_of_a_new_detector(tmp_path, monkeypatch):
    """Of scores a little higher than the enrolled ones, none of which is above a level."""
    rng = np.random.default_rng(0)
    enrolled = LeftOut(rng.normal(0.3, 0.05, 60), [str(number) for number in range(60)], np.arange(60.0))
    monkeypatch.setattr("asd_lightning.live.prepared.left_out_windows", lambda *_: enrolled)
    scores = [*rng.normal(0.3, 0.05, 40), *rng.normal(0.6, 0.05, 40)]
    for end in (60, 80):
        Listener(source(scores[:end]), around(tmp_path, drift=True)).run(threading.Event())
    events = told(tmp_path / "journal")
    assert [event["kind"] for event in events] == ["started", "drift"]
    assert 40 < events[1]["position"] <= 60
    now = Now()
    listener = Listener(source([*scores, *scores[40:]]), around(tmp_path, drift=True, detector=now))
    now.in_use = InUse(ListeningDetector(), 1, "written anew")
    listener.run(threading.Event())
    assert [event["kind"] for event in told(tmp_path / "journal")][2:] == ["detector", "drift"]


def test_a_machine_without_a_test_for_drift_is_watched_all_the_same(tmp_path, monkeypatch, caplog):
    def too_few(*_):
        raise UserError("there is one recording")

    monkeypatch.setattr("asd_lightning.live.prepared.left_out_windows", too_few)
    events = hear(tmp_path, DAY, drift=True)
    assert "pump: drift is not told: there is one recording" in caplog.text
    assert [event["kind"] for event in events].count("alarm") == 2
    with pytest.raises(UserError, match="one recording"):
        Listener(source(DAY), around(tmp_path, a_day=1.0))


def test_a_machine_that_the_detector_or_the_journal_does_not_know(tmp_path):
    with pytest.raises(UserError, match="the detector knows pump"):
        Listener(source(DAY, machine="fan"), around(tmp_path))
    hear(tmp_path, DAY)
    with pytest.raises(UserError, match="was pump so far, and is fan now"):
        Listener(source(DAY, machine="fan"), around(tmp_path, detector=Now(ListeningDetector(("pump", "fan")))))
