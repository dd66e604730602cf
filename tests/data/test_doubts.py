"""Levels far apart, and test clips that were trained on, are told from the decoded clips."""

import zlib
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.data.doubts import doubtful_copies, doubtful_levels
from asd_lightning.data.layout import Clip

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
