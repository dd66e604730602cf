"""Recordings that arrive, samples from a pipe, a microphone that is unplugged."""

import io
import itertools
import os

import numpy as np
import pytest
from scipy.io import wavfile

from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.live.inputs import FolderInput
from asd_lightning.live.streams import MicrophoneInput, StreamInput

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


def test_a_recording_that_is_still_written_waits(tmp_path):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    record(tmp_path / "b.wav", 1.0, 1009.0)
    clock, known = [1010.0], set()
    stretches = FolderInput(tmp_path, HEARD, settle=5.0, now=lambda: clock[0]).stretches({}, known.__contains__)
    first = next(stretches)
    assert first.file == "a.wav"
    known.add(first.heard)
    for seconds, time, now in ((2.0, 1010.5, 1012.0), (3.0, 1014.0, 1016.0), (3.0, 1014.0, 1018.9)):
        record(tmp_path / "b.wav", seconds, time)
        clock[0] = now
        assert next(stretches) is None
    clock[0] = 1019.0
    assert next(stretches).seconds == 3.0


def test_a_recording_of_the_future_is_heard_when_nobody_has_touched_it(tmp_path):
    record(tmp_path / "a.wav", 1.0, 5000.0)
    clock = [1000.0]
    stretches = FolderInput(tmp_path, HEARD, settle=5.0, now=lambda: clock[0]).stretches({}, set().__contains__)
    assert next(stretches) is None
    clock[0] = 1006.0
    assert next(stretches).file == "a.wav"


def test_a_recording_that_goes_before_it_is_heard_is_told_and_the_rest_goes_on(tmp_path):
    record(tmp_path / "a.wav", 1.0, 1000.0)
    record(tmp_path / "b.wav", 1.0, 1001.0)
    record(tmp_path / "c.wav", 1.0, 1002.0)
    known, told = set(), []
    for stretch in FolderInput(tmp_path, HEARD, once=True).stretches({}, known.__contains__):
        (tmp_path / "b.wav").unlink(missing_ok=True)
        told.append((stretch.file, stretch.happened))
        known.add(stretch.heard)
    assert told == [("a.wav", None), ("b.wav", "unreadable"), ("c.wav", None)]


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


def test_samples_from_a_pipe_in_windows():
    samples = np.arange(-1250, 1250, dtype="<i2")
    stretches = list(StreamInput(io.BytesIO(samples.tobytes()), HEARD, now=lambda: 100.0).stretches({}, bool))
    assert [stretch.offsets for stretch in stretches] == [[0.0], [1.0], [2.0]]
    heard = np.concatenate([stretch.windows[0] for stretch in stretches])
    np.testing.assert_array_equal(heard, samples.astype(np.float32) / 32768)
    short = list(StreamInput(io.BytesIO(samples[:1400].tobytes()), HEARD).stretches({}, bool))
    assert [stretch.offsets for stretch in short] == [[0.0]]


def test_overlapping_windows_from_a_pipe():
    samples = np.arange(3000, dtype="<i2")
    hearing = Preprocessing(sample_rate=RATE, clip_seconds=1.0, hop_seconds=0.25)
    stretches = list(StreamInput(io.BytesIO(samples.tobytes()), hearing).stretches({}, bool))
    offsets = [offset for stretch in stretches for offset in stretch.offsets]
    assert offsets == [0.25 * number for number in range(10)]
    assert len(stretches[-1].windows[0]) == 750
    for stretch in stretches:
        for window, offset in zip(stretch.windows, stretch.offsets, strict=True):
            assert window[0] * 32768 == offset * RATE


class Recorder:
    def __init__(self, seconds):
        self.left = seconds

    def read(self, samples):
        if not self.left:
            raise OSError("device unplugged")
        self.left -= 1
        return np.full(samples, self.left, "<i2").tobytes(), False


def test_a_microphone_that_is_unplugged_is_waited_for():
    attempts = iter([Recorder(2), None, None, Recorder(1)])

    def opened(device, rate, samples):
        assert (device, rate) == ("usb", RATE)
        recorder = next(attempts)
        if recorder is None:
            raise OSError("no such device")
        return recorder

    microphone = MicrophoneInput("usb", HEARD, patience=0.0, open_stream=opened, now=lambda: 5.0)
    stretches = itertools.islice(microphone.stretches({}, bool), 5)
    assert [(stretch.happened, len(stretch.windows), stretch.note) for stretch in stretches] == [
        (None, 1, ""),
        (None, 1, ""),
        ("input lost", 0, "device unplugged"),
        ("input back", 0, ""),
        (None, 1, ""),
    ]
