from functools import partial

import jaxtyping
import numpy as np
import pytest
import torch

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import Mixed
from asd_lightning.losses.adaproj import AdaProj
from asd_lightning.losses.feature_exchange import FeatureExchange, exchange
from asd_lightning.losses.sub_cluster_adacos import SubClusterAdaCos
from tests.losses.test_sub_cluster_adacos import numpy_loss, numpy_shares

CLASSES = [ClassLabel(f"machine{i}", i % 2 == 0) for i in range(3)]


def numpy_exchange(x, y, chosen, partners):
    """The definition, one clip and one part at a time."""
    parts, classes = len(partners) + 1, y.shape[1]
    length = x.shape[1] // parts
    out, shares = x.copy(), np.zeros((len(x), classes * (parts + 1)))
    for i in range(len(x)):
        if not chosen[i]:
            shares[i, :classes] = y[i]
            continue
        for part in range(parts):
            source = i if part == 0 else partners[part - 1][i]
            out[i, part * length : (part + 1) * length] = x[source, part * length : (part + 1) * length]
            shares[i, (part + 1) * classes : (part + 2) * classes] = y[source] / parts
    return out, shares


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_and_label_space_are_the_definition(parts):
    torch.manual_seed(0)
    x, y = torch.randn(8, 6), torch.rand(8, 3)
    chosen, partners = torch.rand(8) < 0.5, [torch.randperm(8) for _ in range(parts - 1)]
    found = exchange(x, y / y.sum(1, keepdim=True), chosen, partners)
    expected = numpy_exchange(x.numpy(), (y / y.sum(1, keepdim=True)).numpy(), chosen, [p.numpy() for p in partners])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-6)
    np.testing.assert_allclose(found[1].sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("parts", [2, 3])
def test_both_losses_evaluated_in_numpy_with_the_same_draws(parts):
    torch.manual_seed(1)
    loss = FeatureExchange(6, CLASSES, inner=SubClusterAdaCos, sub_centers=2, parts=parts, weight=0.7).double()
    x, label, permutation = torch.randn(8, 6, dtype=torch.float64), torch.randint(0, 3, (8,)), torch.randperm(8)
    mixed = Mixed(torch.zeros(8, 2), permutation, label[permutation], torch.rand(8))
    torch.manual_seed(5)
    terms = loss(x, label, mixed)
    torch.manual_seed(5)
    chosen = torch.rand(8).numpy() < 0.5
    partners = [torch.randperm(8).numpy() for _ in range(parts - 1)]
    y = numpy_shares(label.numpy(), label[permutation].numpy(), mixed.weight.numpy(), 3)
    moved, shares = numpy_exchange(x.numpy(), y, chosen, partners)
    plain, exchanged = (part.weight.detach().numpy() for part in (loss.plain, loss.exchanged))
    first = numpy_loss(x.numpy(), plain, [2] * 3, y, loss.plain.scale.item())
    second = numpy_loss(moved, exchanged, [2] * 3 * (parts + 1), shares, loss.exchanged.scale.item())
    assert terms.plain.item() == pytest.approx(first, rel=1e-6)
    assert terms.exchanged.item() == pytest.approx(second, rel=1e-6)
    assert terms.total.item() == pytest.approx(first + 0.7 * second, rel=1e-6)


def test_about_half_of_the_clips_are_exchanged(monkeypatch):
    seen = []
    loss = FeatureExchange(4, CLASSES, inner=SubClusterAdaCos)
    monkeypatch.setattr(
        "asd_lightning.losses.feature_exchange.exchange", lambda *given: (seen.append(given[2]), exchange(*given))[1]
    )
    torch.manual_seed(0)
    loss(torch.randn(4000, 4), torch.randint(0, 3, (4000,)))
    assert 0.46 < seen[0].float().mean() < 0.54


@pytest.mark.parametrize("inner", [SubClusterAdaCos, AdaProj, partial(SubClusterAdaCos, scale="dynamic")])
def test_every_parameter_has_a_finite_gradient(inner):
    torch.manual_seed(2)
    loss = FeatureExchange(6, CLASSES, inner=inner, probability=1.0)
    embedding = torch.cat([torch.randn(7, 6), torch.zeros(1, 6)]).requires_grad_()
    loss(embedding, torch.randint(0, 3, (8,))).total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in [embedding, *loss.parameters()])
    assert len(list(loss.parameters())) == 2


def test_float32_under_autocast():
    loss, embedding, label = (
        FeatureExchange(6, CLASSES, inner=AdaProj),
        torch.randn(8, 6).bfloat16(),
        torch.arange(8) % 3,
    )
    torch.manual_seed(0)
    plain = loss(embedding.float(), label).total
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(embedding, label).total
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"parts": 1}, "parts=1"),
        ({"parts": 3}, "parts=3: an embedding of 4"),
        ({"probability": 1.5}, "probability"),
        ({"weight": -1.0}, "weight"),
    ],
)
def test_bad_arguments_are_named(arguments, named, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=named):
        FeatureExchange(**{"embed_dim": 4, "classes": CLASSES, "inner": SubClusterAdaCos, **arguments})
