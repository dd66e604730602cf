"""Log-mel spectrograms for people to look at."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

if TYPE_CHECKING:
    from asd_lightning.features.spectrum import LogMelSpectrogram

_SECONDS = 0.064


class Spectrogram(NamedTuple):
    """Levels in dB of mel bands over frames.

    ``edges``: Hz; band b has its peak at ``edges[b + 1]``.
    """

    decibels: Float32[ndarray, "frames bands"]
    edges: Float[ndarray, " edges"]


def spectrogram(waveform: Float32[ndarray, " samples"], sample_rate: int) -> Spectrogram:
    """Of a waveform in [-1, 1]; one that is shorter than a frame is repeated."""
    import torch

    front_end = _front_end(sample_rate)
    needed = _frame(sample_rate)
    heard = waveform if len(waveform) >= needed else np.resize(waveform, needed)
    with torch.inference_mode():
        decibels = front_end(torch.from_numpy(np.ascontiguousarray(heard))[None])[0].numpy()
    return Spectrogram(decibels, front_end.band_edges)


def _frame(sample_rate: int) -> int:
    """Samples: a power of two, about 64 ms."""
    return int(2 ** round(np.log2(_SECONDS * sample_rate)))


@lru_cache(maxsize=4)
def _front_end(sample_rate: int) -> LogMelSpectrogram:
    from asd_lightning.features.spectrum import LogMelSpectrogram

    frame = _frame(sample_rate)
    return LogMelSpectrogram(window_length=frame, hop_length=frame // 2, sample_rate=sample_rate)
