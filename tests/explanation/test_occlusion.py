"""What is left out changes what it should and nothing else; falls are those of scores that are known."""

import numpy as np
import pytest

from asd_lightning.explanation.layout import Bands
from asd_lightning.explanation.occlusion import falls_over_bands, falls_over_time, of_its_own, of_other, with_band
from asd_lightning.explanation.spectrogram import spectrogram
from tests.detector.sounds import RATE, hum


def energy(waveforms):
    return np.array([np.square(one, dtype=np.float64).sum() for one in waveforms])


def tone(frequency, seconds=1.0):
    return (0.1 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def test_the_step_of_an_impulse_has_all_its_energy_and_those_beside_it_half():
    waveform = np.zeros(10 * RATE, np.float32)
    waveform[round(4.2 * RATE)] = 0.5
    edges, falls = falls_over_time(waveform, of_other(np.zeros_like(waveform)), energy, RATE)
    np.testing.assert_allclose(edges, np.arange(41) * 0.25)
    wanted = np.zeros(40)
    wanted[16], wanted[[15, 17]] = 0.25, 0.125
    np.testing.assert_allclose(falls, wanted, atol=1e-12)


@pytest.mark.parametrize("seconds", [0.05, 0.13, 1.0, 3.33])
def test_the_steps_cover_the_whole_waveform(seconds):
    waveform = hum(0, seconds)
    edges, falls = falls_over_time(waveform, of_other(np.zeros_like(waveform)), energy, RATE)
    assert (edges[0], edges[-1]) == (0, pytest.approx(seconds, abs=1 / RATE))
    assert (np.diff(edges) > 0).all()
    assert (falls > 0).all()


def test_within_ranges_nothing_else_is_replaced():
    waveform = tone(500) + tone(3000)
    _, falls = falls_over_time(waveform, of_other(np.zeros_like(waveform)), energy, RATE, [(2900.0, 3100.0)])
    _, whole = falls_over_time(waveform, of_other(np.zeros_like(waveform)), energy, RATE)
    # The middle: at the ends a brick wall rings.
    np.testing.assert_allclose(falls[2:-2], whole[2:-2] / 2, rtol=0.1)


def test_a_band_is_exchanged_and_nothing_else():
    made = with_band(tone(500) + tone(3000), tone(2000) + 0.5 * tone(3000), 2900.0, 3100.0, RATE)
    np.testing.assert_allclose(made, tone(500) + 0.5 * tone(3000), atol=1e-5)


def test_falls_over_bands_are_those_of_the_tones_in_them():
    bands = Bands(np.array([100.0, 1000.0, 2900.0]), np.array([1000.0, 2900.0, 4000.0]))
    waveform = tone(500) + 2 * tone(3000)
    falls = falls_over_bands(waveform, np.zeros_like(waveform), bands, energy, RATE)
    np.testing.assert_allclose(falls, [80, 0, 320], rtol=1e-4, atol=1e-4)


def test_the_most_ordinary_stretch_is_not_the_odd_one():
    waveform = hum(3, 4.0)
    waveform[RATE : 2 * RATE] += tone(3000)
    stand_in = of_its_own(waveform, spectrogram(waveform, RATE).decibels)
    part = stand_in(RATE, RATE + RATE // 2)
    assert len(part) == RATE // 2
    spectrum = np.abs(np.fft.rfft(part))
    assert spectrum[1500] < 0.05 * np.abs(np.fft.rfft(waveform[RATE : RATE + RATE // 2]))[1500]
