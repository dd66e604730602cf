"""The products that a GPU works with against torch's convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from asd_lightning.encoders.position_conv import PositionConv, convolve_by_products


@pytest.mark.parametrize("kernel", [1, 2, 7, 128])
@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 61])
@pytest.mark.parametrize("groups", [1, 3])
def test_products_are_the_convolution(kernel: int, tokens: int, groups: int) -> None:
    torch.manual_seed(0)
    shapes = (2, 6, tokens), (6, 6 // groups, kernel), (6,)
    x, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    want = F.conv1d(x, weight, bias, padding=kernel // 2, groups=groups)[..., :tokens]
    got = convolve_by_products(x, weight, bias, groups)
    direction = torch.randn_like(want)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad(out, (x, weight, bias), direction) for out in (got, want))
    for own, reference in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, reference, rtol=0, atol=1e-11)


def test_products_follow_autocast() -> None:
    torch.manual_seed(0)
    conv = PositionConv(48, 16, 4)
    x = torch.randn(2, 48, 20)
    with torch.autocast("cpu", torch.bfloat16):
        got = convolve_by_products(x, torch._weight_norm(conv.weight_v, conv.weight_g, 2), conv.bias, 4)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), conv(x), rtol=0.03, atol=0.03)
