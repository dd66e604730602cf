import math

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from asd_lightning.data.labels import ClassLabel
from asd_lightning.embedder import EmbeddingHead
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import Mixed
from asd_lightning.losses.one_stage import OneStageLoss
from tests.losses.test_arcface import numpy_logits
from tests.losses.test_supervised_contrastive import numpy_loss

CLASSES = [ClassLabel(f"machine{i}", i % 2 == 0) for i in range(5)]


def batch(size=12, dim=6):
    torch.manual_seed(0)
    embedding = torch.randn(size, dim, dtype=torch.float64)
    label = torch.randint(0, len(CLASSES), (size,))
    permutation = torch.randperm(size)
    weight = torch.tensor(0.3, dtype=torch.float64)
    return embedding, label, Mixed(torch.zeros(size, 4), permutation, label[permutation], weight)


def numpy_head(x, head):
    """Linear - ReLU - batch statistics, twice; a BatchNorm normalises with the biased variance in training."""
    for linear, norm in ((head[0], head[2]), (head[3], head[5])):
        x = np.maximum(x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy(), 0)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + norm.eps)
        x = x * norm.weight.detach().numpy() + norm.bias.detach().numpy()
    return x


def numpy_cross_entropy(logits, label):
    return np.mean([math.log(np.exp(z - z[y]).sum()) for z, y in zip(logits, label, strict=True)])


@pytest.mark.parametrize("head", ["joint", "per_branch", "none"])
@pytest.mark.parametrize("sub_centers", [3, {"attribute": 1, "no_attribute": 4}])
def test_all_formulas_evaluated_in_numpy(head, sub_centers):
    embedding, label, mixed = batch()
    between = EmbeddingHead([4, 2], head).double()
    loss = OneStageLoss(6, CLASSES, sub_centers=sub_centers, arcface_weight=0.7, contrastive_weight=1.9).double()
    for parameter in between.parameters():
        nn.init.normal_(parameter)
    x = embedding.numpy()
    if head == "joint":
        x = numpy_head(x, between.perturbations[0])
    if head == "per_branch":
        x = np.hstack([numpy_head(x[:, :4], between.perturbations[0]), numpy_head(x[:, 4:], between.perturbations[1])])
    counts = [3] * 5 if sub_centers == 3 else [1, 4, 1, 4, 1]
    y, y_pi = label.numpy(), label.numpy()[mixed.permutation.numpy()]
    logits = numpy_logits(x, loss.arcface.weight.detach().numpy(), counts, y, 30.0, 0.2)
    arcface = 0.3 * numpy_cross_entropy(logits, y) + 0.7 * numpy_cross_entropy(logits, y_pi)
    contrastive = numpy_loss(x, y, 0.04, 0.07)

    terms = loss(between(embedding), label, mixed)
    assert terms.arcface.item() == pytest.approx(arcface, rel=1e-8)
    assert terms.contrastive.item() == pytest.approx(contrastive, rel=1e-8)
    assert terms.total.item() == pytest.approx(0.7 * arcface + 1.9 * contrastive, rel=1e-8)
    assert terms.anchors_with_positive.item() == sum((y == one).sum() > 1 for one in y)


def test_plain_arcface_cross_entropy_as_a_special_case():
    embedding, label, _ = batch()
    loss = OneStageLoss(6, CLASSES, contrastive_weight=0.0).double()
    terms = loss(embedding, label)
    torch.testing.assert_close(terms.total, F.cross_entropy(loss.arcface(embedding, label), label))


def test_every_parameter_has_a_gradient_at_weight_zero():
    embedding, label, mixed = batch()
    head, loss = EmbeddingHead([6]).double(), OneStageLoss(6, CLASSES, arcface_weight=0.0).double()
    loss(head(embedding), label, mixed).total.backward()
    assert all(parameter.grad is not None for parameter in [*head.parameters(), *loss.parameters()])


def test_weight_one_is_the_unmixed_loss():
    embedding, label, mixed = batch()
    loss = OneStageLoss(6, CLASSES).double()
    whole = mixed._replace(weight=torch.tensor(1.0))
    torch.testing.assert_close(loss(embedding, label, whole).total, loss(embedding, label, None).total)


def test_learns_to_tell_three_classes_apart():
    torch.manual_seed(1)
    centers = torch.randn(3, 16)
    label = torch.arange(48) % 3
    inputs = centers[label] + 0.3 * torch.randn(48, 16)
    layer = nn.Sequential(nn.Linear(16, 8), EmbeddingHead([8]))
    loss = OneStageLoss(8, CLASSES[:3], sub_centers=2)
    optimizer = torch.optim.AdamW([*layer.parameters(), *loss.parameters()], lr=1e-2)
    before = loss(layer(inputs), label).total.item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(layer(inputs), label).total.backward()
        optimizer.step()
    terms = loss(layer(inputs), label)
    assert terms.total.item() < before / 3
    assert (loss.arcface.cosine(layer(inputs)).argmax(1) == label).all()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"temperature": 0.0}, "temperature"), ({"arcface_weight": -1.0}, "negative")],
)
def test_bad_arguments_are_named(arguments, named, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=named):
        OneStageLoss(4, CLASSES, **arguments)


def test_a_weight_for_each_clip_against_numpy():
    embedding, label, mixed = batch()
    loss = OneStageLoss(6, CLASSES, sub_centers=3).double()
    weight = torch.linspace(0, 1, len(label), dtype=torch.float64)
    found = loss(embedding, label, mixed._replace(weight=weight)).arcface.item()
    w = loss.arcface.weight.detach().numpy()
    logits = numpy_logits(embedding.numpy(), w, [3] * 5, label.numpy(), 30.0, 0.2)
    expected = 0.0
    for z, y, y_pi, share in zip(logits, label.tolist(), mixed.mixed_label.tolist(), weight.tolist(), strict=True):
        expected += share * math.log(np.exp(z - z[y]).sum()) + (1 - share) * math.log(np.exp(z - z[y_pi]).sum())
    assert found == pytest.approx(expected / len(label), rel=1e-9)
    same = torch.full_like(weight, 0.3)
    torch.testing.assert_close(
        loss(embedding, label, mixed._replace(weight=same)).total, loss(embedding, label, mixed).total
    )
