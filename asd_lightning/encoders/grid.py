"""Where an encoder's tokens lie in time and frequency."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.features.mel_table import MEL_BINS


@dataclass(frozen=True)
class TokenGrid:
    """The layout of a clip's tokens, and the way from it to a grid of T steps x F bands x D channels.

    Args:
        bands: F.
        channels: D, the length of the vector of one band in one step.
        extra: tokens before those of the grid, such as a CLS token; the grid is without them.
        whole_steps: a token is a whole step, its numbers channel by channel (``c * F + f``); otherwise a token is one
            band of one step, in the order of time, then of frequency (``t * F + f``).

    >>> import torch
    >>> numbers = torch.arange(12.0)[None, :, None]
    >>> TokenGrid(bands=4, channels=1)(numbers).shape, TokenGrid(bands=4, channels=1)(numbers)[0, 1, 1].item()
    (torch.Size([1, 3, 4, 1]), 5.0)
    """

    bands: int
    channels: int
    extra: int = 0
    whole_steps: bool = False

    def __call__(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch steps bands channels"]:
        """The grid, (batch, T, F, D).

        Raises:
            ValueError: the tokens do not make a whole number of steps, or are of another width.
        """
        cells, width = tokens[:, self.extra :], self.channels * (self.bands if self.whole_steps else 1)
        per_step = 1 if self.whole_steps else self.bands
        if cells.shape[1] < per_step or cells.shape[1] % per_step or cells.shape[2] != width:
            raise ValueError(
                f"{tokens.shape[1]} tokens of {tokens.shape[2]} numbers are no {self}: was another number of mel bands "
                "given than the encoder is made for?"
            )
        if self.whole_steps:
            return cells.reshape(*cells.shape[:2], self.channels, self.bands).transpose(2, 3)
        return cells.reshape(cells.shape[0], -1, self.bands, self.channels)


def patch_bands(patches: nn.Conv2d, mel: int = MEL_BINS) -> int:
    """Bands that a patch convolution over (frames, mel) without padding makes of ``mel`` mel bands."""
    return (mel - patches.kernel_size[1]) // patches.stride[1] + 1
