"""BEATs once more, slow and explicit: a second implementation to compare with, from the state dict alone.

One clip, no batching, loops over tokens, heads, taps and keys.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from asd_lightning.encoders.beats import BEATsConfig

State = dict[str, Tensor]


def bucket(distance: int, buckets: int, max_distance: int) -> int:
    half = buckets // 2
    exact = half // 2
    start = half if distance > 0 else 0
    size = abs(distance)
    if size < exact:
        return start + size
    steps = math.log(size / exact) / math.log(max_distance / exact) * (half - exact)
    return start + min(half - 1, exact + int(steps))


def token_mask(mask: list[bool], frames: int, tokens: int) -> list[bool]:
    for length in (frames, tokens):
        while len(mask) % length:
            mask = mask[:-1]
        run = len(mask) // length
        mask = [all(mask[i * run : (i + 1) * run]) for i in range(length)]
    return mask


def encode(config: BEATsConfig, state: State, features: Tensor, samples_mask: Tensor | None) -> Tensor:
    x = _linear(_norm(_patches(state, features), state, "layer_norm"), state, "post_extract_proj")
    padded = [False] * len(x)
    if samples_mask is not None:
        padded = token_mask(samples_mask.tolist(), len(features), len(x))
        x = x * torch.tensor([[not pad] for pad in padded], dtype=x.dtype)
    x = _norm(x + _gelu(_position_convolution(state, x)), state, "encoder.layer_norm")
    alpha = (2 * config.encoder_layers) ** 0.25 if config.deep_norm else 1.0
    for n in range(config.encoder_layers):
        layer = f"encoder.layers.{n}"
        x = _norm(alpha * x + _attention(config, state, x, padded, n), state, f"{layer}.self_attn_layer_norm")
        hidden = _gelu(_linear(x, state, f"{layer}.fc1"))
        x = _norm(alpha * x + _linear(hidden, state, f"{layer}.fc2"), state, f"{layer}.final_layer_norm")
    return x


def _norm(x: Tensor, state: State, name: str) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def _linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def _gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def _patches(state: State, features: Tensor) -> Tensor:
    kernel = state["patch_embedding.weight"][:, 0]
    columns, bands = features.shape[0] // 16, features.shape[1] // 16
    return torch.stack(
        [
            (kernel * features[16 * t : 16 * t + 16, 16 * f : 16 * f + 16]).sum((1, 2))
            for t in range(columns)
            for f in range(bands)
        ]
    )


def _position_convolution(state: State, x: Tensor) -> Tensor:
    v, g = state["encoder.pos_conv.0.weight_v"], state["encoder.pos_conv.0.weight_g"]
    group, width = v.shape[1:]
    taps = [v[:, :, s] * g[0, 0, s] / v[:, :, s].square().sum().sqrt() for s in range(width)]
    y = state["encoder.pos_conv.0.bias"].repeat(len(x), 1)
    for t in range(len(x)):
        for s in range(width):
            if 0 <= t + s - width // 2 < len(x):
                for channel in range(x.shape[1]):
                    first = channel // group * group
                    y[t, channel] += taps[s][channel] @ x[t + s - width // 2, first : first + group]
    return y


def _attention(config: BEATsConfig, state: State, x: Tensor, padded: list[bool], n: int) -> Tensor:
    name = f"encoder.layers.{n}.self_attn"
    q, k, v = (_linear(x, state, f"{name}.{letter}_proj") for letter in "qkv")
    mixed = torch.zeros_like(x)
    d = x.shape[1] // config.encoder_attention_heads
    for h in range(config.encoder_attention_heads):
        part = slice(h * d, (h + 1) * d)
        for i in range(len(x)):
            gate = _gate(state, name, q[i, part], h)
            scores = [
                -math.inf
                if padded[j]
                else float(q[i, part] @ k[j, part] / math.sqrt(d) + gate * _bias(config, state, h, j - i))
                for j in range(len(x))
            ]
            mixed[i, part] = torch.softmax(torch.tensor(scores, dtype=x.dtype), 0) @ v[:, part]
    return _linear(mixed, state, f"{name}.out_proj")


def _gate(state: State, name: str, query: Tensor, head: int) -> Tensor:
    eight = _linear(query, state, f"{name}.grep_linear")
    a, b = torch.sigmoid(eight[:4].sum()), torch.sigmoid(eight[4:].sum())
    return a * (b * state[f"{name}.grep_a"][0, head, 0, 0] - 1) + 2


def _bias(config: BEATsConfig, state: State, head: int, distance: int) -> Tensor:
    row = bucket(distance, config.num_buckets, config.max_distance)
    return state["encoder.layers.0.self_attn.relative_attention_bias.weight"][row, head]
