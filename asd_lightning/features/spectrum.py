"""Spectra: the magnitude of the whole clip for the spectrum CNN, and the log-mel spectrogram for its statistics."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.errors import UserError
from asd_lightning.features.mel_table import mel_edges

# On a processor the spectra of more than a few ten-second clips leave the cache, and each allocation faults its pages.
_CLIPS_AT_A_TIME = 4
_LOWEST = 20.0
# With the largest values the filters take half a gigabyte.
_LARGEST = {"num_mels": 4096, "window_length": 65_536, "hop_length": 1 << 20, "sample_rate": 1 << 20}


class MagnitudeSpectrum(nn.Module):
    """Magnitude of the discrete Fourier transform of the whole clip, linear, not normalised.

    Half as many bins as samples: DC is the first, the Nyquist bin is left out (80,000 bins of a 10 s clip at 16 kHz,
    0.1 Hz apart).  Wilkinghoff, "Design choices for learning embeddings from auxiliary tasks for domain generalization
    in anomalous sound detection", ICASSP 2023.
    """

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch bins"]:
        """Magnitudes in float32, also under mixed precision."""
        # Half precision would overflow: bins of a full-scale clip reach 1e4 and beyond.
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum: Tensor = torch.fft.rfft(waveform.float())
            return spectrum.abs()[:, : waveform.shape[1] // 2]


def mel_triangles(bins: int, bands: int, sample_rate: int) -> Float[Tensor, "bins bands"]:
    """Weight (0 to 1) of each FFT bin in each band: triangles of peak 1, even on the HTK mel scale from 20 Hz.

    ``2595 log10(1 + f / 700)`` (Young et al., The HTK Book), in float32 and in the order of operations of torchaudio's
    ``melscale_fbanks``, whose bits these are; importing torchaudio takes longer than scoring a recording.

    Args:
        bins: from 0 Hz to the Nyquist frequency.
        bands: the last ends at the Nyquist frequency.
        sample_rate: in Hz.

    >>> mel_triangles(513, 128, 16_000).shape
    torch.Size([513, 128])
    """
    # By name: a module may be built on no device, for its shapes alone, and values are needed all the same.
    frequency = torch.linspace(0, sample_rate // 2, bins, device="cpu").unsqueeze(1)
    low, high = (2595.0 * math.log10(1.0 + edge / 700.0) for edge in (_LOWEST, sample_rate / 2))
    edges = 700.0 * (10.0 ** (torch.linspace(low, high, bands + 2, device="cpu") / 2595.0) - 1.0)
    width = edges.diff()
    away = edges - frequency
    return torch.minimum(-away[:, :-2] / width[:-1], away[:, 2:] / width[1:]).clamp(min=0.0)


class LogMelSpectrogram(nn.Module):
    """Log-mel spectrogram in dB: ``10 log10(power + 1e-10)`` per mel band and frame.

    HTK mel scale from 20 Hz to the Nyquist frequency, each triangle scaled to sum to 1 over the bins; periodic Hann
    window, no centring, no padding.

    Raises:
        UserError: a size that is no whole number, or beyond what fits sound.

    >>> LogMelSpectrogram()(torch.zeros(2, 16_000)).shape
    torch.Size([2, 30, 128])
    """

    def __init__(
        self, num_mels: int = 128, window_length: int = 1024, hop_length: int = 512, sample_rate: int = 16_000
    ) -> None:
        super().__init__()
        sizes = (("num_mels", num_mels), ("window_length", window_length), ("hop_length", hop_length))
        for name, value in (*sizes, ("sample_rate", sample_rate)):
            if type(value) is not int or not 1 <= value <= _LARGEST[name]:
                raise UserError(f"{name}={value!r:.40}: a whole number from 1 to {_LARGEST[name]:,} is needed")
        self.window_length = window_length
        self.hop_length = hop_length
        self._highest = sample_rate / 2
        mel = mel_triangles(window_length // 2 + 1, num_mels, sample_rate)
        # The lowest triangles are narrower than a bin and can be empty: they stay at the floor of -100 dB.
        mel = mel / mel.sum(0).clamp(min=torch.finfo(mel.dtype).tiny)
        self.register_buffer("mel", mel, persistent=False)
        self.register_buffer("window", torch.hann_window(window_length), persistent=False)
        self.mel: Tensor
        self.window: Tensor

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames mels"]:
        """Log-mel values in dB, in float32 also under mixed precision.

        Raises:
            UserError: fewer samples than one window.
        """
        if (samples := waveform.shape[1]) < self.window_length:
            raise UserError(
                f"a log-mel spectrogram needs at least {self.window_length} samples, got {samples}; take longer clips "
                "(data.clip_seconds)"
            )
        with torch.autocast(waveform.device.type, enabled=False):
            pieces = torch.split(waveform.float(), _CLIPS_AT_A_TIME if waveform.device.type == "cpu" else len(waveform))
            return torch.cat([self._log_mel(piece) for piece in pieces])

    @property
    def band_edges(self) -> Float[np.ndarray, " edges"]:
        """Hz: band b begins at ``[b]``, has its peak at ``[b + 1]`` and ends at ``[b + 2]``."""
        return mel_edges(_LOWEST, self._highest, self.mel.shape[1])

    def _log_mel(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames mels"]:
        spectrum = torch.stft(
            waveform,
            self.window_length,
            self.hop_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        power = spectrum.abs().square().transpose(1, 2) @ self.mel
        return 10 * torch.log10(power + 1e-10)
