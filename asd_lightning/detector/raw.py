"""Raw samples, such as a recorder writes into a pipe."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.audio import HIGHEST_PEAK
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.resampling import RateError, resample
from asd_lightning.errors import UserError

_TYPES: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}


def samples_of(
    content: bytes, preprocessing: Preprocessing, rate: int | None = None, channels: int = 1, kind: str = "s16le"
) -> Float32[ndarray, " samples"]:
    """A waveform in [-1, 1] at the detector's rate.

    Args:
        content: interleaved samples.
        preprocessing: of the detector: which channel, which rate.
        rate: of the samples in Hz; by default the detector's.
        channels: their number.
        kind: ``s16le`` or ``f32le``.

    Raises:
        UserError: no samples, half a sample, a channel that is not there, or samples that no recording has.
    """
    dtype = _TYPES[kind]
    if channels < 1 or not content or len(content) % (channels * dtype.itemsize):
        raise UserError(
            f"-: {len(content):,} bytes are no whole number of {kind} samples of {channels} channel(s); give --format, "
            "--channels"
        )
    samples = np.frombuffer(content, dtype).reshape(-1, channels).astype(np.float32)
    if kind == "s16le":
        samples *= np.float32(2**-15)
    elif not np.isfinite(samples).all() or np.abs(samples).max() > HIGHEST_PEAK:
        raise UserError("-: samples are not finite, or far beyond full scale, which is 1; give another --format")
    mono = _one_channel(samples, preprocessing.channel)
    if rate is None or rate == preprocessing.sample_rate:
        return mono
    try:
        return resample(mono, rate, preprocessing.sample_rate)
    except RateError as error:
        raise UserError(f"-: {error}") from error


def _one_channel(samples: Float32[ndarray, "samples channels"], channel: int | str) -> Float32[ndarray, " samples"]:
    if channel == "mean":
        return np.asarray(samples.mean(axis=1, dtype=np.float64), np.float32)
    if not isinstance(channel, int):
        raise UserError(f"-: a detector of data.channel={channel} takes files alone")
    if channel >= samples.shape[1]:
        raise UserError(f"-: has {samples.shape[1]} channel(s), and the detector hears number {channel}")
    return np.ascontiguousarray(samples[:, channel])
