"""Any rate is resampled in little time and memory, or refused at once."""

import random
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample as resample_sinc

from asd_lightning.data import resampling
from asd_lightning.data.audio import BadAudioError, DecodeOptions, decode, decode_channels
from asd_lightning.data.resampling import RATE_ERROR, nearest_ratio, resample

NEW = 16_000
USUAL = (8_000, 11_025, 12_000, 22_050, 24_000, 25_600, 32_000, 44_100, 48_000, 51_200, 65_536, 88_200, 96_000, 192_000)
# 51.2 kHz divided, neighbours of usual ones, primes.
ODD = (17_067, 44_099, 44_101, 47_999, 15_999, 16_001, 31_999, 32_001, 10_007, 399_989, 22_051, 1_009)
DRAWN = tuple(random.Random(0).sample(range(1_000, 400_001), 30))


def tone(rate: int, hertz: float, seconds: float = 1.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", USUAL)
def test_usual_rates_keep_the_windowed_sinc_to_the_last_bit(rate):
    samples = np.random.default_rng(0).normal(size=(2, rate)).astype(np.float32)
    expected = resample_sinc(torch.from_numpy(samples), rate, NEW).numpy()
    np.testing.assert_array_equal(resample(samples, rate, NEW), expected)


@pytest.mark.parametrize("rate", [*USUAL, *ODD, *DRAWN])
def test_a_tone_stays_the_tone_it_was(rate):
    hertz = 0.2 * min(rate, NEW)
    resampled = resample(tone(rate, hertz), rate, NEW)
    assert abs(len(resampled) - NEW) <= 2
    # The edges are half silence; the error of the rate is a phase that grows.
    middle = slice(NEW // 10, 2 * NEW // 10)
    np.testing.assert_allclose(resampled[middle], tone(NEW, hertz)[middle], atol=0.05)


@pytest.mark.parametrize("rate", [*ODD, *DRAWN])
def test_what_the_new_rate_cannot_hold_is_gone(rate):
    if rate > 1.5 * NEW:
        resampled = resample(tone(rate, 0.7 * NEW), rate, NEW)
        assert np.abs(resampled[1_000:-1_000]).max() < 0.02


@pytest.mark.parametrize("rate", [*ODD, *DRAWN])
def test_ten_seconds_take_little(rate):
    samples = np.random.default_rng(0).normal(size=10 * rate).astype(np.float32)
    resample(samples[:100], rate, NEW)
    tracemalloc.start()
    resample(samples, rate, NEW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    # What the work grows with, in place of a clock, which a busy machine slows: the size of the filter.
    assert max(nearest_ratio(Fraction(NEW, rate)).as_integer_ratio()) <= 1 << 15


@pytest.mark.parametrize("new_rate", [8_000, 16_000, 44_100])
def test_the_ratio_that_is_used_is_near_enough(new_rate):
    for rate in random.Random(new_rate).sample(range(new_rate // 16 + 1, 400_001), 300):
        ratio = Fraction(new_rate, rate)
        assert abs(nearest_ratio(ratio) / ratio - 1) <= RATE_ERROR


@pytest.mark.parametrize("rate", [1, 2, 50, 999, 1_024_001, 2**31 - 1])
def test_rates_of_no_sound_are_refused_at_once_by_name(tmp_path, rate, monkeypatch):
    for work in ("nearest_ratio", "_sinc", "_polyphase"):
        monkeypatch.setattr(resampling, work, lambda *_: pytest.fail("refused too late"))
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(NEW, 100.0), rate)
    for read in (lambda: decode(path, DecodeOptions()), lambda: decode_channels(path, NEW)):
        with pytest.raises(BadAudioError, match=r"a\.wav: sampled at .* 1,000 to 1,024,000 Hz are resampled"):
            read()


def test_an_odd_rate_as_a_file(tmp_path):
    path = tmp_path / "a.wav"
    stereo = np.stack([tone(17_067, 440.0), tone(17_067, 880.0)], axis=1)
    soundfile.write(path, stereo, 17_067, subtype="PCM_16")
    channels = decode_channels(path, NEW)
    assert channels.shape == (2, NEW)
    np.testing.assert_array_equal(channels[1], decode(path, DecodeOptions(channel=1)))
