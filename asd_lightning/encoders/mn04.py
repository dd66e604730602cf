"""mn04: a small MobileNetV3 that tags sounds, distilled from transformers.

Paper: F. Schmid, K. Koutini, G. Widmer, "Efficient large-scale audio tagging via transformer-to-CNN knowledge
    distillation", ICASSP 2023, https://arxiv.org/abs/2211.04772
Origin: ``mn04_as`` of https://github.com/fschmid56/EfficientAT (MIT licence); this file is an independent
    implementation with the published file's parameter names.

Shapes: B clips, T frames of 10 ms, C channels, F bands of frequency, T' steps of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.encoders.grid import TokenGrid

MEL_BINS = 128
EMBED_DIM = 384
CLASSES = 527
LAST_BLOCK = 16

Bands = Literal["keep", "merge"]

_WIDTH = 0.4
_NORM_EPS, _NORM_MOMENTUM = 1e-3, 0.01
_DROPOUT = 0.2
_STEM, _HIDDEN = 16, 1280


class _Row(NamedTuple):
    """A block of MobileNetV3-Large: channels are those of width 1."""

    kernel: int
    expanded: int
    out: int
    excitation: bool
    activation: type[nn.Module]
    stride: int


# Table 1 of Howard et al., "Searching for MobileNetV3", ICCV 2019.
_ROWS = (
    _Row(3, 16, 16, False, nn.ReLU, 1),
    _Row(3, 64, 24, False, nn.ReLU, 2),
    _Row(3, 72, 24, False, nn.ReLU, 1),
    _Row(5, 72, 40, True, nn.ReLU, 2),
    _Row(5, 120, 40, True, nn.ReLU, 1),
    _Row(5, 120, 40, True, nn.ReLU, 1),
    _Row(3, 240, 80, False, nn.Hardswish, 2),
    _Row(3, 200, 80, False, nn.Hardswish, 1),
    _Row(3, 184, 80, False, nn.Hardswish, 1),
    _Row(3, 184, 80, False, nn.Hardswish, 1),
    _Row(3, 480, 112, True, nn.Hardswish, 1),
    _Row(3, 672, 112, True, nn.Hardswish, 1),
    _Row(5, 672, 160, True, nn.Hardswish, 2),
    _Row(5, 960, 160, True, nn.Hardswish, 1),
    _Row(5, 960, 160, True, nn.Hardswish, 1),
)


@dataclass(frozen=True)
class MN04Config:
    """What of mn04 is used; its sizes are fixed.

    Args:
        block: whose output makes the tokens, 0 (the first convolution) to 16 (the last one).
        bands: ``keep`` them apart, a token for each step of time; or ``merge``, a token for each step and band.
    """

    block: int = 8
    bands: Bands = "keep"

    def __post_init__(self) -> None:
        if type(self.block) is not int or not 0 <= self.block <= LAST_BLOCK:
            raise ValueError(f"block must be a whole number from 0 to {LAST_BLOCK}, got {self.block!r:.40}")
        if self.bands not in get_args(Bands):
            raise ValueError(f"bands must be one of {', '.join(get_args(Bands))}, got {self.bands!r:.40}")


class Tags(NamedTuple):
    """What mn04 says of clips.

    Attributes:
        embedding: mean of the last block over frequency and time.
        hidden: the layer between.
        logits: one for each of AudioSet's 527 classes, in the order of its list; their sigmoids are probabilities.
    """

    embedding: Float[Tensor, "batch 384"]
    hidden: Float[Tensor, "batch 512"]
    logits: Float[Tensor, "batch 527"]


class MN04(nn.Module):
    """Normalised log-mel spectrogram -> tokens from one of the 17 blocks, their outputs, or tags of the clip.

    A step of time is 10 ms times the strides so far: 160 ms in blocks 7 to 12, of 8 bands, and 320 ms beyond, of 4.

    Attributes:
        token_dim: width of a token.
        grid: layout of the tokens.
        beyond_tokens: what has no part in them.
        bf16: see `asd_lightning.low_precision`.  There is no int8: its time goes into convolutions.

    >>> import torch
    >>> encoder = MN04(MN04Config(block=8)).eval()
    >>> encoder(torch.zeros(2, 1000, 128)).shape, encoder.token_dim
    (torch.Size([2, 63, 256]), 256)
    >>> [tuple(output.shape) for output in encoder.block_outputs(torch.zeros(2, 1000, 128), [4, 12])]
    [(2, 16, 16, 125), (2, 48, 8, 63)]
    """

    bf16 = True

    def __init__(self, config: MN04Config | None = None) -> None:
        super().__init__()
        self.config = config = config or MN04Config()
        channels = [_channels(full * _WIDTH) for full in (_STEM, *(row.out for row in _ROWS))]
        blocks = [_Block(inputs, row) for inputs, row in zip(channels, _ROWS, strict=False)]
        self.features = nn.ModuleList(
            [
                _convolution(1, channels[0], 3, stride=2, activation=nn.Hardswish),
                *blocks,
                _convolution(channels[-1], EMBED_DIM, 1, activation=nn.Hardswish),
            ]
        )
        hidden = _channels(_HIDDEN * _WIDTH)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(EMBED_DIM, hidden),
            nn.Hardswish(),
            nn.Dropout(_DROPOUT),
            nn.Linear(hidden, CLASSES),
        )
        self.apply(_initialize)
        # Not among the modules a second time.
        self.beyond_tokens = (self.features[config.block + 1 :], self.classifier)
        width = [*channels, EMBED_DIM][config.block]
        keep = config.bands == "keep"
        self.grid = TokenGrid(_bands(config.block), width, whole_steps=keep)
        self.token_dim = width * self.grid.bands if keep else width

    def forward(self, features: Float[Tensor, "batch frames mel"]) -> Float[Tensor, "batch tokens dim"]:
        """Tokens in the order of time, then (bands merged) of frequency; with bands kept, a token is C times F."""
        (output,) = self.block_outputs(features, [self.config.block])
        steps = output.permute(0, 3, 2, 1)
        if self.config.bands == "merge":
            return steps.flatten(1, 2)
        return steps.transpose(2, 3).flatten(2)

    def block_outputs(
        self, features: Float[Tensor, "batch frames mel"], blocks: Sequence[int]
    ) -> list[Float[Tensor, "batch _ _ _"]]:
        """Outputs (B, C, F, T') of ``blocks``, in their order; nothing beyond the last of them is computed.

        Raises:
            ValueError: another number of mel bands than 128, or no such block.
        """
        if features.shape[2] != MEL_BINS:
            raise ValueError(f"mn04 needs {MEL_BINS} mel bands, got {features.shape[2]}")
        if odd := [block for block in blocks if block not in range(LAST_BLOCK + 1)]:
            raise ValueError(f"mn04 has blocks 0 to {LAST_BLOCK}, not {odd[0]}")
        x = _plane(features)
        outputs = {}
        for index in range(max(blocks, default=-1) + 1):
            x = self.features[index](x)
            if index == 0 and x.device.type == "cpu":
                # Channels beside each other in memory: the same numbers in about half the time on a processor.
                x = x.contiguous(memory_format=torch.channels_last)
            outputs[index] = x
        return [outputs[block] for block in blocks]

    def tags(self, features: Float[Tensor, "batch frames mel"]) -> Tags:
        """The whole network: embedding, hidden layer and logits of each clip."""
        (output,) = self.block_outputs(features, [LAST_BLOCK])
        embedding = self.classifier[:2](output)
        hidden = self.classifier[2:4](embedding)
        return Tags(embedding, hidden, self.classifier[4:](hidden))


def _plane(features: Float[Tensor, "batch frames mel"]) -> Float[Tensor, "batch 1 mel frames"]:
    return features.transpose(1, 2).unsqueeze(1)


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, weigh the channels, project without an activation."""

    def __init__(self, inputs: int, row: _Row) -> None:
        super().__init__()
        expanded, outputs = _channels(row.expanded * _WIDTH), _channels(row.out * _WIDTH)
        parts: list[nn.Module] = []
        if expanded != inputs:
            parts.append(_convolution(inputs, expanded, 1, activation=row.activation))
        parts.append(
            _convolution(expanded, expanded, row.kernel, stride=row.stride, groups=expanded, activation=row.activation)
        )
        if row.excitation:
            parts.append(_ChannelWeights(expanded))
        parts.append(_convolution(expanded, outputs, 1))
        self.block = nn.Sequential(*parts)
        self.residual = row.stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        out: Tensor = self.block(x)
        return x + out if self.residual else out


class _ChannelWeights(nn.Module):
    """Squeeze and excitation; the list of one keeps the published names, whose network may have several."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([_Excitation(channels)])

    def forward(self, x: Float[Tensor, "batch c f t"]) -> Float[Tensor, "batch c f t"]:
        return x * self.conc_se_layers[0](x.mean((2, 3)))[:, :, None, None]  # type: ignore[no-any-return]


class _Excitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _channels(channels / 4)
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, mean: Float[Tensor, "batch c"]) -> Float[Tensor, "batch c"]:
        """Weight of each channel, 0 to 1: a sigmoid, where MobileNetV3 has a piecewise linear one."""
        return self.fc2(self.fc1(mean).relu()).sigmoid()  # type: ignore[no-any-return]


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False)
    norm = nn.BatchNorm2d(outputs, _NORM_EPS, _NORM_MOMENTUM)
    return nn.Sequential(convolution, norm, *([activation()] if activation else []))


def _channels(wanted: float) -> int:
    """The nearest multiple of 8, halves up, one more where that is below nine tenths of ``wanted``.

    >>> [_channels(full * 0.4) for full in (16, 24, 40, 112)]
    [8, 16, 16, 48]
    """
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _bands(block: int) -> int:
    strides = (2, *(row.stride for row in _ROWS[:block]))
    bands = MEL_BINS
    for stride in strides:
        bands //= stride
    return bands


def _initialize(module: nn.Module) -> None:
    """The usual start of such networks, for training without pretrained weights."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)
