"""The log-mel spectrogram itself as a grid of tokens: poolings over time without an encoder, and without weights."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.encoders.grid import TokenGrid
from asd_lightning.errors import UserError
from asd_lightning.features.mel_table import MEL_BINS

FLOOR_DB = -100.0
"""Of the spectrogram: levels are counted from here, so that no number is below 0."""


class MelBands(nn.Module):
    """Log-mel frames in dB -> tokens: each frame's mels in bands of neighbours, as levels above the floor.

    Args:
        bands: of frequency, a divisor of the spectrogram's mels.
        mel_bins: of the spectrogram.

    Attributes:
        token_dim: width of a token, the mels of one band.
        grid: layout of the tokens.

    Raises:
        UserError: ``bands`` is no divisor of ``mel_bins``.

    >>> import torch
    >>> encoder = MelBands(bands=4)
    >>> encoder(torch.full((2, 30, 128), -100.0)).shape, encoder.grid.channels
    (torch.Size([2, 120, 32]), 32)
    """

    def __init__(self, bands: int = 8, mel_bins: int = MEL_BINS) -> None:
        super().__init__()
        if type(bands) is not int or bands < 1 or mel_bins % bands:
            raise UserError(f"bands={bands!r:.40}: a whole number that divides the {mel_bins} mel bands is needed")
        self.token_dim = mel_bins // bands
        self.grid = TokenGrid(bands, self.token_dim)

    def forward(self, features: Float[Tensor, "batch frames mel"]) -> Float[Tensor, "batch tokens dim"]:
        """Tokens in the order of time, then of frequency; 0 is silence."""
        return (features - FLOOR_DB).reshape(features.shape[0], -1, self.token_dim)
