"""The CPU's own attention function against plain formulas and finite differences."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asd_lightning.encoders import gated_attention as module
from asd_lightning.encoders.gated_attention import gated_attention


def inputs(batch: int, heads: int, tokens: int, width: int) -> list[Tensor]:
    """q, k, v as the projections lay them out, gate, bias; float64, with gradients."""
    torch.manual_seed(tokens)
    q, k, v = (torch.randn(batch, tokens, heads, width, dtype=torch.float64).transpose(1, 2) for _ in range(3))
    gate = 2 * torch.rand(batch, heads, tokens, dtype=torch.float64)
    return [x.requires_grad_() for x in (q, k, v, gate, torch.randn(heads, tokens, tokens, dtype=torch.float64))]


def plain(q: Tensor, k: Tensor, v: Tensor, gate: Tensor, bias: Tensor, padded: Tensor | None, keep: Tensor) -> Tensor:
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5 + gate[..., None] * bias
    if padded is not None:
        scores = scores.masked_fill(padded[:, None, None], -torch.inf)
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1) * keep, v)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 9),
    tokens=st.integers(1, 40),
    masked=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
)
def test_values_and_gradients(batch: int, heads: int, tokens: int, masked: bool, dropout: float) -> None:
    tensors = inputs(batch, heads, tokens, 8)
    padded = None
    if masked:
        padded = torch.rand(batch, tokens) < 0.5
        padded[:, 0] = False
    keep = torch.ones(batch, heads, tokens, tokens, dtype=torch.float64)
    torch.manual_seed(5)
    if dropout:
        keep = (torch.rand(keep.shape) >= dropout).double() / (1 - dropout)
    want = plain(*tensors, padded, keep)
    torch.manual_seed(5)
    got = gated_attention(*tensors, padded, dropout)
    direction = torch.randn_like(want)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    for own, reference in zip(
        torch.autograd.grad(got, tensors, direction), torch.autograd.grad(want, tensors, direction), strict=True
    ):
        torch.testing.assert_close(own, reference, rtol=0, atol=1e-11)


def test_finite_differences() -> None:
    assert torch.autograd.gradcheck(gated_attention, inputs(2, 3, 5, 4))


def test_other_devices_path_is_the_same_function(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = inputs(2, 6, 17, 8)
    padded = torch.arange(17)[None] >= torch.tensor([17, 9])[:, None]
    own = gated_attention(*tensors, padded)
    direction = torch.randn_like(own)
    gradients = torch.autograd.grad(own, tensors, direction)
    monkeypatch.setattr(module.torch.compiler, "is_compiling", lambda: True)
    fused = gated_attention(*tensors, padded)
    torch.testing.assert_close(own, fused)
    for a, b in zip(gradients, torch.autograd.grad(fused, tensors, direction), strict=True):
        torch.testing.assert_close(a, b)


def test_no_attention_matrix_outlives_the_forward_pass() -> None:
    tensors = inputs(2, 3, 64, 8)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        gated_attention(*tensors)
    assert {x.shape for x in kept} == {x.shape for x in tensors}
