"""Attention with a gated position bias: ``softmax(q k / sqrt(d) + gate * bias) v``.

``gate`` scales row ``i`` of the bias for each clip and head, so the additive mask is as large as the attention matrix
and differs in every layer.  Left to autograd, training would keep several such matrices per layer.  On a CPU an own
function therefore makes the mask a few heads at a time, inside the cache, and again in the backward pass; on other
devices torch's fused kernels do the work, which take the mask and its gradient.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

# Attention matrices in work at a time on a CPU: 4 MB at 10 s, within the cache.
_HEADS = 4


def gated_attention(
    q: Float[Tensor, "batch heads tokens d"],
    k: Float[Tensor, "batch heads tokens d"],
    v: Float[Tensor, "batch heads tokens d"],
    gate: Float[Tensor, "batch heads tokens"],
    bias: Float[Tensor, "heads tokens tokens"],
    padded: Bool[Tensor, "batch tokens"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "batch heads tokens d"]:
    """Keys marked in ``padded`` are not attended to; ``dropout`` is the probability of dropping an attention weight."""
    gate, bias = gate.to(q.dtype), bias.to(q.dtype)
    full_precision = q.dtype in (torch.float32, torch.float64)
    if q.device.type == "cpu" and full_precision and not torch.compiler.is_compiling():
        attended: Tensor = _GatedAttention.apply(q, k, v, gate, bias, padded, dropout)  # type: ignore[no-untyped-call]
        return attended
    mask = gate.unsqueeze(-1) * bias
    if padded is not None:
        mask = mask.masked_fill(padded[:, None, None, :], -torch.inf)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


class _GatedAttention(torch.autograd.Function):
    """Some heads of one clip at a time; only the inputs and a dropout mask (a byte per weight) wait for backward."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        gate: Tensor,
        bias: Tensor,
        padded: Tensor | None,
        dropout: float,
    ) -> Tensor:
        batch, heads, tokens, width = q.shape
        bias = bias.contiguous()
        out = q.new_empty(batch, tokens, heads, width).transpose(1, 2)
        kept = torch.rand(batch, heads, tokens, tokens) >= dropout if dropout > 0 else None
        buffer = torch.empty_like(bias[:_HEADS])
        for part in _parts(batch, heads):
            if kept is None:
                mask = _mask(gate, bias, padded, part, buffer)
                attended = F.scaled_dot_product_attention(q[part][None], k[part][None], v[part][None], mask[None])[0]
            else:
                weights = _weights(q, k, gate, bias, padded, part, buffer)
                attended = weights.mul_(kept[part]) @ v[part] / (1 - dropout)
            out[part] = attended
        ctx.save_for_backward(q, k, v, gate, bias, padded, kept)
        ctx.dropout = dropout
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, gate, bias, padded, kept = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q, k, v))
        grad_gate, grad_bias = torch.empty_like(gate), torch.zeros_like(bias)
        buffers = torch.empty_like(bias[:_HEADS]), torch.empty_like(bias[:_HEADS])
        for part in _parts(*q.shape[:2]):
            weights = _weights(q, k, gate, bias, padded, part, buffers[0])
            grad_weights = torch.bmm(grad[part], v[part].transpose(1, 2), out=buffers[1][: len(weights)])
            used = weights
            if kept is not None:
                keep = kept[part].to(weights.dtype).div_(1 - ctx.dropout)
                used = weights * keep
                grad_weights.mul_(keep)
            grad_v[part] = used.transpose(1, 2) @ grad[part]
            # The softmax's own kernel takes the gradient row by row, in one pass instead of three.
            grad_scores = torch.ops.aten._softmax_backward_data.out(
                grad_weights, weights, -1, weights.dtype, grad_input=grad_weights
            )
            grad_q[part] = (grad_scores @ k[part]).mul_(scale)
            grad_k[part] = (grad_scores.transpose(1, 2) @ q[part]).mul_(scale)
            grad_bias[part[1]].addcmul_(grad_scores, gate[part].unsqueeze(-1))
            grad_gate[part] = grad_scores.mul_(bias[part[1]]).sum(-1)
        return grad_q, grad_k, grad_v, grad_gate, grad_bias, None, None


def _parts(batch: int, heads: int) -> Iterator[tuple[int, slice]]:
    """Each clip's heads, ``_HEADS`` at a time, as an index into tensors that begin with (batch, heads)."""
    for clip in range(batch):
        for first in range(0, heads, _HEADS):
            yield clip, slice(first, min(first + _HEADS, heads))


def _mask(
    gate: Tensor, bias: Tensor, padded: Tensor | None, part: tuple[int, slice], buffer: Tensor
) -> Float[Tensor, "heads tokens tokens"]:
    """The additive mask of some heads, written into ``buffer``."""
    clip, heads = part
    mask = torch.mul(gate[part].unsqueeze(-1), bias[heads], out=buffer[: len(gate[part])])
    return mask if padded is None else mask.masked_fill_(padded[clip], -torch.inf)


def _weights(
    q: Tensor,
    k: Tensor,
    gate: Tensor,
    bias: Tensor,
    padded: Tensor | None,
    part: tuple[int, slice],
    buffer: Tensor,
) -> Float[Tensor, "heads tokens tokens"]:
    """The attention weights of some heads, written into ``buffer``."""
    scores = _mask(gate, bias, padded, part, buffer)
    scores.baddbmm_(q[part], k[part].transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return torch.softmax(scores, -1, out=scores)
