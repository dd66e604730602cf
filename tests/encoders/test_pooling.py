"""Pooling layers against plain numpy, in training and in evaluation mode."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from asd_lightning.encoders.pooling import AttentiveStatistics, ClsPooling, MeanPooling

Array = NDArray[np.float64]


def numpy_batch_norm(x: Array, norm: nn.BatchNorm1d, training: bool) -> Array:
    """Batch normalisation of (rows, channels)."""
    mean, variance = (
        (x.mean(axis=0), x.var(axis=0))
        if training
        else (norm.running_mean.double().numpy(), norm.running_var.double().numpy())
    )
    scaled = (x - mean) / np.sqrt(variance + norm.eps)
    return scaled * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy()


def numpy_attentive_statistics(tokens: Array, layer: AttentiveStatistics, training: bool) -> Array:
    """The formula, token by token, with loops in place of convolutions."""
    batch, count, dim = tokens.shape
    first, _, inner_norm, _, second = layer.attention
    w1, b1 = first.weight.detach().double().numpy()[:, :, 0], first.bias.detach().double().numpy()
    w2, b2 = second.weight.detach().double().numpy()[:, :, 0], second.bias.detach().double().numpy()
    hidden = []
    for clip in tokens:
        context = np.concatenate([clip.mean(axis=0), np.sqrt(np.maximum(clip.var(axis=0), 1e-4))])
        hidden.append([np.maximum(w1 @ np.concatenate([token, context]) + b1, 0.0) for token in clip])
    normed = numpy_batch_norm(np.reshape(hidden, (batch * count, -1)), inner_norm, training)
    score = (np.tanh(normed) @ w2.T + b2).reshape(batch, count, dim)
    weight = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
    mu = (weight * tokens).sum(axis=1)
    sigma = np.sqrt(np.maximum((weight * tokens**2).sum(axis=1) - mu**2, 1e-4))
    return numpy_batch_norm(np.concatenate([mu, sigma], axis=1), layer.norm, training)


@pytest.fixture
def layer() -> AttentiveStatistics:
    torch.manual_seed(0)
    layer = AttentiveStatistics(32).double()
    for norm in (layer.attention[2], layer.norm):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2.0)
    return layer


@pytest.mark.parametrize("training", [True, False])
def test_attentive_statistics_agrees_with_numpy(layer: AttentiveStatistics, training: bool) -> None:
    tokens = torch.randn(4, 7, 32, dtype=torch.float64) * 2 + 0.5
    tokens[:, :, 3] = 1.25  # a constant channel: both variances are at their floor
    expected = numpy_attentive_statistics(tokens.numpy(), layer, training)
    got = layer.train(training)(tokens)
    assert got.shape == (4, layer.out_dim)
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_equal_tokens_give_finite_gradients() -> None:
    tokens = torch.ones(2, 5, 32, requires_grad=True)
    AttentiveStatistics(32)(tokens).square().sum().backward()
    assert torch.isfinite(tokens.grad).all()


def test_large_mean_keeps_the_standard_deviation() -> None:
    """In float32, E[x^2] - E[x]^2 of 1000 +- 0.5 is off in the second digit."""
    layer = AttentiveStatistics(16).eval()
    nn.init.zeros_(layer.attention[4].weight)  # equal attention: the weighted deviation is the plain one
    layer.norm.eps = 1e-12
    tokens = 1000.0 + 0.5 * torch.tensor([1.0, -1.0]).repeat(2, 64)[:, :, None].expand(2, 128, 16)
    deviation = layer(tokens)[:, 16:]
    torch.testing.assert_close(deviation, torch.full_like(deviation, 0.5), rtol=1e-4, atol=0.0)


def test_too_few_channels_are_named() -> None:
    with pytest.raises(ValueError, match="token_dim is 8"):
        AttentiveStatistics(8)


def test_mean_and_cls_against_numpy() -> None:
    tokens = torch.randn(3, 6, 5, dtype=torch.float64)
    array = tokens.numpy()
    np.testing.assert_allclose(MeanPooling(5)(tokens), array.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(MeanPooling(5, skip_first=True)(tokens), array[:, 1:].mean(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(ClsPooling(5)(tokens), array[:, 0])
    assert MeanPooling(5).out_dim == ClsPooling(5).out_dim == 5
