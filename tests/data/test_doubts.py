"""Levels far apart, and test clips that were trained on, are told from the decoded clips."""

import errno
import os
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.data.doubts import doubtful_copies, doubtful_levels
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError

RATE = 1_000


class Decoded:
    def __init__(self, waveforms, splits):
        self.waveforms = [np.asarray(waveform, dtype=np.float32) for waveform in waveforms]
        self.clips = [
            Clip(path=Path(name), machine="pump", name=name, split=split, domain="source", condition="normal")
            for name, split in ((f"{split}/{number}.wav", split) for number, split in enumerate(splits))
        ]

    def samples(self, index):
        return len(self.waveforms[index])

    def content(self, index):
        return len(self.waveforms[index]), zlib.crc32(self.waveforms[index].tobytes())

    def read(self, index, start=0, stop=None):
        return self.waveforms[index][start:stop]


def noise(seed, level=0.1, seconds=3.0):
    return level * np.random.default_rng(seed).normal(size=round(RATE * seconds))


@pytest.mark.parametrize("scale", [2.0**-15, 2.0**-23, 1e-3])
def test_levels_of_one_clip_in_other_units(scale):
    levels = [0.1] * 5 + [0.1 * scale]
    store = Decoded([noise(n, level) for n, level in enumerate(levels)], ["train"] * 6)
    assert doubtful_levels(store, range(6), RATE).startswith("levels differ by ")
    assert doubtful_levels(store, range(5), RATE) == ""


def test_a_machine_that_is_silent_at_times_is_not_suspected():
    bursts = [noise(n) * (np.arange(3 * RATE) // RATE == n % 3) for n in range(6)]
    assert doubtful_levels(Decoded(bursts, ["train"] * 6), range(6), RATE) == ""


def test_windows_of_one_recording_are_one_level():
    windows = [noise(n, 1e-6 if n % 2 else 0.1) for n in range(6)]
    store = Decoded(windows, ["train"] * 6)
    assert doubtful_levels(store, range(6), RATE)
    store.clips = [
        replace(clip, name=f"a.wav#t={n}", file="a.wav" if n < 3 else "b.wav") for n, clip in enumerate(store.clips)
    ]
    assert doubtful_levels(store, range(6), RATE) == ""


def test_a_training_tells_them(tmp_path, caplog):
    for number in range(6):
        for folder in ("normal", "test/normal"):
            path = tmp_path / "pump" / folder / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            # The first is in both, the last one has other units.
            seed = number if folder == "normal" else 10 * number
            soundfile.write(path, noise(seed, 0.1 if seed < 50 else 1e-5), RATE * 16, subtype="FLOAT")
    soundfile.write(tmp_path / "pump/normal/short.wav", noise(3)[:300], RATE * 16)
    module = ClipDataModule(tmp_path / "pump", clip_seconds=0.2, cache_dir=tmp_path / "cache", num_workers=0)
    module.prepare_data()
    assert "pump: levels differ by 80 dB, from -100 to -20 dB of full scale (1 of 12" in caplog.text
    assert "pump: 1 test clips are copies of training clips (test/normal/0.wav of normal/0.wav)" in caplog.text
    assert "normal/short.wav: 300 samples are 18.8 ms, less than one frame (25 ms)" in caplog.text


@pytest.mark.parametrize(("number", "remedy"), [(errno.EMFILE, "ulimit -n"), (errno.ENOSPC, "free space")])
def test_what_the_cache_lacks_comes_with_its_remedy(tmp_path, monkeypatch, number, remedy):
    for folder in ("normal", "test"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", noise(0), RATE * 16)

    def fail(*_args, **_how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("asd_lightning.data.cache._write_store", fail)
    with pytest.raises(UserError, match=remedy):
        ClipDataModule(tmp_path, clip_seconds=0.2, cache_dir=tmp_path / "cache").prepare_data()


def test_clips_of_any_length():
    store = Decoded([noise(n, seconds=s) for n, s in enumerate((0.01, 0.5, 1.0, 9.0))], ["train"] * 4)
    assert doubtful_levels(store, range(4), RATE) == ""
    assert doubtful_levels(store, [], RATE) == ""


def test_copies_between_training_and_test():
    store = Decoded([noise(0), noise(1), noise(1), noise(2), noise(0)], ["train", "train", "test", "test", "test"])
    told = doubtful_copies(store, range(5))
    assert told.startswith(
        "2 test clips are copies of training clips (test/2.wav of train/1.wav, test/4.wav of train/0"
    )
    assert doubtful_copies(store, [0, 1, 3]) == ""
    assert doubtful_copies(Decoded([noise(0)] * 3, ["train"] * 3), range(3)) == ""
