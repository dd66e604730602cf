"""Far-microphone reduction: take out of the near microphone what the far one tells about the surroundings.

In the 2026 release channel 0 stands near the machine and channel 1 far from it, where the surroundings are louder and
the machine is weaker. In each band of a short-time Fourier transform the near channel is regressed on the far one, with
one complex coefficient per band: a gain and a phase, so a delay between the microphones is followed. The prediction is
subtracted. This is the least-squares transfer function of Bendat and Piersol, "Random Data", chapter 6, as a fixed
noise canceller (Widrow et al., "Adaptive noise cancelling: principles and applications", Proc. IEEE 63(12), 1975).

Its limits: noise that is not coherent between the microphones gets a coefficient near zero and stays; the machine's own
sound in the far channel is subtracted too, which colours the near one by the same filter in every clip.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Complex64, Float
from torch import Tensor, nn

from asd_lightning.errors import UserError

WINDOW_LENGTH = 1024  # samples: 64 ms at 16 kHz, long against the delay between two microphones
HOP_LENGTH = 256
NUM_BANDS = WINDOW_LENGTH // 2 + 1
# Of the loudest band's power: a band in which the far microphone hears nothing gets the coefficient 0.
_FLOOR = 1e-12


def fit_far_coefficients(waveforms: Iterable[Float[Tensor, "channels samples"]]) -> Complex64[Tensor, " bands"]:
    """Least-squares coefficients of the near channel on the far one, over all frames of all clips.

    ``sum(near conj(far)) / sum(|far|^2)`` per band. Give one machine's training clips, and those alone: rooms and
    microphone places differ between machines, and a coefficient that has seen a test clip leaks it.

    Args:
        waveforms: (2, samples) each, near channel first, at least 1024 samples long.

    Raises:
        UserError: no clips, a clip that is not of two channels, or one too short.
    """
    cross = torch.zeros(NUM_BANDS, dtype=torch.complex128)
    far_power = torch.zeros(NUM_BANDS, dtype=torch.float64)
    count = 0
    for waveform in waveforms:
        _check(waveform.shape[-2], waveform.shape[-1])
        near, far = _transform(waveform.double().cpu(), center=False)
        cross += (near * far.conj()).sum(dim=1)
        far_power += far.abs().square().sum(dim=1)
        count += 1
    if count == 0:
        raise UserError("no training clips to fit the far-microphone reduction to: give those of the machine")
    heard = far_power > _FLOOR * far_power.max()
    coefficients = torch.where(heard, cross / far_power.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    return coefficients.to(torch.complex64)


class FarMicrophoneReduction(nn.Module):
    """Two channels to one: near minus ``coefficients`` times far, per band. Same length, same scale as the near one.

    Args:
        coefficients: from `fit_far_coefficients`, of the machine that is heard.
    """

    def __init__(self, coefficients: Complex64[Tensor, " bands"]) -> None:
        super().__init__()
        # Real and imaginary part: safetensors and most averages know no complex numbers.
        self.register_buffer("coefficients", torch.view_as_real(coefficients).contiguous())
        self.coefficients: Tensor

    def forward(self, waveform: Float[Tensor, "batch channels samples"]) -> Float[Tensor, "batch samples"]:
        """The near channel less what the far one predicts of it.

        Raises:
            UserError: not two channels, or shorter than a window.
        """
        batch, channels, samples = waveform.shape
        _check(channels, samples)
        with torch.autocast(waveform.device.type, enabled=False):
            spectra = _transform(waveform.float().flatten(0, 1), center=True).view(batch, channels, NUM_BANDS, -1)
            predicted = torch.view_as_complex(self.coefficients)[:, None] * spectra[:, 1]
            window = torch.hann_window(WINDOW_LENGTH, device=waveform.device)
            # The near channel itself is not transformed back: where nothing is predicted, it stays as it was.
            surroundings: Tensor = torch.istft(predicted, WINDOW_LENGTH, HOP_LENGTH, window=window, length=samples)
        return waveform[:, 0] - surroundings.to(waveform.dtype)


def _transform(waveform: Tensor, center: bool) -> Tensor:
    window = torch.hann_window(WINDOW_LENGTH, dtype=waveform.dtype, device=waveform.device)
    return torch.stft(waveform, WINDOW_LENGTH, HOP_LENGTH, window=window, center=center, return_complex=True)


def _check(channels: int, samples: int) -> None:
    if channels != 2:
        raise UserError(
            f"far-microphone reduction needs two channels (near, far), got {channels}: choose a channel instead"
        )
    if samples < WINDOW_LENGTH:
        raise UserError(f"far-microphone reduction needs clips of at least {WINDOW_LENGTH} samples, got {samples}")
