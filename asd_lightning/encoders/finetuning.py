"""How much of an encoder trains: all of it, nothing, or low-rank updates of its attention."""

from __future__ import annotations

import math
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.errors import UserError

Finetuning = Literal["full", "freeze", "lora"]

# BEATs has separate query and value projections, EAT one projection for query, key and value.
_ATTENTION_INPUTS = ("q_proj", "v_proj", "qkv")


def apply_finetuning(encoder: nn.Module, mode: Finetuning, rank: int = 16, alpha: float = 16.0) -> None:
    """Make ``encoder`` train as ``mode`` says, in place.

    ``full`` changes nothing.  ``freeze`` stops all gradients and keeps the encoder in evaluation mode (no dropout),
    also when the module it is part of is set to training.  ``lora`` trains only low-rank updates of the attention's
    input projections (see ``LoRALinear``); the names of the pretrained tensors stay as they are.

    Raises:
        UserError: an unknown mode, a rank below 1, or ``lora`` for an encoder without attention.
    """
    if mode not in get_args(Finetuning):
        raise UserError(f"finetuning={mode!r}: choose one of {', '.join(get_args(Finetuning))}")
    if mode == "full":
        return
    encoder.requires_grad_(False)
    if mode == "freeze":
        encoder.eval()
        encoder.train = _StaysInEvaluation(encoder)  # type: ignore[method-assign]
    else:
        _add_low_rank_updates(encoder, rank, alpha)


class LoRALinear(nn.Linear):
    """A linear layer plus a trainable update of low rank, W + alpha / rank B A (Hu et al. 2022, arXiv:2106.09685).

    B starts at zero, so the layer starts as the one it replaces.  ``weight`` and ``bias`` are that layer's own, frozen;
    the state dict gains ``lora_a`` (rank, in) and ``lora_b`` (out, rank).
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(linear.weight.new_empty(rank, linear.in_features))
        self.lora_b = nn.Parameter(linear.weight.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "*leading in_dim"]) -> Float[Tensor, "*leading out_dim"]:
        """(..., in) to (..., out)."""
        update: Tensor = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return super().forward(x) + self.scale * update


class _StaysInEvaluation:
    """Takes the place of a module's ``train``; an object and not a closure, so that a copied module has its own."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, mode: bool = True) -> nn.Module:
        return type(self.module).train(self.module, False)


def _add_low_rank_updates(encoder: nn.Module, rank: int, alpha: float) -> None:
    if rank < 1:
        raise UserError(f"the rank of low-rank updates is {rank}; it must be at least 1")
    replaced = 0
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if name in _ATTENTION_INPUTS and isinstance(child, nn.Linear):
                setattr(parent, name, LoRALinear(child, rank, alpha))
                replaced += 1
    if not replaced:
        raise UserError(
            f"finetuning=lora needs attention layers ({', '.join(_ATTENTION_INPUTS)}); {type(encoder).__name__} has "
            "none: use finetuning=full or finetuning=freeze"
        )
