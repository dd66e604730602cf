import math

import jaxtyping
import numpy as np
import pytest
import torch

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import Mixed
from asd_lightning.losses.adaproj import AdaProj
from tests.losses.test_sub_cluster_adacos import numpy_shares

CLASSES = [ClassLabel(f"machine{i}", i % 2 == 0) for i in range(4)]
X = torch.tensor([[1.0, 0.2], [0.1, 1.0], [-1.0, 0.5]], dtype=torch.float64)


def numpy_cosine(x, vectors):
    """The definition, for one clip and one class."""
    x = x / np.linalg.norm(x)
    units = [v / np.linalg.norm(v) for v in vectors]
    p = sum((x @ w) * w for w in units)
    return float(x @ p / np.linalg.norm(p))


def test_golden_values():
    loss = AdaProj(2, CLASSES[:2], sub_centers=1, scale=1.0).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[[1.0, 0.0]], [[0.6, 0.8]]]))
    expected = [[0.980581, 0.745241], [0.099504, 0.855732], [0.894427, 0.178885]]
    np.testing.assert_allclose(loss.cosine(X).detach().numpy(), expected, atol=1e-6)
    assert AdaProj(2, CLASSES).scale == pytest.approx(math.sqrt(2) * math.log(3))


def test_the_definition_in_numpy_on_mixed_clips():
    torch.manual_seed(0)
    loss = AdaProj(6, CLASSES, sub_centers=3).double()
    x, label, permutation = torch.randn(9, 6, dtype=torch.float64), torch.randint(0, 4, (9,)), torch.randperm(9)
    mixed = Mixed(torch.zeros(9, 2), permutation, label[permutation], torch.rand(9))
    y = numpy_shares(label.numpy(), label[permutation].numpy(), mixed.weight.numpy(), 4)
    w = loss.weight.detach().numpy()
    logits = loss.scale * np.array([[numpy_cosine(one, w[c]) for c in range(4)] for one in x.numpy()])
    expected = -np.mean([y[i] @ (z - math.log(np.exp(z).sum())) for i, z in enumerate(logits)])
    assert loss(x, label, mixed).total.item() == pytest.approx(expected, rel=1e-7)


def test_one_within_the_subspace():
    """Orthogonal vectors: an embedding that they span has the cosine 1, whichever it is."""
    loss = AdaProj(4, CLASSES, sub_centers=2)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(4)[:2].expand(4, 2, 4))
    inside = torch.tensor([[0.3, -2.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(loss.cosine(inside), torch.ones(2, 4))


def test_gradient_is_finite_at_the_poles():
    """In the subspace, opposite, orthogonal to it, and at an embedding of zeros."""
    loss = AdaProj(3, CLASSES, sub_centers=1)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([1.0, 0.0, 0.0]).expand(4, 1, 3))
    embedding = torch.tensor([[2.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [1e-9, 1.0, 0], [0, 0, 0]]).requires_grad_()
    cosine = loss.cosine(embedding)
    assert cosine[2].tolist() == [0.0] * 4
    loss(embedding, torch.tensor([0, 1, 2, 3, 0])).total.backward()
    assert embedding.grad.isfinite().all()
    assert loss.weight.grad.isfinite().all()
    assert embedding.grad[:4].abs().max() < 10


def test_gradients_pass_finite_differences():
    torch.manual_seed(2)
    loss = AdaProj(4, CLASSES, sub_centers=2).double()
    x, label = torch.randn(4, 4, dtype=torch.float64, requires_grad=True), torch.arange(4)
    assert torch.autograd.gradcheck(lambda one: loss(one, label).total, x)


def test_float32_under_autocast():
    torch.manual_seed(3)
    loss, embedding, label = AdaProj(16, CLASSES), torch.randn(8, 16).bfloat16(), torch.randint(0, 4, (8,))
    plain = loss(embedding.float(), label).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(embedding, label).total
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scale": 0.0}, "scale=0.0: give fixed"),
        ({"scale": "dynamic"}, "scale=dynamic"),
        ({"sub_centers": {"attribute": 1, "no_attribute": 2}}, "one number"),
        ({"classes": CLASSES[:2]}, "2 classes are too few"),
        ({"classes": []}, "classes is empty"),
    ],
)
def test_bad_arguments_are_named(arguments, named, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=named):
        AdaProj(**{"embed_dim": 4, "classes": CLASSES, **arguments})
