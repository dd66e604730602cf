"""What is held out is held out by its sound: no copy of it is left to train on."""

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.layout import find_clips

RATE = 16_000


def record(path: Path, seed: int, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (0.1 * np.random.default_rng(seed).normal(size=RATE // 2) * 2**15).astype(np.int16)
    soundfile.write(path, samples, RATE, **how)
    return path


def as_copy(path: Path) -> Path:
    return Path(shutil.copy(path, path.with_name(f"copy of {path.name}")))


def as_flac(path: Path) -> Path:
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path.with_suffix(".flac"), samples, rate)
    return path.with_suffix(".flac")


def with_more_bits(path: Path) -> Path:
    samples, rate = soundfile.read(path)
    other = path.parent / "again" / f"{path.stem}-24.wav"
    other.parent.mkdir(exist_ok=True)
    soundfile.write(other, samples, rate, subtype="PCM_24")
    return other


def with_another_header(path: Path) -> Path:
    samples, rate = soundfile.read(path, dtype="int16")
    other = path.with_name(f"z{path.name}")
    soundfile.write(other, samples, rate, format="WAVEX")
    return other


COPIES = (as_copy, as_flac, with_more_bits, with_another_header)


@pytest.mark.parametrize("seed", range(8))
def test_copies_stay_on_one_side(tmp_path, caplog, seed):
    draw = random.Random(seed)
    sound = {}
    for number in range(12):
        path = record(tmp_path / f"pump/normal/{number}.wav", number)
        sound[path] = number
        for copy in draw.sample(COPIES, draw.randint(0, 3)):
            sound[copy(path)] = number
    clips = find_clips(tmp_path, seed=seed)
    assert len(clips) == len(sound)
    of_train, of_test = ({sound[clip.path] for clip in clips if clip.split == split} for split in ("train", "test"))
    assert of_train
    assert of_test
    assert not of_train & of_test
    assert f"{len(sound) - 12} of all are copies of others" in caplog.text


def test_without_copies_nothing_is_said_of_them(tmp_path, caplog):
    for number in range(10):
        record(tmp_path / f"pump/normal/{number}.wav", number)
    assert Counter(clip.split for clip in find_clips(tmp_path)) == {"train": 8, "test": 2}
    assert "copies" not in caplog.text


def test_one_sound_alone_is_told(tmp_path, caplog):
    for number in range(10):
        record(tmp_path / f"pump/normal/{number}.wav", seed=0)
    assert Counter(clip.split for clip in find_clips(tmp_path)) == {"train": 8, "test": 2}
    assert "All hold the same sound" in caplog.text


def test_two_sounds_are_one_for_each_side(tmp_path):
    for number in range(10):
        record(tmp_path / f"pump/normal/{number}.wav", seed=number % 2)
    sides = {(clip.split, int(clip.path.stem) % 2) for clip in find_clips(tmp_path)}
    assert len(sides) == 2


@pytest.mark.parametrize("seed", range(8))
def test_pieces_of_one_recording_stay_on_one_side(tmp_path, seed):
    """A table says what was cut from one; a copy of a piece follows the whole of it."""
    recordings = {}
    for number in range(20):
        path = record(tmp_path / f"pump/normal/{number}.wav", number)
        recordings[path.name] = f"day {number // 4}"
    as_copy(tmp_path / "pump/normal/0.wav").rename(tmp_path / "pump/normal/20.wav")
    recordings["20.wav"] = "day 4"
    table = tmp_path / "recordings.csv"
    table.write_text("file,recording\n" + "".join(f"{name},{day}\n" for name, day in recordings.items()))
    for group in ("recording", "clip"):
        module = ClipDataModule(tmp_path, clip_seconds=0.5, hold_out_seed=seed, group=group)
        days = [(clip.split, recordings[clip.path.name]) for clip in module.recordings()]
        trained, tested = ({day for split, day in days if split == side} for side in ("train", "test"))
        assert trained
        assert tested
        assert not trained & tested
        assert len(tested & {"day 0", "day 4"}) in (0, 2)
    drawn = ClipDataModule(tmp_path, clip_seconds=0.5, hold_out_seed=seed, seed=seed + 1).recordings()
    assert [c.split for c in drawn] == [c.split for c in module.recordings()], "the run's seed draws nothing here"


def test_one_recording_alone_is_told(tmp_path, caplog):
    for number in range(10):
        record(tmp_path / f"pump/normal/{number}.wav", number)
    (tmp_path / "recordings.csv").write_text("file,recording\n" + "".join(f"{n}.wav,day\n" for n in range(10)))
    assert Counter(clip.split for clip in ClipDataModule(tmp_path).recordings()) == {"train": 8, "test": 2}
    assert "All are pieces of one recording" in caplog.text
