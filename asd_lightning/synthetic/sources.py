"""Where the sound comes from: shaft and gear lines, impacts, flow; what it passes through; and the background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from jaxtyping import Complex, Float
from scipy.signal import lfilter

from asd_lightning.synthetic.draws import Draws

SAMPLE_RATE = 16000
TABLE = 32768  # points of one period: reading the nearest one puts the error 39 dB below any order up to 200
SLOW = 64  # samples between the points at which slow fluctuations and their like are computed
COARSE = np.linspace(0.0, SAMPLE_RATE / 2.0, 2049)  # Hz; every response is computed here and then interpolated

# Control points of smooth responses, in Hz: octaves from 62.5 Hz to 8 kHz.
OCTAVES = 62.5 * 2.0 ** np.arange(8)


def sine_sum(
    draws: Draws, seconds: Float[np.ndarray, " samples"], low_hz: float, high_hz: float
) -> Float[np.ndarray, " samples"]:
    """A slow random fluctuation of unit RMS: three sines between ``low_hz`` and ``high_hz``."""
    points = np.arange(0, len(seconds) + SLOW, SLOW) / SAMPLE_RATE
    total = np.zeros_like(points)
    for _ in range(3):
        rate, phase = draws.uniform(low_hz, high_hz), draws.uniform()
        total += np.sin(2.0 * np.pi * (rate * points + phase))
    fluctuation: Float[np.ndarray, " samples"] = np.interp(seconds, points, np.sqrt(2.0 / 3.0) * total)
    return fluctuation


def shaft_sound(
    turns: Float[np.ndarray, " samples"], amplitudes: Float[np.ndarray, " orders"], phases: Float[np.ndarray, " orders"]
) -> Float[np.ndarray, " samples"]:
    """Sum over k of amplitudes[k] cos(2 pi (k turns + phases[k])): every tone locked to a rotation.

    One period is computed once by an inverse FFT and then read out at the phase, which costs the same for one
    harmonic as for hundreds.

    Args:
        turns: revolutions since the start, not negative.
        amplitudes: amplitude of order 0, 1, 2 ...; at most ``TABLE // 2`` orders.
        phases: phase of each order, in periods.
    """
    spectrum = np.zeros(TABLE // 2 + 1, dtype=np.complex128)
    spectrum[: len(amplitudes)] = amplitudes * np.exp(2j * np.pi * phases) * (TABLE / 2.0)
    spectrum[0] *= 2.0  # order 0 is its own mirror image
    period: Float[np.ndarray, " points"] = scipy.fft.irfft(spectrum, TABLE)
    return period[(turns * TABLE + 0.5).astype(np.int64) % TABLE]


def ringing(
    samples: int,
    times: Float[np.ndarray, " events"],
    strengths: Float[np.ndarray, " events"],
    ring_hz: float,
    decay_seconds: float,
) -> Float[np.ndarray, " samples"]:
    """Impacts at ``times`` (seconds), each setting off a decaying oscillation of unit first peak at ``ring_hz``."""
    place = times * SAMPLE_RATE
    inside = (place >= 0.0) & (place < samples - 1)
    place, strengths = place[inside], strengths[inside]
    left = place.astype(np.int64)
    share = place - left
    train = np.bincount(left, strengths * (1.0 - share), samples) + np.bincount(left + 1, strengths * share, samples)
    radius = np.exp(-1.0 / (decay_seconds * SAMPLE_RATE))
    angle = 2.0 * np.pi * ring_hz / SAMPLE_RATE
    ring: Float[np.ndarray, " samples"] = lfilter(
        [radius * np.sin(angle)], [1.0, -2.0 * radius * np.cos(angle), radius**2], train
    )
    return ring


def structure(
    frequencies: Float[np.ndarray, " bins"], resonances: Sequence[tuple[float, float, float]]
) -> Complex[np.ndarray, " bins"]:
    """Transfer function of a structure: the direct path plus one second-order resonance per (Hz, quality, gain)."""
    response = np.ones(len(COARSE), dtype=np.complex128)
    for hertz, quality, gain in resonances:
        ratio = COARSE / hertz
        response += (gain / quality) / (1.0 - ratio**2 + 1j * ratio / quality)
    interpolated: Complex[np.ndarray, " bins"] = np.interp(frequencies, COARSE, response)
    return interpolated


def smooth_gain(
    frequencies: Float[np.ndarray, " bins"], decibels: Float[np.ndarray, " octaves"]
) -> Float[np.ndarray, " bins"]:
    """Amplitude response through ``decibels`` at ``OCTAVES``, interpolated linearly in dB over log frequency."""
    level = np.interp(np.log2(np.maximum(COARSE, 20.0)), np.log2(OCTAVES), decibels)
    gain: Float[np.ndarray, " bins"] = np.interp(frequencies, COARSE, 10.0 ** (level / 20.0))
    return gain


# Background colours: dB at OCTAVES.
COLORS: dict[str, tuple[float, ...]] = {
    "white": (0, 0, 0, 0, 0, 0, 0, 0),
    "pink": (0, -3, -6, -9, -12, -15, -18, -21),
    "hvac": (6, 3, 0, -4, -9, -15, -22, -30),
    "factory": (-2, 0, 2, 3, 2, -1, -5, -10),
    "street": (4, 3, 0, -1, -3, -8, -15, -22),
}
NOISES = tuple(COLORS)


def background(kind: str, draws: Draws, seconds: Float[np.ndarray, " samples"]) -> Float[np.ndarray, " samples"]:
    """Background before its colour (``COLORS``) is applied: white noise, with what ``kind`` adds in time.

    ``hvac`` hums at the mains' harmonics, ``factory`` chatters in bursts, ``street`` swells and fades.
    """
    noise = draws.noise(len(seconds))
    if kind == "hvac":
        orders = np.array([0.0, 0.15, 0.3, 0.1, 0.2])
        noise += shaft_sound(50.0 * seconds, orders * draws.uniform(0.5, 1.5), draws.uniforms(5))
    elif kind == "factory":
        chatter = sine_sum(draws, seconds, 2.0, 9.0) * sine_sum(draws, seconds, 0.2, 1.0)
        noise *= 0.7 + 0.5 * np.abs(chatter)
    elif kind == "street":
        noise *= 1.0 + 0.3 * sine_sum(draws, seconds, 0.05, 0.4)
    return noise
