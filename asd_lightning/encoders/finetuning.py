"""How much of an encoder trains: all of it, nothing, or low-rank updates of its attention or pointwise convolutions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.errors import UserError

Finetuning = Literal["full", "freeze", "lora"]

# BEATs has separate query and value projections, EAT one projection for query, key and value.
_ATTENTION_INPUTS = ("q_proj", "v_proj", "qkv")


def apply_finetuning(
    encoder: nn.Module,
    mode: Finetuning,
    rank: int = 16,
    alpha: float = 16.0,
    layers: Sequence[str] | None = None,
) -> None:
    """Make ``encoder`` train as ``mode`` says, in place.

    ``full`` trains all that has a part in the tokens.  ``freeze`` stops all gradients and keeps the encoder in
    evaluation mode (no dropout), also when the module it is part of is set to training.  ``lora`` trains only low-rank
    updates: of the attention's input projections (``LoRALinear``; of BEATs' three those of query and value) or of the
    linear ``layers`` of these names, or, where an encoder has convolutions in their place, of those that are pointwise
    (``LoRAPointwise``); the statistics of its batch norms then stay as they are.
    The names of the pretrained tensors do too.  What an encoder names as ``beyond_tokens`` trains in no mode: processes
    that train together would wait for its gradients.

    Raises:
        UserError: an unknown mode, a rank below 1, ``lora`` for an encoder with neither, or ``layers`` that it lacks.
    """
    if mode not in get_args(Finetuning):
        raise UserError(f"finetuning={mode!r}: choose one of {', '.join(get_args(Finetuning))}")
    for module in getattr(encoder, "beyond_tokens", ()):
        module.requires_grad_(False)
    if mode == "full":
        return
    if mode == "freeze":
        encoder.requires_grad_(False)
        _keep_in_evaluation(encoder)
    else:
        _add_low_rank_updates(encoder, rank, alpha, layers)


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

    def merged(self) -> nn.Linear:
        """The plain layer that gives the same, but for rounding."""
        plain = nn.Linear(self.in_features, self.out_features, bias=self.bias is not None, device="meta")
        plain.weight, plain.bias = _frozen(self.weight + self.scale * self.lora_b @ self.lora_a), self.bias
        return plain


class LoRAPointwise(nn.Conv2d):
    """The same for a convolution of kernel 1, which is a linear layer at each place: (B, in, F, T) to (B, out, F, T).

    The rank is at most that of the layer itself: more would change nothing.  The state dict gains ``lora_a``
    (rank, in, 1, 1) and ``lora_b`` (out, rank, 1, 1).
    """

    def __init__(self, convolution: nn.Conv2d, rank: int, alpha: float) -> None:
        inputs, outputs = convolution.in_channels, convolution.out_channels
        super().__init__(inputs, outputs, 1, bias=convolution.bias is not None, device="meta")
        self.weight, self.bias = convolution.weight, convolution.bias
        rank = min(rank, inputs, outputs)
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(convolution.weight.new_empty(rank, inputs, 1, 1))
        self.lora_b = nn.Parameter(convolution.weight.new_zeros(outputs, rank, 1, 1))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """(B, in, F, T) to (B, out, F, T)."""
        update: Tensor = F.conv2d(F.conv2d(x, self.lora_a), self.lora_b)
        return super().forward(x) + self.scale * update

    def merged(self) -> nn.Conv2d:
        """The plain layer that gives the same, but for rounding."""
        plain = nn.Conv2d(self.in_channels, self.out_channels, 1, bias=self.bias is not None, device="meta")
        update = (self.lora_b.flatten(1) @ self.lora_a.flatten(1))[:, :, None, None]
        plain.weight, plain.bias = _frozen(self.weight + self.scale * update), self.bias
        return plain


def merge_low_rank(module: nn.Module) -> None:
    """Add the low-rank updates of ``lora`` to the weights that they update, everywhere in ``module``, in place.

    What is left has the layers, the names and the size of the encoder before, and trains no more.
    """
    for parent, name, child in [*_children(module)]:
        if isinstance(child, LoRALinear | LoRAPointwise):
            setattr(parent, name, child.merged())


class _StaysInEvaluation:
    """Takes the place of a module's ``train``; an object and not a closure, so that a copied module has its own."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, mode: bool = True) -> nn.Module:
        return type(self.module).train(self.module, False)


def _keep_in_evaluation(module: nn.Module) -> None:
    module.eval()
    module.train = _StaysInEvaluation(module)  # type: ignore[method-assign]


def _children(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    return ((parent, name, child) for parent in module.modules() for name, child in parent.named_children())


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


def _add_low_rank_updates(encoder: nn.Module, rank: int, alpha: float, layers: Sequence[str] | None) -> None:
    if rank < 1:
        raise UserError(f"the rank of low-rank updates is {rank}; it must be at least 1")
    # What does not train as it is takes no part in what the encoder gives.
    trained = {id(parameter) for parameter in encoder.parameters() if parameter.requires_grad}
    places = [place for place in _children(encoder) if id(getattr(place[2], "weight", None)) in trained]
    linear = [place for place in places if isinstance(place[2], nn.Linear)]
    if absent := sorted(set(layers or ()) - {name for _, name, _ in linear}):
        there = ", ".join(sorted({name for _, name, _ in linear})) or "none"
        raise UserError(
            f"lora_layers: {absent[0]!r:.40} is no linear layer of {type(encoder).__name__}; it has {there}"
        )
    chosen = [place for place in linear if place[1] in (layers or _ATTENTION_INPUTS)]
    chosen = chosen or [place for place in places if _is_pointwise(place[2])]
    if not chosen:
        raise UserError(
            f"finetuning=lora needs attention layers ({', '.join(_ATTENTION_INPUTS)}) or pointwise convolutions; "
            f"{type(encoder).__name__} has none: use finetuning=full or finetuning=freeze"
        )
    encoder.requires_grad_(False)
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            _keep_in_evaluation(module)
    for parent, name, child in chosen:
        layer = LoRALinear if isinstance(child, nn.Linear) else LoRAPointwise
        setattr(parent, name, layer(child, rank, alpha))  # type: ignore[arg-type]


def _is_pointwise(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and set(module.kernel_size) == {1} and module.groups == 1
