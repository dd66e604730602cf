"""BEATs' convolution over tokens, which tells each token where it is."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

# Output tokens of one matrix product. A larger number makes fewer products, each with more zeros; 8 was the fastest on
# an H100.
_BLOCK = 8


class PositionConv(nn.Module):
    """Grouped convolution over tokens; each kernel tap (last dimension) is normalised on its own.

    Own weight normalisation, since torch's either renames the checkpoint's ``weight_g``, ``weight_v`` or forbids a copy
    of the module after a backward pass.
    """

    def __init__(self, dim: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_v = nn.Parameter(torch.empty(dim, dim // groups, kernel))
        nn.init.normal_(self.weight_v, std=math.sqrt(4 / (kernel * dim)))
        self.weight_g = nn.Parameter(self.weight_v.detach().norm(dim=(0, 1), keepdim=True))
        self.bias = nn.Parameter(torch.zeros(dim))

    @property
    def weight(self) -> Float[Tensor, "dim width kernel"]:
        """The kernel, each tap of the norm that ``weight_g`` states."""
        weight: Tensor = torch._weight_norm(self.weight_v, self.weight_g, 2)
        return weight

    def forward(self, x: Float[Tensor, "batch dim tokens"]) -> Float[Tensor, "batch dim tokens"]:
        """One output for each token; on a GPU by `convolve_by_products`."""
        weight = self.weight
        if x.device.type == "cuda":
            return convolve_by_products(x, weight, self.bias, self.groups)
        kernel = weight.shape[-1]
        # An even kernel yields one output too many: the last one goes.
        return F.conv1d(x, weight, self.bias, padding=kernel // 2, groups=self.groups)[..., : x.shape[-1]]


def convolve_by_products(
    x: Float[Tensor, "batch dim tokens"],
    weight: Float[Tensor, "dim width kernel"],
    bias: Float[Tensor, " dim"],
    groups: int,
) -> Float[Tensor, "batch dim tokens"]:
    """The convolution as one batched matrix product, a block of tokens a row.

    cuDNN has no fast kernel for groups of 48 channels and 128 taps: in bfloat16 it took ten times as long.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    out = torch.bmm(spans(x, weight.shape[-1], groups), block_weights(weight.to(x.dtype), groups))
    return (in_tokens(out, x) + bias.to(x.dtype)).transpose(1, 2)


def spans(x: Float[Tensor, "batch dim tokens"], kernel: int, groups: int) -> Float[Tensor, "groups rows span"]:
    """For each group, clip and block the inputs that its tokens hear: taps first, then the group's channels."""
    batch, dim, tokens = x.shape
    blocks = -(-tokens // _BLOCK)
    span = kernel + _BLOCK - 1
    before = kernel // 2
    after = blocks * _BLOCK - tokens + kernel - 1 - before
    heard = F.pad(x.transpose(1, 2), (0, 0, before, after)).view(batch, -1, groups, dim // groups)
    return heard.unfold(1, span, _BLOCK).permute(2, 0, 1, 4, 3).reshape(groups, batch * blocks, -1)


def block_weights(weight: Float[Tensor, "dim width kernel"], groups: int) -> Float[Tensor, "groups span out"]:
    """The kernel once for each token of a block, each time shifted by one tap."""
    dim, width, kernel = weight.shape
    moved = torch.stack([F.pad(weight, (token, _BLOCK - 1 - token)) for token in range(_BLOCK)])
    moved = moved.view(_BLOCK, groups, dim // groups, width, kernel + _BLOCK - 1)
    return moved.permute(1, 4, 3, 0, 2).reshape(groups, -1, _BLOCK * (dim // groups))


def in_tokens(
    out: Float[Tensor, "groups rows out"], x: Float[Tensor, "batch dim tokens"]
) -> Float[Tensor, "batch tokens dim"]:
    """The products of each group, clip and block, token by token as in ``x``."""
    batch, dim, tokens = x.shape
    blocked = out.view(len(out), batch, -1, _BLOCK, dim // len(out)).permute(1, 2, 3, 0, 4)
    return blocked.reshape(batch, -1, dim)[:, :tokens]
