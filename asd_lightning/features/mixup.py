"""Mixup of waveforms, before every branch: one weight for the batch, or one for each clip.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from scipy.special import betaincinv
from torch import Tensor

from asd_lightning.errors import UserError


class Mixed(NamedTuple):
    """One mixed batch.

    Attributes:
        waveform: ``weight * x + (1 - weight) * x[permutation]``.
        permutation: partner of each clip; a clip may be its own.
        mixed_label: ``label[permutation]``.
        weight: lambda in [0, 1], share of the clip itself, not folded to the larger half; one for all, or (batch,).
    """

    waveform: Float[Tensor, "batch samples"]
    permutation: Int[Tensor, " batch"]
    mixed_label: Int[Tensor, " batch"]
    weight: Float[Tensor, "*clips"]


def mixup(
    waveform: Float[Tensor, "batch samples"],
    label: Int[Tensor, " batch"],
    alpha: float = 0.5,
    generator: torch.Generator | None = None,
) -> Mixed:
    """Mix each clip with another of the batch, with one weight ~ Beta(alpha, alpha) for the whole batch.

    Draws exactly one uniform number and one permutation, from ``generator`` or torch's global CPU generator: the same
    seed gives the same batch on every device.  The weight is the Beta quantile of the uniform number because torch's
    own Beta sampler takes no generator.

    Raises:
        UserError: ``alpha`` is not above 0.
    """
    _refuse_no_distribution(alpha)
    device = generator.device if generator is not None else torch.device("cpu")
    uniform = torch.rand((), dtype=torch.float64, device=device, generator=generator)
    permutation = sent(torch.randperm(len(waveform), device=device, generator=generator), waveform.device)
    weight = waveform.new_full((), float(betaincinv(alpha, alpha, uniform.item())))
    mixed = weight * waveform + (1 - weight) * waveform[permutation]
    return Mixed(mixed, permutation, label[permutation], weight)


def mixup_each(
    waveform: Float[Tensor, "batch samples"],
    label: Int[Tensor, " batch"],
    alpha: float = 1.0,
    probability: float = 0.5,
    generator: torch.Generator | None = None,
) -> Mixed:
    """Mix each clip, with this ``probability``, with another of the batch, by a weight ~ Beta(alpha, alpha) of its own.

    A clip that is not mixed has the weight 1; alpha = 1 makes the weights uniform.  Draws two uniform numbers for each
    clip (the weights' of all clips first) and one permutation, from ``generator`` or torch's global CPU generator.

    Raises:
        UserError: ``alpha`` is not above 0, or ``probability`` not from 0 to 1.
    """
    _refuse_no_distribution(alpha)
    if not 0 <= probability <= 1:
        raise UserError(f"model.mixup_per_clip={probability}: the probability that a clip is mixed is from 0 to 1")
    size, device = len(waveform), generator.device if generator is not None else torch.device("cpu")
    uniform = torch.rand(2, size, dtype=torch.float64, device=device, generator=generator)
    permutation = sent(torch.randperm(size, device=device, generator=generator), waveform.device)
    drawn = torch.from_numpy(betaincinv(alpha, alpha, uniform[0].cpu().numpy()))
    weight = torch.where(uniform[1].cpu() < probability, drawn, 1.0).to(waveform.dtype)
    weight = sent(weight, waveform.device)
    mixed = weight[:, None] * waveform + (1 - weight[:, None]) * waveform[permutation]
    return Mixed(mixed, permutation, label[permutation], weight)


def sent(drawn: Shaped[Tensor, "*shape"], device: torch.device) -> Shaped[Tensor, "*shape"]:
    """What was drawn on the processor, on ``device``.

    From memory that may be swapped out, a GPU copies only after all that it has been given before, and the processor
    waits for it: in every step of a training it would have nothing to do when the copy is done.
    """
    if device.type != "cuda" or drawn.device.type == "cuda":
        return drawn.to(device)
    return drawn.pin_memory().to(device, non_blocking=True)


def _refuse_no_distribution(alpha: float) -> None:
    if not alpha > 0:
        raise UserError(f"alpha={alpha}: mixup draws its weight from Beta(alpha, alpha), which needs alpha above 0")
