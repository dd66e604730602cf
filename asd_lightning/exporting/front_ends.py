"""Front-ends as convolutions and matrix products, which every ONNX runtime has.

The package's own front-ends take clips and frames a few at a time, in Python's loops, which an export would freeze to
the clips of its example; and complex numbers, which ONNX does not have.  The numbers here are theirs but for rounding.

Shapes: B clips, N samples, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.errors import UserError
from asd_lightning.features import fbank, mn04_log_mel
from asd_lightning.features.fbank import FRAME_LENGTH, FRAME_SHIFT, KaldiFbank
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.features.spectrum import LogMelSpectrogram, MagnitudeSpectrum

_CPU = torch.device("cpu")
# Of the transform of a whole clip: the matrices of larger factors take a hundred megabytes.
_LARGEST_FACTOR = 4096
# Of one frame.
_MOST_PIECES = 64
# Samples at the lower rate that a sample of a resampled signal depends on, to either side; torchaudio's default is 7.
_RESAMPLING_REACH = 16


def as_products(front_end: nn.Module, samples: int) -> nn.Module:
    """The same front-end in products, for clips of ``samples``.

    Args:
        front_end: one of this package.
        samples: of each clip.

    Raises:
        UserError: one that there are no products for, or whose products would be too large.

    >>> exact, clips = LogMelSpectrogram(), torch.randn(2, 16_000)
    >>> bool((as_products(exact, 16_000)(clips) - exact(clips)).abs().max() < 1e-3)
    True
    """
    make = _PRODUCTS.get(type(front_end))
    if make is None:
        known = ", ".join(kind.__name__ for kind in _PRODUCTS)
        raise UserError(f"the front-end {type(front_end).__name__} cannot be exported; {known} can")
    return make(front_end, samples)


class TwoStepTransform(nn.Module):
    """The Fourier transform in two steps of matrix products (Cooley and Tukey): nearly as exact as a fast one.

    Of N = A B points, with point ``B a + b`` and bin ``c + A d``: a transform over a of length A, a turn by
    ``b c / N``, and one over b of length B.

    Args:
        points: N.
        bins: how many are wanted, from 0 Hz up.

    Raises:
        UserError: N has no two factors near each other.
    """

    def __init__(self, points: int, bins: int) -> None:
        super().__init__()
        self.bins = bins
        self.rows = max(factor for factor in range(1, math.isqrt(points) + 1) if points % factor == 0)
        self.columns = points // self.rows
        if self.columns > _LARGEST_FACTOR:
            raise UserError(
                f"{points} samples, {self.rows} times {self.columns}, have no spectrum in small products; choose a "
                "length with small factors, such as whole seconds"
            )
        own, other, wanted = np.arange(self.rows), np.arange(self.columns), np.arange(-(-self.bins // self.rows))
        self.first = _constant(np.concatenate(_turned(np.outer(own, own), self.rows), axis=1))
        self.turns = nn.ParameterList(map(_constant, _turned(np.outer(other, own), points)))
        cosines, sines = _turned(np.outer(other, wanted), self.columns)
        self.second = _constant(np.block([[cosines, sines], [-sines, cosines]]))

    def forward(self, x: Float[Tensor, "*many points"]) -> Float[Tensor, "*many bins"]:
        """Squared magnitudes."""
        columns = x.reshape(*x.shape[:-1], self.rows, self.columns).transpose(-1, -2)
        real, imaginary = (columns @ self.first).chunk(2, dim=-1)
        cosines, sines = self.turns
        turned = torch.cat([real * cosines - imaginary * sines, real * sines + imaginary * cosines], dim=-2)
        real, imaginary = (turned.transpose(-1, -2) @ self.second).chunk(2, dim=-1)
        power = real.square() + imaginary.square()
        return power.transpose(-1, -2).flatten(-2)[..., : self.bins]


class Bands(nn.Module):
    """Frames (B, T, length) -> power in each band (B, T, bands); frames are filled up to ``points`` with zeros.

    Args:
        points: of the transform.
        mel: weight of each bin in each band.
    """

    def __init__(self, points: int, mel: Float[Tensor, "bins bands"]) -> None:
        super().__init__()
        heard = int(mel.any(dim=1).nonzero().max()) + 1
        self.points, self.mel = points, _constant(mel[:heard])
        self.transform = TwoStepTransform(points, heard)

    def forward(self, framed: Float[Tensor, "batch frames length"]) -> Float[Tensor, "batch frames bands"]:
        """Weighted sums of squared magnitudes."""
        return self.transform(F.pad(framed, (0, self.points - framed.shape[2]))) @ self.mel  # type: ignore[no-any-return]


class Framed(nn.Module):
    """Waveform (B, N) -> frames (B, T, length), from stretches that begin with every frame or lie between."""

    def __init__(self, length: int, hop: int) -> None:
        super().__init__()
        self.stretch = math.gcd(length, hop)
        self.pieces, self.step = length // self.stretch, hop // self.stretch
        if self.pieces > _MOST_PIECES:
            raise UserError(
                f"frames of {length} samples every {hop} cannot be exported: choose multiples of one length"
            )

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames length"]:
        """The frames."""
        count = waveform.shape[1] // self.stretch
        stretches = waveform[:, : count * self.stretch].reshape(-1, count, self.stretch)
        last = (count - self.pieces) // self.step * self.step
        return torch.cat([stretches[:, one : one + last + 1 : self.step] for one in range(self.pieces)], dim=2)


class KaldiProducts(nn.Module):
    """`asd_lightning.features.fbank.KaldiFbank`."""

    def __init__(self, exact: KaldiFbank, samples: int) -> None:
        super().__init__()
        window, mel = fbank.tables(exact.window_type, exact.waveform_scale, torch.float32, _CPU)
        self.framed = Framed(FRAME_LENGTH, FRAME_SHIFT)
        self.bands = Bands(fbank.FFT_LENGTH, mel)
        self.window = _constant(window)
        self.mean, self.std = exact.mean, exact.std
        self.frames = exact.target_frames
        self.missing = (exact.target_frames or 0) - (1 + (samples - FRAME_LENGTH) // FRAME_SHIFT)

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames 128"]:
        """Normalised log-mel filter bank."""
        # Each frame loses its mean anyhow; without the clip's, less is lost to rounding.
        framed = self.framed(waveform - waveform.mean(1, keepdim=True))
        centered = framed - framed.mean(2, keepdim=True)
        delayed = torch.cat([centered[..., :1], centered[..., :-1]], dim=2)
        emphasized = (centered - fbank.PRE_EMPHASIS * delayed) * self.window
        log_mel = self.bands(emphasized).clamp(min=fbank.ENERGY_FLOOR).log()
        if self.frames is not None:
            log_mel = F.pad(log_mel, (0, 0, 0, self.missing)) if self.missing > 0 else log_mel[:, : self.frames]
        return (log_mel - self.mean) / (2 * self.std)  # type: ignore[no-any-return]


class LogMelProducts(nn.Module):
    """`asd_lightning.features.spectrum.LogMelSpectrogram`."""

    def __init__(self, exact: LogMelSpectrogram, samples: int) -> None:
        super().__init__()
        self.framed = Framed(exact.window_length, exact.hop_length)
        self.bands = Bands(exact.window_length, exact.mel)
        self.window = _constant(exact.window)

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames mels"]:
        """Log-mel values in dB."""
        return 10 * torch.log10(self.bands(self.framed(waveform) * self.window) + 1e-10)


class MN04Products(nn.Module):
    """`asd_lightning.features.mn04_log_mel.MN04LogMel`."""

    def __init__(self, exact: MN04LogMel, samples: int) -> None:
        super().__init__()
        window, mel = mn04_log_mel.tables(torch.float32, _CPU)
        self.resampled = Resampled(exact, samples) if exact.sample_rate != mn04_log_mel.SAMPLE_RATE else nn.Identity()
        self.framed = Framed(mn04_log_mel.WINDOW_LENGTH, mn04_log_mel.HOP_LENGTH)
        self.bands = Bands(mn04_log_mel.FFT_LENGTH, mel)
        self.window = _constant(window)

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch frames 128"]:
        """Normalised log-mel spectrogram."""
        signal = self.resampled(waveform)
        emphasized = signal[:, 1:] - mn04_log_mel.PRE_EMPHASIS * signal[:, :-1]
        # The original has the window in the middle of zeros; where a frame lies in its transform changes no power.
        half = mn04_log_mel.WINDOW_LENGTH // 2
        mirrored = F.pad(emphasized[:, None], (half, half), mode="reflect").squeeze(1)
        mel = self.bands(self.framed(mirrored) * self.window)
        log_mel: Tensor = (mel + mn04_log_mel.OFFSET).log()
        return (log_mel + mn04_log_mel.SHIFT) / mn04_log_mel.SPREAD


class Resampled(nn.Module):
    """`MN04LogMel.resampled` as a convolution, found by what it makes of single samples."""

    def __init__(self, exact: MN04LogMel, samples: int) -> None:
        super().__init__()
        common = math.gcd(exact.sample_rate, mn04_log_mel.SAMPLE_RATE)
        self.step, made = exact.sample_rate // common, mn04_log_mel.SAMPLE_RATE // common
        # In steps, on either side of one: more than the filter is long, by whatever rate.
        around = math.ceil(_RESAMPLING_REACH * max(1.0, self.step / made) / self.step) + 1
        impulses = torch.eye((2 * around + 1) * self.step)
        responses = exact.resampled(impulses)[:, around * made : (around + 1) * made]
        self.padding = around * self.step
        self.filters = nn.Parameter(responses.T[:, None].contiguous(), requires_grad=False)
        self.length = math.ceil(made * samples / self.step)

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch resampled"]:
        """The waveform at 32 kHz."""
        padded = F.pad(waveform[:, None], (self.padding, self.padding + self.step))
        return F.conv1d(padded, self.filters, stride=self.step).transpose(1, 2).flatten(1)[:, : self.length]


class WholeClipProducts(nn.Module):
    """`asd_lightning.features.spectrum.MagnitudeSpectrum`."""

    def __init__(self, exact: MagnitudeSpectrum, samples: int) -> None:
        super().__init__()
        self.transform = TwoStepTransform(samples, samples // 2)

    def forward(self, waveform: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch bins"]:
        """Magnitudes."""
        return self.transform(waveform).sqrt()  # type: ignore[no-any-return]


_PRODUCTS: Mapping[type[nn.Module], Callable[..., nn.Module]] = {
    KaldiFbank: KaldiProducts,
    LogMelSpectrogram: LogMelProducts,
    MN04LogMel: MN04Products,
    MagnitudeSpectrum: WholeClipProducts,
}


def _turned(steps: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosine and sine of ``-steps`` of a turn's ``points``, steps of whole turns left out first, to keep the digits."""
    angle = -2 * np.pi * (steps % points) / points
    return np.cos(angle), np.sin(angle)


def _constant(values: np.ndarray | Tensor) -> nn.Parameter:
    return nn.Parameter(torch.as_tensor(np.array(values, np.float32)), requires_grad=False)
