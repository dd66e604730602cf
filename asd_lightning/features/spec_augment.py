"""SpecAugment: one block of frames and one block of mel bands set to one value, per clip, in training.

Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech Recognition", Interspeech 2019,
without time warping.  torchaudio draws the blocks; its ``SpecAugment`` module also masks in evaluation, fills with the
batch's mean and knows no probability of leaving a clip alone, hence this one.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchaudio.functional import mask_along_axis_iid

from asd_lightning.errors import UserError

FRAMES, MEL = 1, 2

Fill = Literal["zero", "floor"]


class SpecAugment(nn.Module):
    """Masks of width U(0, ``width``), each applied to each clip with an own draw of ``probability``.

    Args:
        time_width: largest mask, in frames; 0 masks none.  At most the clip's own length is drawn from.
        freq_width: largest mask, in mel bands.
        probability: that a clip gets a mask, for each mask anew.
        count: number of masks along each axis.
        fill: ``zero``, the mean of the encoder's pre-training data; or ``floor``, the clip's own smallest value, as if
            there were silence.  Normalisation keeps the order of values, so that is masking before it, too.

    Raises:
        UserError: an argument outside its range.
    """

    def __init__(
        self,
        time_width: int = 80,
        freq_width: int = 80,
        probability: float = 0.5,
        count: int = 1,
        fill: Fill = "zero",
    ) -> None:
        super().__init__()
        if fill not in get_args(Fill):
            raise UserError(f"SpecAugment(fill={fill!r:.40}): choose one of {', '.join(get_args(Fill))}")
        if min(time_width, freq_width, count) < 0 or not 0 <= probability <= 1:
            raise UserError(
                f"SpecAugment(time_width={time_width}, freq_width={freq_width}, probability={probability}, "
                f"count={count}): widths and count must be 0 or more, probability within 0 and 1"
            )
        self.time_width = time_width
        self.freq_width = freq_width
        self.probability = probability
        self.count = count
        self.fill = fill

    def forward(self, fbank: Float[Tensor, "batch frames mel"]) -> Float[Tensor, "batch frames mel"]:
        """The masked copy of a *normalised* filter bank; in evaluation the input itself."""
        if not self.training:
            return fbank
        filling = fbank.amin((1, 2), keepdim=True) if self.fill == "floor" else fbank.new_zeros(1)
        for _ in range(self.count):
            fbank = self._mask(fbank, self.time_width, FRAMES, filling)
            fbank = self._mask(fbank, self.freq_width, MEL, filling)
        return fbank

    def _mask(self, fbank: Tensor, width: int, axis: int, filling: Tensor) -> Tensor:
        kept = mask_along_axis_iid(torch.ones_like(fbank), min(width, fbank.shape[axis]), 0.0, axis)
        chosen = torch.rand(len(fbank), 1, 1, device=fbank.device) < self.probability
        return torch.where(chosen & (kept == 0), filling, fbank)
