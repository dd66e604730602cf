"""Triangular mel bands on Kaldi's scale, ``1127 ln(1 + f / 700)``, as the pretrained encoders were trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

MEL_BINS = 128


@dataclass(frozen=True)
class MelScale:
    """Where the 128 bands lie: evenly on the mel scale between two frequencies (Hz), over the bins of an FFT."""

    fft_length: int
    sample_rate: int
    low: float
    high: float

    @property
    def edges(self) -> Float[np.ndarray, " 130"]:
        """Hz: band b begins at ``edges[b]``, has its peak at ``edges[b + 1]`` and ends at ``edges[b + 2]``."""
        return mel_edges(self.low, self.high, MEL_BINS)


def mel_edges(low: float, high: float, bands: int) -> Float[np.ndarray, " edges"]:
    """Begins, peaks and ends in Hz of bands that lie evenly on the mel scale, each half over the next.

    >>> mel_edges(0.0, 700.0, 1).round(1).tolist()
    [0.0, 289.9, 700.0]
    """
    places = np.linspace(np.log1p(low / 700.0), np.log1p(high / 700.0), bands + 2)
    return np.asarray(700.0 * np.expm1(places))


def mel_table(scale: MelScale, dtype: torch.dtype) -> Float[Tensor, "bins 128"]:
    """Weight (0 to 1) of each FFT bin in each band: triangles that are linear in mel, of peak 1.

    In float32 as in torchaudio, for the published encoders were trained so and double precision differs visibly.  But
    torchaudio's table differs in the last bits from one make of processor to the next, with the float32 logarithm of
    its maths library.  Single precision takes torchaudio's table, whatever it is here, and so agrees with torchaudio on
    every machine.  Double precision is for comparison with numbers from elsewhere: its logarithm is correctly rounded,
    which is what the better of those libraries return.

    Returns:
        Of ``dtype``, with the values of float32; the last bin, Nyquist's, is in no band.

    >>> mel_table(MelScale(512, 16_000, 20.0, 8_000.0), torch.float32).shape
    torch.Size([257, 128])
    """
    if dtype == torch.float32:
        # Here: the import of torchaudio takes a while, and whoever wants the edges alone does without.
        from torchaudio.compliance.kaldi import get_mel_banks

        triangles, _ = get_mel_banks(
            MEL_BINS, scale.fft_length, scale.sample_rate, scale.low, scale.high, 100.0, -500.0, 1.0
        )
        triangles = triangles.T
    else:
        triangles = _rounded_triangles(scale).to(dtype)
    return nn.functional.pad(triangles, (0, 0, 0, 1))


def _rounded_triangles(scale: MelScale) -> Float[Tensor, "bins 128"]:
    low, high = (1127.0 * math.log(1.0 + f / 700.0) for f in (scale.low, scale.high))
    step = (high - low) / (MEL_BINS + 1)
    frequency = scale.sample_rate / scale.fft_length * torch.arange(scale.fft_length // 2, dtype=torch.float32)
    mel = (1127.0 * (1.0 + frequency / 700.0).double().log().float()).unsqueeze(1)
    band = torch.arange(MEL_BINS, dtype=torch.float32)
    left, center, right = (low + (band + edge) * step for edge in (0.0, 1.0, 2.0))
    return torch.minimum((mel - left) / (center - left), (right - mel) / (right - center)).clamp(min=0.0)
