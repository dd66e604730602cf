"""The log-mel spectrogram that mn04 was trained on, at 32 kHz.

Origin: the front-end of https://github.com/fschmid56/EfficientAT (MIT licence) as it is outside training; this file is
an independent implementation.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchaudio.functional import resample

from asd_lightning.errors import UserError
from asd_lightning.features.mel_table import MelScale, mel_table

SAMPLE_RATE = 32_000
HOP_LENGTH = 320  # 10 ms
FEWEST_SAMPLES = 514
WINDOW_LENGTH = 800  # 25 ms
FFT_LENGTH = 1024
_SCALE = MelScale(FFT_LENGTH, SAMPLE_RATE, low=0.0, high=15_000.0)
# As the float32 that it is in the published front-end, also in double precision.
PRE_EMPHASIS = float(np.float32(0.97))
_LARGEST_TERM = 1000  # of 44.1 kHz: 441
OFFSET = 1e-5
SHIFT, SPREAD = 4.5, 5.0


class MN04LogMel(nn.Module):
    """Waveform in [-1, 1] -> normalised log-mel spectrogram: 128 bands from 0 to 15 kHz, 100 frames/s.

    Pre-emphasis 0.97 without the first sample; symmetric Hann window of 25 ms in the middle of 1024 points, frames
    centred on multiples of 10 ms of the mirrored signal; power; mel bands; ``(ln(mel + 1e-5) + 4.5) / 5``.  Neither
    level nor mean of a clip is changed: silence is -1.40, and a full-scale square wave stays below 4.

    It computes in float32 whatever autocast says (float64 stays float64), one clip at a time on a CPU, where more leave
    the cache.  It holds no parameters and no buffers, so that neither a cast of the model to a lower precision nor an
    average of its weights touches the tables.

    Args:
        sample_rate: of the waveforms, in Hz; others than 32 kHz are resampled by torchaudio's defaults.

    Raises:
        UserError: a rate that is none, or whose ratio to 32 kHz would take a filter of any size.

    >>> MN04LogMel()(torch.zeros(2, 16_000)).shape
    torch.Size([2, 100, 128])
    """

    def __init__(self, sample_rate: int = 16_000) -> None:
        super().__init__()
        if type(sample_rate) is not int or sample_rate < 1 or _larger_term(sample_rate) > _LARGEST_TERM:
            raise UserError(f"sample_rate={sample_rate!r:.40}: a usual rate in Hz is needed, such as 16000 or 44100")
        self.sample_rate = sample_rate

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames 128"]:
        """Frames: ``1 + (samples - 1) // 320``, of the samples at 32 kHz.

        Raises:
            UserError: fewer than 514 samples at 32 kHz, whose ends cannot be mirrored.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            signal = self.resampled(waveform if waveform.dtype == torch.float64 else waveform.float())
            samples = signal.shape[1]
            if samples < FEWEST_SAMPLES:
                raise UserError(
                    f"mn04 needs at least {FEWEST_SAMPLES} samples at 32 kHz (17 ms), got {samples}, from "
                    f"{waveform.shape[1]} at {self.sample_rate} Hz; take longer clips (data.clip_seconds)"
                )
            pieces = torch.split(signal, 1 if signal.device.type == "cpu" else len(signal))
            return torch.cat([_log_mel(piece) for piece in pieces])

    @property
    def band_edges(self) -> Float[np.ndarray, " 130"]:
        """Hz: band b begins at ``[b]``, has its peak at ``[b + 1]`` and ends at ``[b + 2]``."""
        return _SCALE.edges

    def resampled(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch resampled"]:
        """The waveform at 32 kHz."""
        return resample(waveform, self.sample_rate, SAMPLE_RATE)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """The rate of the waveforms, for the printed module."""
        return f"sample_rate={self.sample_rate}"


def _larger_term(sample_rate: int) -> int:
    """Of the reduced ratio of the rate to 32 kHz; the resampling filter is as large as the terms' product."""
    return max(sample_rate, SAMPLE_RATE) // math.gcd(sample_rate, SAMPLE_RATE)


def _log_mel(signal: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames 128"]:
    window, mel = tables(signal.dtype, signal.device)
    power = _power(_spectrum(_emphasized(signal), window))
    return ((power.transpose(1, 2) @ mel + OFFSET).log() + SHIFT) / SPREAD


def _emphasized(signal: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch shorter"]:
    return signal[:, 1:] - PRE_EMPHASIS * signal[:, :-1]


def _spectrum(signal: Float[Tensor, "batch samples"], window: Float[Tensor, " 800"]) -> Tensor:
    """Complex (batch, bins, frames); torch puts the window in the middle of the longer transform."""
    return torch.stft(
        signal, FFT_LENGTH, HOP_LENGTH, WINDOW_LENGTH, window, center=True, pad_mode="reflect", return_complex=True
    )


def _power(spectrum: Tensor) -> Tensor:
    parts = torch.view_as_real(spectrum).square()
    return parts[..., 0] + parts[..., 1]


@lru_cache(maxsize=8)
def tables(dtype: torch.dtype, device: torch.device) -> tuple[Float[Tensor, " 800"], Float[Tensor, "513 128"]]:
    """The window, with the values of float32, and the mel bands; for training too, whoever asks first."""
    with torch.inference_mode(False):
        return _made_tables(dtype, device)


def _made_tables(dtype: torch.dtype, device: torch.device) -> tuple[Float[Tensor, " 800"], Float[Tensor, "513 128"]]:
    return _window().to(device=device, dtype=dtype), mel_table(_SCALE, dtype).to(device)


def _window() -> Float[Tensor, " 800"]:
    return torch.hann_window(WINDOW_LENGTH, periodic=False)
