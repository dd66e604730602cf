"""The spectrum branch's network: three strided convolutions along frequency, five dense layers.

Wilkinghoff, "Design choices for learning embeddings from auxiliary tasks for domain generalization in anomalous sound
detection", ICASSP 2023, Table 1.  For the 80,000 bins of a 10 s clip the shapes are 80000 -> 128 x 1250 -> 128 x 40
-> 128 x 10 -> 1280 -> 128.  No layer has a bias; 1,573,888 parameters.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

# (kernel, stride) of each convolution
_CONVOLUTIONS = ((256, 64), (64, 32), (16, 4))
_DENSE_LAYERS = 4


class SameConv1d(nn.Conv1d):
    """Strided convolution whose output has ceil(length / stride) positions; torch's own "same" refuses strides.

    The odd sample of padding goes to the right.
    """

    def forward(self, features: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch filters out"]:
        """Pad with zeros to ceil(length / stride) output positions, then convolve."""
        length, (kernel,), (stride,) = features.shape[2], self.kernel_size, self.stride
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        return super().forward(F.pad(features, (total // 2, total - total // 2)))


class SpectrumCNN(nn.Module):
    """Magnitude spectrum (batch, bins) -> embedding (batch, out_dim), in float32 under mixed precision.

    Args:
        clip_seconds: length of the clips, which fixes the number of bins: half the samples.
        sample_rate: in Hz.
        channels: filters of each convolution.
        out_dim: length of the embedding and of the dense layers.
        squeeze_excitation: reweight the filters after each convolution by their mean (Hu et al., CVPR 2018).
    """

    def __init__(
        self,
        clip_seconds: float = 10.0,
        sample_rate: int = 16_000,
        channels: int = 128,
        out_dim: int = 128,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        self.num_bins = round(clip_seconds * sample_rate) // 2
        self.out_dim = out_dim
        layers: list[nn.Module] = []
        length, width = self.num_bins, 1
        for kernel, stride in _CONVOLUTIONS:
            layers += [SameConv1d(width, channels, kernel, stride, bias=False), nn.ReLU()]
            if squeeze_excitation:
                layers.append(SqueezeExcitation(channels))
            length, width = -(-length // stride), channels
        self.convolutions = nn.Sequential(*layers)
        widths = [channels * length] + [out_dim] * _DENSE_LAYERS
        hidden = [_dense(before, after) for before, after in pairwise(widths)]
        self.dense = nn.Sequential(*hidden, nn.Linear(out_dim, out_dim, bias=False))

    def forward(self, spectrum: Float[Tensor, "batch bins"]) -> Float[Tensor, "batch dim"]:
        """Embedding of each spectrum.

        Raises:
            ValueError: the spectrum has another number of bins than the network was built for.
        """
        if spectrum.shape[1] != self.num_bins:
            raise ValueError(
                f"spectrum of {spectrum.shape[1]} bins, built for {self.num_bins}; "
                "set the spectrum CNN's clip_seconds to the length of the clips"
            )
        # A full-scale clip's bins reach 1e4 and beyond, too much for half precision.
        with torch.autocast(spectrum.device.type, enabled=False):
            filters = self.convolutions(spectrum.float()[:, None])
            embedding: Tensor = self.dense(filters.flatten(1))
            return embedding


class SqueezeExcitation(nn.Module):
    """Scale each filter by a gate, computed from the means of all through a bottleneck of a sixteenth as many."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(channels // 16, 1)
        self.gate = nn.Sequential(
            nn.Linear(channels, squeezed, bias=False),
            nn.ReLU(),
            nn.Linear(squeezed, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, filters: Float[Tensor, "batch channels length"]) -> Float[Tensor, "batch channels length"]:
        """The filters, each multiplied by its gate."""
        gate: Tensor = self.gate(filters.mean(2))
        return filters * gate[:, :, None]


def _dense(before: int, after: int) -> nn.Sequential:
    # Keras' defaults, which the published network was trained with: eps 1e-3, and a momentum of 0.99 of the old value.
    norm = nn.BatchNorm1d(after, eps=1e-3, momentum=0.01)
    return nn.Sequential(nn.Linear(before, after, bias=False), norm, nn.ReLU())
