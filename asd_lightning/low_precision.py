"""Embedders for scoring whose encoders compute in bfloat16 or with 8-bit integers; all around them stays float32.

``bf16`` is torch's autocast around the encoder, on a processor as on a GPU: matrix products, convolutions and attention
read and write bfloat16.  Layer norms are float32 on both, as autocast has them on a GPU; softmax adds up in float32.

``int8`` multiplies 8-bit integers in the encoder's large linear layers and in BEATs' convolution over tokens, on
processors.  Weights are rounded once, each output's to its own scale; activations when they come, each clip's to its
own, so that no clip's embedding depends on those that it is computed with.  Attention, norms and activation functions
are float32.  These are the operators of ``torch.ao.quantization.quantize_dynamic``, which is deprecated in favour of
another package; the operators are not.

Front-ends, poolings, projections and heads are float32 in both.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.encoders.finetuning import merge_low_rank
from asd_lightning.encoders.position_conv import PositionConv, block_weights, in_tokens, spans
from asd_lightning.errors import UserError
from asd_lightning.precision import PRECISIONS, Precision

if TYPE_CHECKING:
    from asd_lightning.embedder import Embedder, ScoredEmbedder

# As cpuinfo names them.  Without one of these the products are slower than in float32.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "bf16": ("avx512_bf16", "amx_bf16"),
    "int8": ("avx512_vnni", "avx_vnni", "amx_int8"),
}
_TOLD = {
    "bf16": "this processor has neither AVX512_BF16 nor AMX, and would be slower in it",
    "int8": "this processor has no VNNI, and would gain little or nothing",
}
_SLOW = "bf16: this processor multiplies bfloat16 numbers more slowly than float32 ones; choose float32"
# Half of a 10 s clip's tokens, BEATs' and EAT's width: milliseconds.
_TRIED = (256, 768, 768)
_DTYPES = (torch.bfloat16, torch.float32)
_SMALLEST_SCALE = 1e-12


class Int8Linear(nn.Module):
    """A linear layer by products of 8-bit integers, on a processor.

    Args:
        linear: whose weights are rounded to 255 levels, symmetric about 0, each output's row by its own largest.

    >>> linear = nn.Linear(64, 32)
    >>> x = torch.randn(2, 10, 64)
    >>> bool((Int8Linear(linear)(x) - linear(x)).abs().max() < 0.05)
    True
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(1).clamp_min(_SMALLEST_SCALE).double() / 127
        zeros = torch.zeros(len(weight), dtype=torch.long)
        rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        with _fastest_engine():
            self._packed: Any = torch.ops.quantized.linear_prepack(rounded, bias)
        # Without VNNI sums of two products are kept in 16 bits, and 7 bits of activation keep them from overflowing.
        self._seven_bits = not processor_has("int8")

    def __deepcopy__(self, _: dict[int, Any]) -> Int8Linear:
        """Itself, which never changes; torch would pack a copy for the engine that it chooses."""
        return self

    def forward(self, x: Float[Tensor, "*leading in_dim"]) -> Float[Tensor, "*leading out_dim"]:
        """(..., in) to (..., out); the last two dimensions but one, a clip's tokens, share a scale."""
        clips = x.reshape(-1, *x.shape[-2:]) if x.ndim > 2 else x[None]
        made = [
            torch.ops.quantized.linear_dynamic(clip, self._packed, self._seven_bits) for clip in torch.split(clips, 1)
        ]
        # Of a single clip nothing is copied.
        together = made[0] if len(made) == 1 else torch.cat(made)
        return together.reshape(*x.shape[:-1], -1)


class Int8PositionConv(nn.Module):
    """BEATs' convolution over tokens by products of 8-bit integers: of each group one, a block of tokens a row.

    Args:
        conv: whose weights are rounded as those of a linear layer.

    >>> conv = PositionConv(dim=32, kernel=16, groups=4)
    >>> x = torch.randn(2, 32, 20)
    >>> bool((Int8PositionConv(conv)(x) - conv(x)).abs().max() < 0.05)
    True
    """

    def __init__(self, conv: PositionConv) -> None:
        super().__init__()
        weight = conv.weight.detach().float()
        self.kernel = weight.shape[-1]
        blocks = block_weights(weight, conv.groups).transpose(1, 2)
        biases = conv.bias.detach().float().view(conv.groups, -1)
        self.products = nn.ModuleList(
            Int8Linear(_linear(block, bias.repeat(len(block) // len(bias))))
            for block, bias in zip(blocks, biases, strict=True)
        )

    def forward(self, x: Float[Tensor, "batch dim tokens"]) -> Float[Tensor, "batch dim tokens"]:
        """One output for each token; each clip and group has a scale of its own."""
        rows = spans(x, self.kernel, len(self.products))
        rows = rows.reshape(len(rows), len(x), -1, rows.shape[-1])
        made = torch.stack([product(own) for product, own in zip(self.products, rows, strict=True)])
        return in_tokens(made.flatten(1, 2), x).transpose(1, 2)


class SideBySide(nn.Module):
    """Two embedders of the same waveforms: the embeddings of one, then those of the other, in a row."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, waveform: Float[Tensor, "batch *windows samples"]) -> Float[Tensor, "batch both"]:
        """(batch, 2 dim)."""
        return torch.cat([self.one(waveform), self.other(waveform)], dim=1)


def lowered(model: ScoredEmbedder, precision: Precision) -> ScoredEmbedder:
    """An embedder for scoring in ``precision``; ``model`` itself stays as it is, and shares its weights.

    Low-rank updates are merged into the weights that they update.

    Raises:
        UserError: no encoder of the system computes in this precision, or its device lacks it.
    """
    names = lowered_branches(model.embedder, precision)
    if not names:
        return model
    tensors = [*model.parameters(), *model.buffers()]
    refuse_without_support(precision, tensors[0].device.type)
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    merge_low_rank(copied)
    for name in names:
        branch: Any = copied.embedder.branches[name]
        if precision == "bf16":
            branch.autocast = torch.bfloat16
            _keep_norms_in_float32(branch.encoder)
            _round_once(branch.encoder)
        else:
            _with_int8_layers(branch.encoder)
    return copied.eval()


def lowered_branches(embedder: Embedder, precision: Precision) -> list[str]:
    """Names of the branches whose encoders compute in ``precision``; the others stay in float32.

    Raises:
        UserError: there is none.
    """
    if precision == "float32":
        return []
    encoders: dict[str, Any] = {name: branch.encoder for name, branch in embedder.branches.items()}
    names = [name for name, encoder in encoders.items() if _computes_in(encoder, precision)]
    if not names:
        possible = [one for one in PRECISIONS if any(_computes_in(encoder, one) for encoder in encoders.values())]
        raise UserError(f"{precision}: nothing in {', '.join(encoders)} computes in it; choose {' or '.join(possible)}")
    return names


def refuse_without_support(precision: Precision, device: str = "cpu") -> None:
    """Refuse a precision in which the device is no faster.

    Args:
        precision: of the encoder.
        device: torch's word for its type.

    Raises:
        UserError: says which precision to use.
    """
    if precision == "float32":
        return
    if device == "cpu":
        if not processor_has(precision):
            raise UserError(f"{precision}: {_TOLD[precision]}; choose float32")
        if precision == "bf16" and not bf16_is_faster():
            raise UserError(_SLOW)
    elif precision == "int8":
        raise UserError(f"int8: is for processors, and the encoder is on {device}; choose bf16 or float32")
    elif device != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"bf16: this {device} device has none; choose float32")


def processor_has(precision: Precision) -> bool:
    """Whether the processor has instructions for products in ``precision``."""
    return any(processor_features().get(name) for name in _NEEDED[precision])


@cache
def bf16_is_faster() -> bool:
    """Whether a product of bfloat16 numbers takes less of the processor's time than of float32 ones; tried once.

    That it has AVX512_BF16 does not tell: an Intel Xeon whose AMX its virtual machine hides is slower by it.
    """
    rows, into, out = _TRIED
    pairs = [(torch.ones(rows, into, dtype=dtype), torch.ones(into, out, dtype=dtype)) for dtype in _DTYPES]
    # The least of several: neither the first call nor a busy machine counts.
    with _one_thread():
        taken = [[_seconds(*pair) for pair in pairs] for _ in range(5)]
    low, exact = (min(times) for times in zip(*taken, strict=True))
    return bool(low < exact)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A thread that waits for another spends the processor's time too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(one: Tensor, other: Tensor) -> float:
    begun = time.thread_time()
    torch.mm(one, other)
    return time.thread_time() - begun


def processor_features() -> Mapping[str, Any]:
    """What the processor can do, by cpuinfo's names."""
    if hasattr(torch.cpu, "get_capabilities"):
        told: Mapping[str, Any] = torch.cpu.get_capabilities()
        return told
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    return dict.fromkeys(flags, True)


def _computes_in(encoder: nn.Module, precision: str) -> bool:
    if precision == "float32":
        return True
    return bool(getattr(encoder, "int8_layers" if precision == "int8" else "bf16", ()))


@contextmanager
def _fastest_engine() -> Iterator[None]:
    """That of oneDNN where torch has it: faster than the one that torch chooses, and knows AMX."""
    before = torch.backends.quantized.engine
    if "onednn" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "onednn"
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _with_int8_layers(encoder: Any) -> None:
    # Several clips would be computed one by one and then copied together, in every layer.
    encoder.clips_together = 1
    for parent in [*encoder.modules()]:
        for name, child in [*parent.named_children()]:
            if isinstance(child, PositionConv):
                setattr(parent, name, Int8PositionConv(child))
            elif name in encoder.int8_layers and isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))


def _linear(weight: Float[Tensor, "out_dim in_dim"], bias: Float[Tensor, " out_dim"]) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
    return linear


def _keep_norms_in_float32(encoder: nn.Module) -> None:
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(_in_float32)


def _round_once(encoder: Any) -> None:
    """Large linear layers keep what autocast would round in each call: it remembers only weights that are trained."""
    for name, module in encoder.named_modules():
        if name.rpartition(".")[2] in getattr(encoder, "int8_layers", ()) and isinstance(module, nn.Linear):
            # New parameters: those of the float32 model are shared.
            for own, parameter in [*module.named_parameters()]:
                setattr(module, own, nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False))


def _in_float32(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.float() for tensor in given)
