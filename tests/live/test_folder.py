"""Recordings that arrive, on a disk or a network that may fail, by clocks that may jump."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.live import folder as folder_module
from asd_lightning.live.folder import FolderInput
from asd_lightning.live.inputs import heard_in_stretches

RATE = 1000
HEARD = Preprocessing(sample_rate=RATE, clip_seconds=1.0)


def record(path, seconds, time, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9000, 9000, round(seconds * RATE)).astype(np.int16)
    wavfile.write(path, RATE, samples)
    os.utime(path, (time, time))
    return samples.astype(np.float32) / 32768


def taken(folder, place=None, heard=(), hearing=HEARD, **options):
    """All stretches of the recordings that are there, as a listener takes them."""
    known, stretches = set(heard), []
    for stretch in FolderInput(folder, hearing, once=True, **options).stretches(place or {}, known.__contains__):
        stretches.append(stretch)
        known.add(stretch.heard)
    return stretches


def test_recordings_are_heard_whole_oldest_first(tmp_path):
    late = record(tmp_path / "a.wav", 2.5, 2000.0, 1)
    early = record(tmp_path / "deep" / "b.wav", 0.5, 1000.0, 2)
    first, second = taken(tmp_path)
    assert (first.file, first.offsets, first.seconds, first.time) == ("deep/b.wav", [0.0], 0.5, 999.5)
    np.testing.assert_array_equal(first.windows[0], early)
    assert (second.file, second.offsets, second.seconds, second.time) == ("a.wav", [0.0, 1.0, 1.5], 2.5, 1997.5)
    for window, start in zip(second.windows, (0, 1000, 1500), strict=True):
        np.testing.assert_array_equal(window, late[start : start + RATE])
    assert first.heard.startswith("deep/b.wav:")
    assert second.heard.startswith("a.wav:")


def test_a_link_to_nothing_is_unreadable(tmp_path):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    (tmp_path / "x.wav").symlink_to(tmp_path / "nowhere.wav")
    heard, link = taken(tmp_path, settle=0.0, patience=0.0)
    assert (heard.file, link.file, link.happened) == ("a.wav", "x.wav", "unreadable")
    assert "No such file" in link.note


def test_a_long_recording_comes_in_stretches_and_is_taken_up_in_the_middle(tmp_path):
    record(tmp_path / "long.wav", 5.0, 1000.0)
    whole = taken(tmp_path, windows=2)
    assert [stretch.offsets for stretch in whole] == [[0.0, 1.0], [2.0, 3.0], [4.0]]
    assert [bool(stretch.heard) for stretch in whole] == [False, False, True]
    assert sum(stretch.seconds for stretch in whole) == 5.0
    rest = taken(tmp_path, place=whole[0].place, windows=2)
    assert [stretch.offsets for stretch in rest] == [[2.0, 3.0], [4.0]]
    np.testing.assert_array_equal(rest[0].windows[0], whole[1].windows[0])
    assert taken(tmp_path, heard={whole[-1].heard}) == []


def test_overlapping_windows_count_their_sound_once(tmp_path):
    record(tmp_path / "a.wav", 3.0, 1000.0)
    hearing = Preprocessing(sample_rate=RATE, clip_seconds=1.0, hop_seconds=0.5)
    stretches = taken(tmp_path, hearing=hearing, windows=2)
    assert [stretch.offsets for stretch in stretches] == [[0.0, 0.5], [1.0, 1.5], [2.0]]
    assert sum(stretch.seconds for stretch in stretches) == 3.0


class Clock:
    """The time of day, and a clock that does not jump with it."""

    def __init__(self, now):
        self.now, self.running = now, 0.0

    def to(self, now):
        self.running += now - self.now
        self.now = now

    def jump(self, seconds):
        self.now += seconds

    def input(self, folder, **options):
        options = {"settle": 5.0, **options}
        return FolderInput(folder, HEARD, now=lambda: self.now, monotonic=lambda: self.running, **options)


def test_a_recording_that_is_still_written_waits(tmp_path):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    record(tmp_path / "b.wav", 1.0, 1009.0)
    clock, known = Clock(1010.0), set()
    stretches = clock.input(tmp_path).stretches({}, known.__contains__)
    first = next(stretches)
    assert first.file == "a.wav"
    known.add(first.heard)
    for seconds, time, now in ((2.0, 1010.5, 1012.0), (3.0, 1014.0, 1016.0), (3.0, 1014.0, 1018.9)):
        record(tmp_path / "b.wav", seconds, time)
        clock.to(now)
        assert next(stretches) is None
    clock.to(1019.0)
    assert next(stretches).seconds == 3.0


def test_a_recording_of_the_future_is_heard_when_nobody_has_touched_it(tmp_path):
    record(tmp_path / "a.wav", 1.0, 5000.0)
    clock = Clock(1000.0)
    stretches = clock.input(tmp_path).stretches({}, set().__contains__)
    assert next(stretches) is None
    clock.to(1006.0)
    assert next(stretches).file == "a.wav"


def test_a_clock_that_jumps_back_delays_no_recording(tmp_path):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    clock = Clock(1001.0)
    stretches = clock.input(tmp_path).stretches({}, set().__contains__)
    assert next(stretches) is None
    clock.jump(-3600.0)
    clock.to(clock.now + 5.0)
    assert next(stretches).file == "a.wav"


def test_a_clock_that_jumps_ahead_ends_no_recording_that_is_written(tmp_path):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    clock = Clock(1001.0)
    stretches = clock.input(tmp_path).stretches({}, set().__contains__)
    assert next(stretches) is None
    clock.jump(3600.0)
    clock.to(clock.now + 1.0)
    assert next(stretches) is None
    record(tmp_path / "a.wav", 3.0, clock.now)
    clock.to(clock.now + 1.0)
    assert next(stretches) is None
    clock.to(clock.now + 5.0)
    assert next(stretches).seconds == 3.0


def heard_while(clock, steps, stretches, known, change):
    """What comes of so many steps of a second, each after a change of the world."""
    told = []
    for step in range(steps):
        change(step)
        stretch = next(stretches)
        if stretch is not None:
            told.append((step, stretch.file, stretch.happened))
            known.add(stretch.heard)
        clock.to(clock.now + 1.0)
    return told


def test_a_recording_that_goes_before_it_is_heard_is_told_after_a_while_and_the_rest_goes_on(tmp_path):
    for number, name in enumerate("abc"):
        record(tmp_path / f"{name}.wav", 1.0, 1000.0 + number)
    clock, known = Clock(2000.0), set()
    stretches = clock.input(tmp_path, patience=5.0).stretches({}, known.__contains__)
    told = heard_while(
        clock, 9, stretches, known, lambda step: step == 1 and (tmp_path / "b.wav").rename(tmp_path / "b")
    )
    # It was listed with the others before it went.
    assert told == [(0, "a.wav", None), (2, "c.wav", None), (6, "b.wav", "unreadable")]
    (tmp_path / "b").rename(tmp_path / "b.wav")
    assert heard_while(clock, 2, stretches, known, lambda step: None) == [(0, "b.wav", None)]


def failing(monkeypatch, broken, code=errno.EIO):
    """Reading fails as that of a network folder does, for the names in ``broken``."""
    whole = folder_module.read_in_stretches

    def read(path, *arguments):
        for stretch in whole(path, *arguments):
            if path.name in broken:
                raise OSError(code, os.strerror(code), str(path))
            yield stretch

    monkeypatch.setattr(folder_module, "read_in_stretches", read)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOENT, errno.ESTALE])
def test_a_recording_that_cannot_be_read_for_a_moment_is_heard_when_it_can(tmp_path, monkeypatch, code):
    for number, name in enumerate("abc"):
        record(tmp_path / f"{name}.wav", 1.0, 1000.0 + number)
    broken = {"b.wav"}
    failing(monkeypatch, broken, code)
    clock, known = Clock(2000.0), set()
    stretches = clock.input(tmp_path, patience=5.0).stretches({}, known.__contains__)
    told = heard_while(clock, 8, stretches, known, lambda step: broken.clear() if step == 4 else None)
    assert told == [(0, "a.wav", None), (4, "b.wav", None), (5, "c.wav", None)]


def test_a_long_recording_that_fails_in_the_middle_goes_on_there(tmp_path, monkeypatch):
    record(tmp_path / "a.wav", 6.0, 1000.0)
    broken = set()
    failing(monkeypatch, broken)
    clock = Clock(2000.0)
    stretches = clock.input(tmp_path, patience=5.0, windows=2).stretches({}, set().__contains__)
    assert next(stretches).offsets == [0.0, 1.0]
    broken.add("a.wav")
    assert next(stretches) is None
    broken.clear()
    assert next(stretches).offsets == [2.0, 3.0]


def test_a_recording_that_never_can_be_read_is_told_once_when_patience_ends(tmp_path, monkeypatch):
    for number, name in enumerate("ab"):
        record(tmp_path / f"{name}.wav", 1.0, 1000.0 + number)
    failing(monkeypatch, {"a.wav"})
    clock, known = Clock(2000.0), set()
    stretches = clock.input(tmp_path, patience=5.0).stretches({}, known.__contains__)
    told = heard_while(clock, 9, stretches, known, lambda step: None)
    assert told == [(5, "a.wav", "unreadable"), (6, "b.wav", None)]


def test_a_folder_that_goes_away_is_waited_for(tmp_path, monkeypatch):
    place = tmp_path / "in"
    for number, name in enumerate("ab"):
        record(place / f"{name}.wav", 6.0, 1000.0 + number)
    broken = set()
    failing(monkeypatch, broken)
    clock, known = Clock(2000.0), set()
    stretches = clock.input(place, patience=5.0, windows=4).stretches({}, known.__contains__)
    first = next(stretches)

    def outage(step):
        if step == 0:
            broken.add("a.wav")
        if step == 1:
            place.rename(tmp_path / "away")
        if step == 12:
            (tmp_path / "away").rename(place)
            broken.clear()

    told = heard_while(clock, 17, stretches, known, outage)
    assert told == [
        (1, "", "input lost"),
        (12, "", "input back"),
        (13, "a.wav", None),
        (14, "b.wav", None),
        (15, "b.wav", None),
    ]
    assert first.offsets == [0.0, 1.0, 2.0, 3.0]


def closed(monkeypatch, names):
    """Folders of these names may not be listed, by the superuser either."""
    iterdir = Path.iterdir

    def refuse(self):
        if self.name in names:
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refuse)


def test_a_folder_below_that_may_not_be_listed_is_told_once_and_the_others_are_heard(tmp_path, monkeypatch):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    record(tmp_path / "secret/b.wav", 1.0, 1001.0)
    names = {"secret"}
    closed(monkeypatch, names)
    secret, heard = taken(tmp_path)
    assert (secret.file, secret.happened, secret.heard, heard.file) == ("secret", "unreadable", "", "a.wav")
    assert "make it readable" in secret.note
    clock, known = Clock(2000.0), set()

    def opened(step):
        if step == 4:
            names.clear()

    told = heard_while(clock, 6, clock.input(tmp_path).stretches({}, known.__contains__), known, opened)
    assert told == [(0, "secret", "unreadable"), (1, "a.wav", None), (4, "secret/b.wav", None)]


def test_once_ends_where_the_folder_itself_may_not_be_listed(tmp_path, monkeypatch):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    closed(monkeypatch, {tmp_path.name})
    clock = Clock(2000.0)
    stretches = clock.input(tmp_path, patience=5.0, once=True).stretches({}, set().__contains__)
    told = heard_while(clock, 5, stretches, set(), lambda _: None)
    assert told == [(0, "", "input lost")]
    with pytest.raises(UserError, match=r"cannot be listed \(Permission denied\)"):
        next(stretches)


def test_a_recording_on_its_own_that_cannot_be_read_says_so(tmp_path):
    (told,) = heard_in_stretches(tmp_path / "a.wav", "a.wav", "key", HEARD)
    assert (told.happened, told.heard, told.windows) == ("unreadable", "key", [])


def test_a_name_that_is_no_text_is_written_out(tmp_path):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    (tmp_path / "a.wav").rename(os.fsdecode(bytes(tmp_path) + b"/\xff.wav"))
    (stretch,) = taken(tmp_path)
    assert stretch.file == "\\udcff.wav"
    stretch.heard.encode()


def test_a_recording_that_cannot_be_read_is_told_once(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF....")
    os.utime(tmp_path / "bad.wav", (1000.0, 1000.0))
    record(tmp_path / "good.wav", 1.0, 2000.0)
    bad, good = taken(tmp_path)
    assert (bad.happened, bad.windows, good.file) == ("unreadable", [], "good.wav")
    assert "bad.wav" in bad.note
    assert bad.heard


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        taken(tmp_path / "nowhere")


def test_nothing_new_is_told_so_that_others_are_looked_after(tmp_path):
    assert next(FolderInput(tmp_path, HEARD).stretches({}, set().__contains__)) is None
