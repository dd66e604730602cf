"""What a data loader yields."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """One batch of clips; Lightning moves a NamedTuple to the device as it is.

    Attributes:
        waveform: (batch, samples) in [-1, 1]; (batch, windows, samples) where test clips are scored in several windows.
        label: class of each clip, -1 where training never saw it.
        clip_id: place of each clip in the data module's table: what makes distributed evaluation exact.
        far: what the far microphone heard meanwhile, of the same shape, where it is embedded too.
    """

    waveform: Float[Tensor, "batch *windows samples"]
    label: Int[Tensor, " batch"]
    clip_id: Int[Tensor, " batch"]
    far: Float[Tensor, "batch *windows samples"] | None = None
