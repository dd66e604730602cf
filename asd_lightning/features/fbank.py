"""Kaldi log-mel filter banks as BEATs and EAT expect them, for a whole batch at once on the waveform's device.

``torchaudio.compliance.kaldi.fbank`` is the reference, in code and in the tests, but takes one clip at a time: on a GPU
thousands of small launches, on a CPU a Python loop.  Hence this own version, which returns its numbers to rounding.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.errors import UserError
from asd_lightning.features.mel_table import MEL_BINS, MelScale, mel_table

SAMPLE_RATE = 16_000
FRAME_LENGTH = 400  # 25 ms
FRAME_SHIFT = 160  # 10 ms
FFT_LENGTH = 512
_SCALE = MelScale(FFT_LENGTH, SAMPLE_RATE, low=20.0, high=SAMPLE_RATE / 2)
PRE_EMPHASIS = 0.97
_POVEY_EXPONENT = 0.85
ENERGY_FLOOR = torch.finfo(torch.float32).eps

# Frames transformed at a time: on a CPU as many as stay in the cache (2 KiB each), elsewhere enough to fill the device.
_CPU_FRAMES = 1_024
_DEVICE_FRAMES = 131_072

WindowType = Literal["povey", "hanning"]


class KaldiFbank(nn.Module):
    """Waveform in [-1, 1] at 16 kHz -> normalised log-mel filter bank: 128 bands from 20 Hz to 8 kHz, 100 frames/s.

    Per frame of 25 ms: mean removed, pre-emphasis 0.97, window, power spectrum of 512 points, mel bands, natural
    logarithm floored at log(1.19e-7); then ``(log_mel - mean) / (2 * std)``, the convention of both encoders.

    It computes in float32 whatever autocast says, since the power spectrum overflows float16 (float64 stays float64),
    and passes no gradient to the waveform.  It holds no parameters and no buffers, so that neither a cast of the model
    to a lower precision nor an average of its weights touches the tables.

    Args:
        window_type: ``povey`` (a Hann window to the power 0.85) or ``hanning``; both with zero end points.
        mean: of the log-mel values on the encoder's pre-training data.
        std: their standard deviation.
        waveform_scale: factor on the waveform; 2**15 restores 16-bit integer values.
        remove_clip_mean: subtract each clip's mean first; since each frame's mean goes anyway, a matter of rounding.
        target_frames: cut, or pad with log-mel 0 *before* normalisation, to this many frames; None keeps all frames.
    """

    def __init__(
        self,
        window_type: WindowType,
        mean: float,
        std: float,
        waveform_scale: float = 1.0,
        remove_clip_mean: bool = False,
        target_frames: int | None = None,
    ) -> None:
        super().__init__()
        if window_type not in ("povey", "hanning"):
            raise ValueError(f"window_type must be 'povey' or 'hanning', not {window_type!r}")
        if target_frames is not None and target_frames < 1:
            raise ValueError(f"target_frames must be at least 1, not {target_frames}")
        self.window_type: WindowType = window_type
        self.mean = mean
        self.std = std
        self.waveform_scale = waveform_scale
        self.remove_clip_mean = remove_clip_mean
        self.target_frames = target_frames

    @property
    def band_edges(self) -> Float[np.ndarray, " 130"]:
        """Hz: band b begins at ``[b]``, has its peak at ``[b + 1]`` and ends at ``[b + 2]``."""
        return _SCALE.edges

    @torch.no_grad()
    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames 128"]:
        """Frames: ``1 + (samples - 400) // 160``, or ``target_frames``.

        Raises:
            UserError: fewer than 400 samples, one frame.
        """
        samples = waveform.shape[-1]
        if samples < FRAME_LENGTH:
            raise UserError(
                f"a filter bank needs at least {FRAME_LENGTH} samples (25 ms at 16 kHz), got {samples}; take longer "
                "clips (data.clip_seconds)"
            )
        frames = 1 + (samples - FRAME_LENGTH) // FRAME_SHIFT
        wanted = self.target_frames or frames
        frames = min(frames, wanted)
        signal = waveform if waveform.dtype == torch.float64 else waveform.float()
        if self.remove_clip_mean:
            signal = signal - signal.mean(-1, keepdim=True)
        framed = signal.unfold(-1, FRAME_LENGTH, FRAME_SHIFT)[:, :frames]
        log_mel = signal.new_zeros(len(signal), wanted, MEL_BINS)
        budget = _CPU_FRAMES if signal.device.type == "cpu" else _DEVICE_FRAMES
        clips = max(1, budget // frames)
        with torch.autocast(signal.device.type, enabled=False):
            for first in range(0, len(signal), clips):
                for start in range(0, frames, budget):
                    part = (slice(first, first + clips), slice(start, min(start + budget, frames)))
                    log_mel[part] = self._log_mel(framed[part])
        return log_mel.sub_(self.mean).div_(2 * self.std)

    def _log_mel(self, framed: Float[Tensor, "clips frames 400"]) -> Float[Tensor, "clips frames 128"]:
        """Log-mel values of some frames, in the reference's order of operations, which shares its rounding."""
        window, mel = tables(self.window_type, self.waveform_scale, framed.dtype, framed.device)
        centered = framed - framed.mean(-1, keepdim=True)
        padded = framed.new_zeros(*framed.shape[:-1], FFT_LENGTH)
        emphasized = padded[..., :FRAME_LENGTH]
        delayed = centered * PRE_EMPHASIS
        torch.sub(centered[..., 1:], delayed[..., :-1], out=emphasized[..., 1:])
        torch.sub(centered[..., 0], delayed[..., 0], out=emphasized[..., 0])
        emphasized.mul_(window)
        squares = torch.view_as_real(torch.fft.rfft(padded)).square_()
        return ((squares[..., 0] + squares[..., 1]) @ mel).clamp_(min=ENERGY_FLOOR).log_()

    def extra_repr(self) -> str:
        """The settings, for the printed module."""
        return f"{self.window_type}, mean={self.mean}, std={self.std}, target_frames={self.target_frames}"


@lru_cache(maxsize=32)
def tables(
    window_type: WindowType, waveform_scale: float, dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, " 400"], Float[Tensor, "257 128"]]:
    """The window, waveform scale included, and the mel bands."""
    window = torch.hann_window(FRAME_LENGTH, periodic=False, dtype=dtype)
    if window_type == "povey":
        window = window.pow(_POVEY_EXPONENT)
    return (window * waveform_scale).to(device), _mel_table(dtype).to(device=device, dtype=dtype)


def _mel_table(dtype: torch.dtype) -> Float[Tensor, "257 128"]:
    return mel_table(_SCALE, dtype)


def beats_fbank() -> KaldiFbank:
    """Input of BEATs: Povey window, 16-bit scale, statistics of AudioSet (Chen et al., 2023)."""
    return KaldiFbank("povey", mean=15.41663, std=6.55582, waveform_scale=2.0**15)


def eat_fbank(target_frames: int = 1024) -> KaldiFbank:
    """Input of EAT (Chen et al., 2024): Hann window, 10.24 s by default; longer clips are cut, shorter ones padded.

    ``target_frames`` should be a multiple of the encoder's patch size, 16.
    """
    return KaldiFbank("hanning", mean=-4.268, std=4.569, remove_clip_mean=True, target_frames=target_frames)
