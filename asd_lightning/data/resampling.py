"""Resampling at any rate, in memory and time that depend on the recording's length alone.

Where both sides of the reduced ratio of two rates are small, the windowed sinc of torchaudio is used.  Its kernel is as
large as their product, so other ratios go through a polyphase filter, at the simplest ratio that is near enough.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray

from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from fractions import Fraction

# Largest number in the reduced ratio of rates with the sinc: 16 to 44.1 kHz is 160/441, to 65,536 Hz 125/512.
_MOST_FOR_SINC = 1000
# Relative error of the ratio used in place of the exact one; the clocks of sound cards differ by more.
RATE_ERROR = 1e-5
# Limits of new rate / rate, and of its inverse. Outside them the header is wrong, or most of the result would be made
# up.
_MOST_UP, _MOST_DOWN = 16, 64


class RateError(UserError):
    """A rate that a recording is not resampled from."""


def resample(
    samples: Float32[np.ndarray, "*channels samples"], rate: int, new_rate: int
) -> Float32[np.ndarray, "*channels resampled"]:
    """``samples`` at ``new_rate`` (Hz): ceil(samples * new_rate / rate) of them, but for `RATE_ERROR`.

    Raises:
        RateError: less than a sixteenth of the new rate, or more than 64 times it.
    """
    # Here: most recordings have the rate that is wanted.
    from fractions import Fraction

    ratio = Fraction(new_rate, rate)
    if not (ratio <= _MOST_UP and 1 / ratio <= _MOST_DOWN):
        raise RateError(
            f"sampled at {rate:,} Hz, and only {new_rate // _MOST_UP:,} to {_MOST_DOWN * new_rate:,} Hz are "
            f"resampled to {new_rate:,} Hz; mend its header, or record it again"
        )
    if max(ratio.numerator, ratio.denominator) <= _MOST_FOR_SINC:
        return _sinc(samples, rate, new_rate)
    near = nearest_ratio(ratio)
    return _polyphase(samples, near.numerator, near.denominator)


@lru_cache(maxsize=64)
def nearest_ratio(ratio: Fraction) -> Fraction:
    """A fraction of small numbers within `RATE_ERROR` of ``ratio``."""
    most = 64
    while abs((near := ratio.limit_denominator(most)) / ratio - 1) > RATE_ERROR:
        most *= 2
    return near


def _sinc(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    # Here: torch takes seconds to import, and a download or a check of 16 kHz clips does without.
    import torch
    from torchaudio.functional import resample as resample_sinc

    resampled: NDArray[np.float32] = resample_sinc(torch.from_numpy(samples), rate, new_rate).numpy()
    return resampled


def _polyphase(samples: NDArray[np.float32], up: int, down: int) -> NDArray[np.float32]:
    from scipy.signal import resample_poly

    return np.asarray(resample_poly(samples, up, down, axis=-1), dtype=np.float32)
