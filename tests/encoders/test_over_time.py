"""Poolings over time against worked numbers, slow loops, and what must hold of them whatever the tokens."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from asd_lightning.embedder import Branch
from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.encoders.grid import TokenGrid, patch_bands
from asd_lightning.encoders.mn04 import MN04, MN04Config
from asd_lightning.encoders.over_time import Deviation, DeviationWeighted, Max, Mean, PowerMean, RankWeighted
from asd_lightning.encoders.pooling import GridPooling, MeanPooling
from asd_lightning.errors import UserError
from asd_lightning.features.mn04_log_mel import MN04LogMel

Array = NDArray[np.float64]

# Four steps of two numbers, pooled by hand: frozen, do not regenerate.
STEPS = torch.tensor([[1.0, 0.0], [1.0, 2.0], [3.0, -1.0], [7.0, 3.0]], dtype=torch.float64)
WORKED = [
    (Mean(), (3.0, 1.0)),
    (Max(), (7.0, 3.0)),
    (Deviation(), (math.sqrt(6), math.sqrt(2.5))),
    (RankWeighted(0.5), (4.733333, 2.066667)),
    (PowerMean(1.0), (3.0, 1.25)),
    (PowerMean(3.0), (4.530655, 2.060643)),
    (DeviationWeighted(1.0), (3.310212, 1.171481)),
    (DeviationWeighted(4.0), (4.433880, 1.761243)),
    (DeviationWeighted(20.0), (6.956096, 2.981267)),
    (DeviationWeighted(4.0, power=3.0), (5.688553, 2.492559)),
]


def pooled(over_time, steps: Tensor) -> Tensor:
    """Of one clip in one group: (T, D) to (D,)."""
    return over_time(steps[None, :, None])[0, 0]


def loop_weights(x: Array, gamma: float) -> list[float]:
    mu = [sum(column) / len(x) for column in x.T]
    d = [math.sqrt(sum((a - m) ** 2 for a, m in zip(step, mu, strict=True))) for step in x]
    r = [one / max(d) if max(d) > 1e-8 else 0.0 for one in d]
    return [(1 + one) ** gamma / sum((1 + other) ** gamma for other in r) for one in r]


def loop_power(x: Array, weights: list[float], p: float) -> list[float]:
    return [sum(w * max(a, 0.0) ** p for w, a in zip(weights, column, strict=True)) ** (1 / p) for column in x.T]


def loop_rank(x: Array, r: float) -> list[float]:
    found = []
    for column in x.T:
        weights = [1.0 if k == 0 else r**k for k in range(len(x))]
        ordered = sorted(column, reverse=True)
        found.append(sum(w * a for w, a in zip(weights, ordered, strict=True)) / sum(weights))
    return found


def loop(over_time, x: Array) -> list[float]:
    if isinstance(over_time, RankWeighted):
        return loop_rank(x, over_time.r)
    if isinstance(over_time, PowerMean):
        return loop_power(x, [1 / len(x)] * len(x), over_time.power)
    weights = loop_weights(x, over_time.gamma)
    if over_time.power is None:
        return [sum(w * a for w, a in zip(weights, column, strict=True)) for column in x.T]
    return loop_power(x, weights, over_time.power)


@pytest.mark.parametrize(("over_time", "expected"), WORKED, ids=str)
def test_worked_numbers(over_time, expected):
    np.testing.assert_allclose(pooled(over_time, STEPS), expected, atol=5e-7)
    np.testing.assert_allclose(pooled(over_time, STEPS.float()), expected, rtol=5e-6)


def test_worked_weights():
    x = STEPS[None, :, None]
    np.testing.assert_allclose(
        DeviationWeighted(1.0).weights(x).squeeze(), (0.232659, 0.232659, 0.224471, 0.310212), atol=5e-7
    )
    np.testing.assert_allclose(
        DeviationWeighted(4.0).weights(x).squeeze(), (0.165920, 0.165920, 0.143769, 0.524390), atol=5e-7
    )


CASES = [
    RankWeighted(0.0),
    RankWeighted(0.9),
    RankWeighted(1.0),
    PowerMean(0.5),
    PowerMean(6.0),
    DeviationWeighted(0.0),
    DeviationWeighted(8.0),
    DeviationWeighted(19.0),
    DeviationWeighted(16.0, power=3.0),
]


@pytest.mark.parametrize("over_time", CASES, ids=str)
def test_each_group_of_each_clip_as_a_loop_has_it(over_time):
    torch.manual_seed(0)
    x = torch.randn(2, 7, 3, 5, dtype=torch.float64)
    expected = [[loop(over_time, clip[:, group].numpy()) for group in range(3)] for clip in x]
    np.testing.assert_allclose(over_time(x), np.array(expected), rtol=1e-12)
    np.testing.assert_allclose(over_time(x.float()), np.array(expected), rtol=5e-5, atol=1e-6)


def test_limits():
    torch.manual_seed(0)
    x = torch.randn(3, 9, 2, 4, dtype=torch.float64)
    mean = x.mean(1)
    for over_time in (DeviationWeighted(0.0), RankWeighted(1.0)):
        torch.testing.assert_close(over_time(x), mean)
    assert torch.equal(RankWeighted(0.0)(x), x.amax(1))
    torch.testing.assert_close(PowerMean(1.0)(x), x.clamp(min=0).mean(1))
    torch.testing.assert_close(PowerMean(3.0)(x), DeviationWeighted(0.0, power=3.0)(x))
    torch.testing.assert_close(PowerMean(100.0)(x), x.clamp(min=0).amax(1), rtol=0.03, atol=0.0)
    x[:, 6] += 30
    torch.testing.assert_close(DeviationWeighted(100.0)(x), x[:, 6])


AVERAGES = [over_time for over_time, _ in WORKED if not isinstance(over_time, Deviation)]


@pytest.mark.parametrize("over_time", AVERAGES, ids=str)
def test_one_step_and_equal_steps_are_that_step(over_time):
    torch.manual_seed(0)
    step = torch.rand(2, 1, 3, 4) + 0.1
    for count in (1, 6):
        torch.testing.assert_close(over_time(step.expand(-1, count, -1, -1)), step[:, 0])
    torch.testing.assert_close(over_time(torch.zeros(2, 5, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("over_time", AVERAGES, ids=str)
def test_the_order_of_the_steps_does_not_matter(over_time):
    torch.testing.assert_close(pooled(over_time, STEPS[[2, 0, 3, 1]]), pooled(over_time, STEPS))


def test_weights_follow_neither_scale_nor_place():
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, 4, dtype=torch.float64)
    weigh = DeviationWeighted(7.0).weights
    torch.testing.assert_close(weigh(3 * x + torch.randn(4, dtype=torch.float64)), weigh(x))
    assert weigh(x).max() / weigh(x).min() <= 2**7


def test_large_values_and_powers_stay_in_range():
    """A plain power of these overflows single precision."""
    x = 1e4 * torch.rand(2, 5, 3, 4)
    for over_time in (PowerMean(25.0), DeviationWeighted(20.0, power=25.0)):
        torch.testing.assert_close(over_time(x), over_time(x.double()).float(), rtol=5e-5, atol=0.0)


@pytest.mark.parametrize("over_time", [over_time for over_time, _ in WORKED], ids=str)
def test_gradients_of_equal_steps_and_of_nothing_positive_are_finite(over_time):
    for value in (1.0, 0.0, -1.0):
        x = torch.full((1, 4, 2, 3), value, requires_grad=True)
        over_time(x).sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.usefixtures("unchecked")
def test_arguments_out_of_range_are_said():
    for make, message in (
        (lambda: RankWeighted(1.5), r"r=1\.5: a number from 0, at most 1,"),
        (lambda: PowerMean(0.0), r"power=0\.0: a number above 0, at most 100,"),
        (lambda: DeviationWeighted(-1.0), r"gamma=-1\.0: a number from 0"),
        (lambda: DeviationWeighted(math.nan), r"gamma=nan"),
        (lambda: DeviationWeighted(4.0, power=-3.0), r"power=-3"),
        (lambda: GridPooling(TokenGrid(1, 1), Mean(), bands="both"), "bands='both': choose one of keep, merge"),
        (lambda: GridPooling(TokenGrid(1, 1), Mean(), spikes="off"), "spikes='off': choose one of keep, signed"),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_tokens_lie_time_by_time():
    """Of 3 steps x 4 bands, token 5 is step 1, band 1; behind a CLS token it is step 1, band 0."""
    tokens = torch.arange(12.0)[None, :, None]
    assert TokenGrid(4, 1)(tokens)[0, 1, 1] == 5
    assert TokenGrid(4, 1, extra=1)(torch.cat([torch.full((1, 1, 1), -1.0), tokens], 1))[0, 1, 0] == 4
    with pytest.raises(ValueError, match="12 tokens of 1 numbers are no TokenGrid"):
        TokenGrid(5, 1)(tokens)
    with pytest.raises(ValueError, match="1 tokens of 1 numbers"):
        TokenGrid(5, 1, extra=1)(tokens[:, :1])


SMALL_BEATS = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2}
SMALL_EAT = {"depth": 1, "embed_dim": 16, "num_heads": 2}


@pytest.mark.parametrize("patch", [16, 32])
def test_the_grids_of_beats_and_eat_are_those_of_their_patches(patch):
    """Each cell of the grid moves most with the patch of the spectrogram that it stands for."""
    small = {**SMALL_BEATS, "embed_dim": 16, "conv_pos": 8, "conv_pos_groups": 2}
    beats = BEATs(BEATsConfig(input_patch_size=patch, **small)).eval()
    eat = EAT(EATConfig(patch_size=patch, **SMALL_EAT)).eval()
    bands = 128 // patch
    for encoder, patches in ((beats, beats.patch_embedding), (eat, eat.local_encoder.proj)):
        assert encoder.grid.bands == patch_bands(patches) == bands
        features = torch.randn(1, 5 * patch + 3, 128)
        with torch.no_grad():
            cells = encoder.grid(encoder(features))
            assert cells.shape == (1, *patches(features[:, None]).shape[2:], encoder.token_dim) == (1, 5, bands, 16)
            changed = features.clone()
            changed[:, 3 * patch : 4 * patch, patch : 2 * patch] = 5 * torch.randn(patch, patch)
            moved = (encoder.grid(encoder(changed)) - cells).norm(dim=3)[0]
        assert divmod(int(moved.argmax()), bands) == (3, 1)


def test_the_grid_of_mn04_is_its_block_whichever_way_its_tokens_are_made():
    torch.manual_seed(0)
    features = torch.randn(2, 100, 128)
    encoder = MN04(MN04Config(block=8, bands="keep")).eval()
    merged = MN04(MN04Config(block=8, bands="merge")).eval()
    merged.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        (block,) = encoder.block_outputs(features, [8])
        expected = block.permute(0, 3, 2, 1)
        for one in (encoder, merged):
            assert torch.equal(one.grid(one(features)), expected)
        tokens = encoder(features)
    mean = GridPooling(encoder.grid, Mean())(tokens)
    assert mean.shape == (2, 256)
    torch.testing.assert_close(mean.view(2, 8, 32).transpose(1, 2).flatten(1), MeanPooling(256)(tokens))


def test_bands_kept_and_merged():
    torch.manual_seed(0)
    grid, over_time = TokenGrid(3, 4, extra=1), DeviationWeighted(4.0)
    tokens = torch.randn(2, 1 + 5 * 3, 4, dtype=torch.float64)
    cells = tokens[:, 1:].view(2, 5, 3, 4)
    kept = GridPooling(grid, over_time)
    alone = [GridPooling(TokenGrid(1, 4), over_time)(cells[:, :, band]) for band in range(3)]
    torch.testing.assert_close(kept(tokens), torch.cat(alone, dim=1))
    expected = {
        "tokens": over_time(cells.reshape(2, 15, 1, 4)),
        "frames": over_time(cells.mean(2)[:, :, None]),
        "joint": over_time(cells.reshape(2, 5, 1, 12)),
    }
    for merge_over, value in expected.items():
        pooling = GridPooling(grid, over_time, bands="merge", merge_over=merge_over)
        torch.testing.assert_close(pooling(tokens), value.flatten(1))
        assert pooling.out_dim == value.shape[-1]
    for merge_over, same in (("tokens", cells.mean((1, 2))), ("frames", cells.mean((1, 2))), ("joint", cells.mean(1))):
        pooling = GridPooling(grid, Mean(), bands="merge", merge_over=merge_over)
        torch.testing.assert_close(pooling(tokens), same.flatten(1))
    assert kept.out_dim == 12


def test_spikes():
    values = torch.tensor([0.09, 0.1, 0.5, 0.8, 3.0, -0.05, -0.3, -3.0], dtype=torch.float64)
    tokens = values.view(1, 1, 8)
    grid = TokenGrid(1, 8)
    signed = GridPooling(grid, Mean(), spikes="signed")(tokens)[0]
    np.testing.assert_allclose(signed, (0, 0.1, 0.5, 0.664037, 0.995055, 0, 0, 0), atol=5e-7)
    magnitude = GridPooling(grid, Mean(), spikes="magnitude")(tokens)[0]
    np.testing.assert_allclose(magnitude, (0, 0.1, 0.5, 0.664037, 0.995055, 0, -0.3, -3.0), atol=5e-7)
    assert torch.equal(GridPooling(grid, Mean())(tokens)[0], values)


def test_half_precision_tokens_are_pooled_in_single_precision():
    tokens = torch.randn(2, 6, 4).bfloat16()
    pooling = GridPooling(TokenGrid(3, 4), DeviationWeighted(16.0, power=3.0))
    alone = pooling(tokens)
    assert alone.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(pooling(tokens), alone)


def test_a_branch_gives_the_grid_to_a_pooling_that_needs_it():
    encoder = MN04(MN04Config(block=4)).eval()
    pooling = partial(GridPooling, over_time=Max(), bands="merge")
    branch = Branch(MN04LogMel(), encoder, pooling=pooling, embed_dim=None, finetuning="freeze")
    waveform = 0.1 * torch.randn(1, 8_000)
    (block,) = encoder.block_outputs(branch.front_end(waveform), [4])
    torch.testing.assert_close(branch(waveform), block.amax((2, 3)))
    assert branch.embed_dim == encoder.grid.channels == 16
