"""The training-free encoder: statistics of each band over time."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.errors import UserError

Statistic = Callable[[Tensor], Tensor]

# Frames per second of the log-mel spectrogram: 16 kHz in hops of 512 samples.
FRAME_RATE = 31.25
_MOST = 64
_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d{1,6})?)")
_MODULATION = re.compile(r"m(\d{1,4}(?:\.\d{1,6})?)-(\d{1,4}(?:\.\d{1,6})?)")
_NAMES = "mean, deviation, change, p10 (a percentile), m2-4 (modulation from 2 to below 4 Hz)"


class TemporalStatistics(nn.Module):
    """Statistics over time of every band, one number each; nothing to train.

    - ``mean``;
    - ``deviation``: the standard deviation (of the population);
    - ``pQ``, such as ``p50`` or ``p99.5``: the Q-th percentile, linear between the two nearest frames;
    - ``change``: the standard deviation of the differences between a frame and the next;
    - ``mA-B``, such as ``m2-4``: modulation, the root of the power that the band's course over time has from A to below
      B Hz, in the band's units.  Ranges that cover all frequencies above 0 have together the squared deviation
      (Parseval).

    Args:
        num_bands: of the features.
        statistics: names, each once.
        frame_rate: frames per second, for the modulation.

    Raises:
        UserError: a name that is none of these, one that stands there twice, or too many.

    >>> frames = torch.tensor([[[0.0, 1.0], [2.0, 1.0]]])
    >>> TemporalStatistics(num_bands=2)(frames)
    tensor([[1., 1., 1., 0.]])
    >>> TemporalStatistics(num_bands=2, statistics=["p75", "m1-100"])(frames)
    tensor([[1.5000, 1.0000, 1.0000, 0.0000]])
    """

    def __init__(
        self,
        num_bands: int = 128,
        statistics: Sequence[str] = ("mean", "deviation"),
        frame_rate: float = FRAME_RATE,
    ) -> None:
        super().__init__()
        if isinstance(statistics, str) or not 1 <= len(statistics) <= _MOST or len({*statistics}) < len(statistics):
            raise UserError(
                f"statistics={statistics!s:.99}: a list of 1 to {_MOST} different names is needed: {_NAMES}"
            )
        self.statistics = [_statistic(name, frame_rate) for name in statistics]
        self.out_dim = len(self.statistics) * num_bands

    def forward(self, features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch dim"]:
        """The first statistic of all bands, then the second of all bands, and so on."""
        # Sorting takes longer than all else: once for all percentiles.
        ordered = _ordered(features) if any(isinstance(one, float) for one in self.statistics) else features
        parts = [percentile(ordered, one) if isinstance(one, float) else one(features) for one in self.statistics]
        return torch.cat(parts, dim=1)


def _statistic(name: str, frame_rate: float) -> Statistic | float:
    """What computes it; of a percentile its share, from 0 to 1."""
    if name in _PLAIN:
        return _PLAIN[name]
    if (match := _PERCENTILE.fullmatch(name)) and float(match[1]) <= 100:
        return float(match[1]) / 100
    if (match := _MODULATION.fullmatch(name)) and float(match[1]) < float(match[2]):
        return partial(_modulation, low=float(match[1]) / frame_rate, high=float(match[2]) / frame_rate)
    raise UserError(f"statistics: {name!r:.40} is none; there are {_NAMES}")


def _mean(features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch bands"]:
    return features.mean(1)


def _deviation(features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch bands"]:
    return features.std(1, correction=0)


def _change(features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch bands"]:
    if features.shape[1] < 2:
        return torch.zeros_like(features[:, 0])
    return features.diff(dim=1).std(1, correction=0)


def _ordered(features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch frames bands"]:
    """Each band's values, ascending; on a processor by numpy, which is six times faster."""
    if features.device.type != "cpu" or features.requires_grad or features.dtype not in (torch.float32, torch.float64):
        return features.sort(1).values
    return torch.from_numpy(np.sort(features.numpy(), axis=1))


def percentile(ordered: Float[Tensor, "batch frames bands"], share: float) -> Float[Tensor, "batch bands"]:
    """Of sorted frames: torch's own quantile takes no more than 16 million numbers, the frames of a few hours."""
    position = share * (ordered.shape[1] - 1)
    return ordered[:, math.floor(position)].lerp(ordered[:, math.ceil(position)], position % 1)


def _modulation(features: Float[Tensor, "batch frames bands"], low: float, high: float) -> Float[Tensor, "batch bands"]:
    """``low`` and ``high`` are in cycles per frame."""
    frames = features.shape[1]
    power = torch.fft.rfft(features - features.mean(1, keepdim=True), dim=1, norm="forward").abs().square()
    frequencies = torch.fft.rfftfreq(frames, device=features.device)
    # Every bin stands for two of the whole spectrum, but for 0 and half the frame rate.
    weights = torch.where((frequencies > 0) & (frequencies < 0.5), 2.0, 1.0)
    wanted = weights * (frequencies >= low) * (frequencies < high)
    root: Tensor = (wanted[:, None] * power).sum(1).sqrt()
    return root


_PLAIN: dict[str, Statistic] = {"mean": _mean, "deviation": _deviation, "change": _change}
