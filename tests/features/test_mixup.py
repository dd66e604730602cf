import pytest
import torch
from scipy import stats

from asd_lightning.errors import UserError
from asd_lightning.features.mixup import mixup, mixup_each


def clips(size=6):
    return torch.arange(1.0, size + 1)[:, None].expand(size, 10).clone(), torch.arange(size) * 10


def test_mixes_each_clip_with_its_partner():
    waveform, label = clips()
    mixed = mixup(waveform, label, generator=torch.Generator().manual_seed(0))
    weight = mixed.weight.item()
    assert 0 <= weight <= 1
    assert sorted(mixed.permutation.tolist()) == list(range(6))
    for i, partner in enumerate(mixed.permutation.tolist()):
        torch.testing.assert_close(mixed.waveform[i], weight * waveform[i] + (1 - weight) * waveform[partner])
        assert mixed.mixed_label[i] == label[partner]


@pytest.mark.parametrize("alpha", [0.5, 0.2, 2.0])
def test_weight_follows_the_beta_distribution_and_is_not_folded(alpha):
    waveform, label = clips(2)
    generator = torch.Generator().manual_seed(1)
    weights = [mixup(waveform, label, alpha, generator).weight.item() for _ in range(3000)]
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert 0.45 < sum(w < 0.5 for w in weights) / len(weights) < 0.55


def test_every_permutation_is_as_likely():
    waveform, label = clips(3)
    generator = torch.Generator().manual_seed(2)
    drawn = [tuple(mixup(waveform, label, generator=generator).permutation.tolist()) for _ in range(3000)]
    assert stats.chisquare([drawn.count(p) for p in set(drawn)]).pvalue > 1e-3
    assert len(set(drawn)) == 6


def test_same_seed_same_batch_from_the_global_generator_and_from_an_own_one():
    waveform, label = clips()
    torch.manual_seed(3)
    first, later = mixup(waveform, label), torch.rand(())
    torch.manual_seed(3)
    again = mixup(waveform, label)
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert torch.rand(()) == later
    own = mixup(waveform, label, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(own.waveform, first.waveform, rtol=0, atol=0)


def test_own_generator_leaves_the_global_one_alone():
    waveform, label = clips()
    torch.manual_seed(4)
    state = torch.get_rng_state()
    mixup(waveform, label, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan")])
def test_bad_alpha_is_named(alpha):
    with pytest.raises(UserError, match="alpha"):
        mixup(*clips(), alpha=alpha)


def test_each_clip_by_its_own_weight():
    waveform, label = clips(8)
    mixed = mixup_each(waveform, label, generator=torch.Generator().manual_seed(0))
    weight = mixed.weight.tolist()
    assert len(set(weight)) > 3
    for i, partner in enumerate(mixed.permutation.tolist()):
        torch.testing.assert_close(mixed.waveform[i], weight[i] * waveform[i] + (1 - weight[i]) * waveform[partner])
        assert mixed.mixed_label[i] == label[partner]
        assert weight[i] < 1 or torch.equal(mixed.waveform[i], waveform[i])


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_weights_of_clips_follow_the_distribution(alpha):
    weight = mixup_each(*clips(6000), alpha, 0.5, torch.Generator().manual_seed(1)).weight.double()
    drawn = weight[weight < 1]
    assert 0.47 < len(drawn) / 6000 < 0.53
    assert stats.kstest(drawn.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert (mixup_each(*clips(), probability=0.0).weight == 1).all()


def test_clips_by_the_global_generator_and_by_an_own_one():
    torch.manual_seed(3)
    first = mixup_each(*clips())
    own = mixup_each(*clips(), generator=torch.Generator().manual_seed(3))
    for one, other in zip(first, own, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_bad_probability_is_named():
    with pytest.raises(UserError, match=r"model\.mixup_per_clip=1\.5"):
        mixup_each(*clips(), probability=1.5)
    with pytest.raises(UserError, match="alpha"):
        mixup_each(*clips(), alpha=0.0)
