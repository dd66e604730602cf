import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import SubCenterArcFaceLoss
from torch.nn import functional as F

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.losses.arcface import SubCenterArcFace, resolve_sub_centers

CLASSES = [ClassLabel("fan", False), ClassLabel("ToyCar/A1", True), ClassLabel("ToyCar/A2", True)]


def numpy_logits(embedding, weight, sub_centers, label, scale, margin):
    """The definition, one clip and one class at a time."""
    logits = np.empty((len(embedding), len(sub_centers)))
    first = np.cumsum([0, *sub_centers])
    for i, f in enumerate(embedding):
        for c, k in enumerate(sub_centers):
            centers = weight[first[c] : first[c] + k]
            cosine = max(f @ w / (np.linalg.norm(f) * np.linalg.norm(w)) for w in centers)
            theta = math.acos(min(max(cosine, -1), 1))
            if c == label[i]:
                beyond = theta + margin >= math.pi
                cosine = cosine - margin * math.sin(math.pi - margin) if beyond else math.cos(theta + margin)
            logits[i, c] = scale * cosine
    return logits


@pytest.mark.parametrize("sub_centers", [[3, 3, 3, 3], [1, 4, 2, 4], [1, 1, 1, 1]])
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.2])
def test_logits_are_the_definition(sub_centers, margin):
    torch.manual_seed(0)
    loss = SubCenterArcFace(5, sub_centers, scale=7.0, margin=margin).double()
    embedding = torch.randn(40, 5, dtype=torch.float64)
    label = torch.randint(0, 4, (40,))
    expected = numpy_logits(embedding.numpy(), loss.weight.detach().numpy(), sub_centers, label, 7.0, margin)
    np.testing.assert_allclose(loss(embedding, label).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


def test_cross_entropy_and_gradients_agree_with_pytorch_metric_learning():
    torch.manual_seed(1)
    oracle = SubCenterArcFaceLoss(
        num_classes=6, embedding_size=8, margin=math.degrees(0.2), scale=30, sub_centers=4
    ).double()
    loss = SubCenterArcFace(8, [4] * 6, scale=30.0, margin=0.2).double()
    with torch.no_grad():
        loss.weight.copy_(oracle.W.T)  # columns there are class-major too
    embedding = torch.randn(64, 8, dtype=torch.float64)
    label = torch.randint(0, 6, (64,))
    first, second = embedding.clone().requires_grad_(), embedding.clone().requires_grad_()
    ours = F.cross_entropy(loss(first, label), label)
    theirs = oracle(second, label)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(loss.weight.grad, oracle.W.grad.T, rtol=1e-5, atol=1e-8)


def test_beyond_pi_agrees_with_pytorch_metric_learning():
    oracle = SubCenterArcFaceLoss(num_classes=2, embedding_size=2, margin=math.degrees(0.2), scale=30, sub_centers=1)
    loss = SubCenterArcFace(2, [1, 1], scale=30.0, margin=0.2)
    with torch.no_grad():
        oracle.W.copy_(torch.eye(2))
        loss.weight.copy_(torch.eye(2))
    angles = torch.linspace(math.pi - 0.4, math.pi - 0.01, 9)
    embedding = torch.stack([angles.cos(), angles.sin()], dim=1)
    label = torch.zeros(9, dtype=torch.long)
    torch.testing.assert_close(
        F.cross_entropy(loss(embedding, label), label), oracle(embedding, label), rtol=1e-5, atol=1e-5
    )
    own = loss(embedding, label)[:, 0]
    assert (own.diff() < 0).all(), "the labelled logit must fall with the angle, through pi too"


def test_gradient_reaches_only_the_nearest_sub_center():
    loss = SubCenterArcFace(2, [3, 1])
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.1], [0.0, 1.0], [-1.0, 0.0], [0.5, -1.0]]))
    loss(torch.tensor([[0.9, 0.4]]), torch.tensor([0])).sum().backward()
    reached = loss.weight.grad.abs().sum(1) > 0
    assert reached.tolist() == [True, False, False, True]


def test_gradients_pass_finite_differences():
    torch.manual_seed(2)
    loss = SubCenterArcFace(4, [2, 1, 3]).double()
    label = torch.tensor([0, 1, 2, 2])
    embedding = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, label), embedding)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradient_is_finite_on_and_opposite_the_center(sign):
    loss = SubCenterArcFace(3, [1, 1])
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))  # the cosine is exactly 1, not nearly
    embedding = (sign * loss.weight.detach()[:1]).clone().requires_grad_()
    F.cross_entropy(loss(embedding, torch.tensor([0])), torch.tensor([0])).backward()
    assert embedding.grad.isfinite().all()
    assert loss.weight.grad.isfinite().all()


def test_float32_under_autocast():
    torch.manual_seed(3)
    loss = SubCenterArcFace(16, [2] * 5)
    embedding, label = torch.randn(8, 16).bfloat16(), torch.randint(0, 5, (8,))
    plain = loss(embedding.float(), label)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(embedding, label)
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)


def test_one_parameter_of_one_row_per_center():
    loss = SubCenterArcFace(384, [114] * 172)
    assert {name: tuple(p.shape) for name, p in loss.named_parameters()} == {"weight": (19_608, 384)}
    assert set(loss.state_dict()) == {"weight"}
    assert loss(torch.randn(2, 384), torch.tensor([0, 171])).shape == (2, 172)


def test_sub_centers_by_kind_of_class():
    assert resolve_sub_centers(114, CLASSES) == [114, 114, 114]
    assert resolve_sub_centers({"attribute": 1, "no_attribute": 16}, CLASSES) == [16, 1, 1]


@pytest.mark.parametrize("bad", [0, {"attribute": 1}, {"attribute": 1, "no_attribute": 0}, {"a": 1, "b": 2}])
def test_bad_sub_centers_are_named(bad):
    with pytest.raises(UserError, match="sub_centers"):
        resolve_sub_centers(bad, CLASSES)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"margin": 11.5}, "radians"), ({"scale": 0.0}, "scale"), ({"sub_centers": [2, 0]}, "sub_centers")],
)
def test_bad_arguments_are_named(arguments, named):
    with pytest.raises(UserError, match=named):
        SubCenterArcFace(**{"embed_dim": 4, "sub_centers": [1, 1], **arguments})
    with pytest.raises(UserError, match="classes is empty"):
        resolve_sub_centers(1, [])
