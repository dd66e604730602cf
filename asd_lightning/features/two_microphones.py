"""Two microphones to one, clip by clip: nothing is fitted beforehand, so nothing can leak and nothing is kept.

Both ways work in the bands of a short-time Fourier transform (periodic Hann window, centred frames, reflected ends), on
the near microphone's clip and the far one's, and keep length and scale.

``cancel_per_clip`` subtracts the far channel by the least-squares transfer function of this very clip (Bendat and
Piersol, "Random Data", chapter 6).  It takes out whatever both microphones hear steadily, **the machine's own tones
too**: of a tone with amplitude a near and b far, in a band with noise n far and g n near, there remains
``n^2 / (n^2 + b^2) (1 - g b / a)``.

``subtract_magnitudes`` lowers the near magnitudes by the far ones and keeps the near phase (Boll, "Suppression of
acoustic noise in speech using spectral subtraction", IEEE Trans. ASSP 27(2), 1979, with a floor of a tenth).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float

Waveform = Float[np.ndarray, " samples"]
Bands = Complex[np.ndarray, "frames bands"]

_CANCEL_WINDOW, _CANCEL_HOP = 1024, 512
_SUBTRACT_WINDOW, _SUBTRACT_HOP = 512, 256
# Added to the far channel's energy in a band, at a joint peak of 0.9: silence there has the coefficient 0.
_FLOOR = 1e-12
_PEAK = 0.9
_REMAINS = 0.1
# Of the near channel's energy: less than this is rounding, not sound.
_NOTHING_LEFT = 1e-6


class NothingLeftError(ValueError):
    """The two microphones have heard the same: what remains cannot be judged."""


def cancel_per_clip(near: Waveform, far: Waveform) -> Waveform:
    """The near channel less what the far one predicts of it.

    >>> rng = np.random.default_rng(0)
    >>> machine, surroundings = rng.normal(size=(2, 160_000))
    >>> cleaned = cancel_per_clip(machine + surroundings, 2 * surroundings)
    >>> bool(np.std(cleaned - machine) < 0.1 * np.std(surroundings))
    True

    Args:
        near: at least 513 samples.
        far: as many.

    Raises:
        ValueError: fewer samples.
        NothingLeftError: less than a millionth of the near channel's energy remains.
    """
    _check(near, _CANCEL_WINDOW)
    peak = max(float(np.abs(near).max()), float(np.abs(far).max()))
    scale = peak / _PEAK if peak > _FLOOR else 1.0
    spectra = [_analyze(channel / scale, _CANCEL_WINDOW, _CANCEL_HOP) for channel in (near, far)]
    predicted = transfer(*spectra) * spectra[1]
    # The near channel is not transformed back: where nothing is predicted it stays as it was.
    cleaned: Waveform = near - scale * _synthesize(predicted, len(near), _CANCEL_WINDOW, _CANCEL_HOP)
    energy = float(np.square(near, dtype=np.float64).sum())
    if energy and float(np.square(cleaned).sum()) < _NOTHING_LEFT * energy:
        raise NothingLeftError("both microphones hear the same, so that nothing is left of the near one")
    return cleaned.astype(near.dtype)


def subtract_magnitudes(near: Waveform, far: Waveform) -> Waveform:
    """The near channel with its magnitudes lowered by the far ones, to no less than a tenth where the far is louder.

    Args:
        near: at least 257 samples.
        far: as many.

    Raises:
        ValueError: fewer samples.
    """
    _check(near, _SUBTRACT_WINDOW)
    spectra = [_analyze(channel, _SUBTRACT_WINDOW, _SUBTRACT_HOP) for channel in (near, far)]
    lowered = lower(*spectra)
    return _synthesize(lowered, len(near), _SUBTRACT_WINDOW, _SUBTRACT_HOP).astype(near.dtype)


def transfer(near: Bands, far: Bands) -> Complex[np.ndarray, " bands"]:
    """Least squares in each band, over all frames: ``sum near conj(far) / sum |far|^2``."""
    energy = np.square(np.abs(far)).sum(axis=0) + _FLOOR
    coefficients: Complex[np.ndarray, " bands"] = (near * far.conj()).sum(axis=0) / energy
    return coefficients


def lower(near: Bands, far: Bands) -> Bands:
    """Magnitude ``|near| - |far|`` where that is above 0, a tenth of ``|near|`` elsewhere; the phase of ``near``."""
    magnitude = np.abs(near)
    difference = magnitude - np.abs(far)
    kept = np.where(difference > 0, difference, _REMAINS * magnitude)
    lowered: Bands = near * np.divide(kept, magnitude, out=np.zeros_like(magnitude), where=magnitude > 0)
    return lowered


def _check(near: Waveform, window: int) -> None:
    if len(near) <= window // 2:
        raise ValueError(f"{len(near)} samples are too few for two microphones: {window // 2 + 1} are needed")


def _window(length: int) -> Float[np.ndarray, " window"]:
    window: Float[np.ndarray, " window"] = np.hanning(length + 1)[:-1]
    return window


def _analyze(waveform: Waveform, window: int, hop: int) -> Bands:
    padded = np.pad(waveform.astype(np.float64), window // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    spectra: Bands = np.fft.rfft(frames * _window(window))
    return spectra


def _synthesize(spectra: Bands, samples: int, window: int, hop: int) -> Waveform:
    """Overlap-add, divided by the sum of the squared windows."""
    frames = np.fft.irfft(spectra, window) * _window(window)
    total, weight = np.zeros((2, window + hop * (len(frames) - 1)))
    for number, frame in enumerate(frames):
        place = slice(number * hop, number * hop + window)
        total[place] += frame
        weight[place] += _window(window) ** 2
    inside = slice(window // 2, window // 2 + samples)
    waveform: Waveform = total[inside] / weight[inside]
    return waveform
