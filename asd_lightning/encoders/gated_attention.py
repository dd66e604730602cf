"""Attention with a gated position bias: ``softmax(q k / sqrt(d) + gate * bias) v``.

``gate`` scales row ``i`` of the bias for each clip and head, so the additive mask is as large as the attention matrix
and differs in every layer.  Left to autograd, training would keep several such matrices per layer.  On a CPU an own
function therefore makes the mask clip by clip, inside the cache, and makes it again in the backward pass; on other
devices torch's fused kernels do the work, which take the mask and its gradient.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


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
    """One clip at a time; between the passes only inputs, output and a dropout mask (one byte per weight) are kept."""

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
        out = q.new_empty(batch, tokens, heads, width).transpose(1, 2)
        buffer = torch.empty_like(bias, memory_format=torch.contiguous_format)
        kept = torch.rand(batch, heads, tokens, tokens) >= dropout if dropout > 0 else None
        for clip in range(batch):
            if kept is None:
                mask = _mask(gate, bias, padded, clip, buffer)
                out[clip] = F.scaled_dot_product_attention(q[clip, None], k[clip, None], v[clip, None], mask[None])[0]
            else:
                weights = _weights(q, k, gate, bias, padded, clip, buffer)
                out[clip] = weights.mul_(kept[clip]).div_(1 - dropout) @ v[clip]
        ctx.save_for_backward(q, k, v, gate, bias, padded, kept, out)
        ctx.dropout = dropout
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, gate, bias, padded, kept, out = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q, k, v))
        grad_gate, grad_bias = torch.empty_like(gate), torch.zeros_like(bias)
        row_sums = (grad * out).sum(-1, keepdim=True)
        buffer, other = torch.empty_like(grad_bias), torch.empty_like(grad_bias)
        for clip in range(len(q)):
            weights = _weights(q, k, gate, bias, padded, clip, buffer)
            torch.matmul(grad[clip], v[clip].transpose(1, 2), out=other)
            used = weights
            if kept is not None:
                keep = kept[clip].to(weights.dtype).div_(1 - ctx.dropout)
                used = weights * keep
                other.mul_(keep)
            grad_v[clip] = used.transpose(1, 2) @ grad[clip]
            grad_scores = weights.mul_(other.sub_(row_sums[clip]))
            grad_q[clip] = (grad_scores @ k[clip]).mul_(scale)
            grad_k[clip] = (grad_scores.transpose(1, 2) @ q[clip]).mul_(scale)
            grad_bias.addcmul_(grad_scores, gate[clip, ..., None])
            grad_gate[clip] = grad_scores.mul_(bias).sum(-1)
        return grad_q, grad_k, grad_v, grad_gate, grad_bias, None, None


def _mask(gate: Tensor, bias: Tensor, padded: Tensor | None, clip: int, buffer: Tensor) -> Tensor:
    """The additive mask of one clip, written into ``buffer``."""
    torch.mul(gate[clip, ..., None], bias, out=buffer)
    if padded is not None:
        buffer.masked_fill_(padded[clip], -torch.inf)
    return buffer


def _weights(
    q: Tensor, k: Tensor, gate: Tensor, bias: Tensor, padded: Tensor | None, clip: int, buffer: Tensor
) -> Tensor:
    """The attention weights of one clip, written into ``buffer``."""
    scores = _mask(gate, bias, padded, clip, buffer)
    scores.baddbmm_(q[clip], k[clip].transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    torch.softmax(scores, -1, out=scores)
    return scores
