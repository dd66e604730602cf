import math

import jaxtyping
import numpy as np
import pytest
import torch

from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.features.mixup import Mixed
from asd_lightning.losses.sub_cluster_adacos import LARGEST_SCALE, SubClusterAdaCos, fixed_scale

CLASSES = [ClassLabel(f"machine{i}", i % 2 == 0) for i in range(4)]
RAGGED = {"attribute": 1, "no_attribute": 3}
COUNTS = {2: [2, 2, 2, 2], "ragged": [1, 3, 1, 3]}


def golden(**how):
    """Centres and clips of an evaluation written apart from this package."""
    loss = SubClusterAdaCos(2, CLASSES[:2], sub_centers=2, **how).double()
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
    return loss, torch.tensor([[1.0, 0.2], [0.1, 1.0], [-1.0, 0.5]], dtype=torch.float64), torch.tensor([0, 1, 1])


def numpy_shares(label, other, weight, classes):
    y = np.zeros((len(label), classes))
    for i in range(len(label)):
        y[i, label[i]] += weight[i]
        y[i, other[i]] += 1 - weight[i]
    return y


def numpy_loss(x, w, counts, y, scale):
    """The definition, one clip and one class at a time."""
    first = np.cumsum([0, *counts])
    total = 0.0
    for i in range(len(x)):
        power = [math.exp(scale * x[i] @ v / (np.linalg.norm(x[i]) * np.linalg.norm(v))) for v in w]
        for c in range(len(counts)):
            total -= y[i, c] * math.log(sum(power[first[c] : first[c + 1]]) / sum(power))
    return total / len(x)


def numpy_next_scale(x, w, counts, y, scale):
    owner = np.repeat(np.arange(len(counts)), counts)
    cosine = (x / np.linalg.norm(x, axis=1)[:, None]) @ (w / np.linalg.norm(w, axis=1)[:, None]).T
    theta = [sum(y[i, owner[k]] * math.acos(cosine[i, k]) for k in range(len(w))) for i in range(len(x))]
    return math.log(np.exp(scale * cosine).sum() / len(x)) / math.cos(min(math.pi / 4, float(np.median(theta))))


def batch(kind, size=7, dim=5):
    torch.manual_seed(0)
    counts = COUNTS[kind]
    label, permutation = torch.randint(0, 4, (size,)), torch.randperm(size)
    mixed = Mixed(torch.zeros(size, 4), permutation, label[permutation], torch.rand(size, dtype=torch.float64))
    return torch.randn(size, dim, dtype=torch.float64), label, mixed, counts


def test_golden_values():
    loss, x, label = golden()
    assert loss.scale.item() == pytest.approx(1.553672, abs=5e-7)
    assert loss(x, label).total.item() == pytest.approx(0.807397, abs=5e-7)
    following, x, label = golden(scale="dynamic")
    following(x, label)
    assert following.scale.item() == pytest.approx(2.724352, abs=5e-7)
    assert fixed_scale(116 * 16, "centres") == pytest.approx(10.642862, abs=5e-7)


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("scale", ["fixed", "dynamic", 7.0])
def test_the_definition_in_numpy_on_mixed_clips(kind, scale):
    x, label, mixed, counts = batch(kind)
    loss = SubClusterAdaCos(5, CLASSES, sub_centers=2 if kind == 2 else RAGGED, scale=scale).double()
    y = numpy_shares(label.numpy(), mixed.mixed_label.numpy(), mixed.weight.float().numpy(), 4)
    start = math.sqrt(2) * math.log(sum(counts) - 1) if scale != 7.0 else 7.0
    w = loss.weight.detach().numpy()
    expected = numpy_next_scale(x.numpy(), w, counts, y, np.float32(start)) if scale == "dynamic" else start
    total = loss(x, label, mixed).total.item()
    assert loss.scale.item() == pytest.approx(expected, rel=1e-6)
    assert total == pytest.approx(numpy_loss(x.numpy(), w, counts, y, loss.scale.item()), rel=1e-6)


def test_one_weight_for_all_and_unmixed_are_the_same_formula():
    x, label, mixed, _ = batch(2)
    loss = SubClusterAdaCos(5, CLASSES, sub_centers=2).double()
    one = mixed._replace(weight=torch.tensor(0.3))
    each = mixed._replace(weight=torch.full((7,), 0.3))
    torch.testing.assert_close(loss(x, label, one).total, loss(x, label, each).total)
    whole = mixed._replace(weight=torch.tensor(1.0))
    torch.testing.assert_close(loss(x, label, whole).total, loss(x, label).total)


def test_the_scale_follows_in_training_alone_and_stays_finite():
    loss, x, label = golden(scale="dynamic")
    before = loss.eval().scale.item()
    loss(x, label)
    assert loss.scale.item() == before
    loss.train()
    on_their_centers = loss.weight.detach().clone().requires_grad_()
    for _ in range(60):
        total = loss(on_their_centers, torch.tensor([0, 0, 1, 1])).total
    total.backward()
    assert loss.scale.item() == LARGEST_SCALE
    assert on_their_centers.grad.isfinite().all()
    assert set(loss.state_dict()) == {"weight", "scale"}
    assert set(golden()[0].state_dict()) == {"weight"}


@pytest.mark.parametrize("scale", ["fixed", "dynamic"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradient_is_finite_on_and_opposite_the_center_and_far_from_all(scale, sign):
    loss = SubClusterAdaCos(3, CLASSES, sub_centers=2, scale=scale)
    embedding = torch.cat([sign * loss.weight.detach()[:2], torch.zeros(1, 3)]).requires_grad_()
    terms = loss(embedding, torch.tensor([0, 1, 2]))
    terms.total.backward()
    assert terms.total.isfinite()
    assert embedding.grad.isfinite().all()
    assert loss.weight.grad.isfinite().all()


def test_gradients_pass_finite_differences():
    x, label, mixed, _ = batch("ragged", size=4)
    loss = SubClusterAdaCos(5, CLASSES, sub_centers=RAGGED).double()
    assert torch.autograd.gradcheck(lambda one: loss(one, label, mixed).total, x.requires_grad_())


def test_float32_under_autocast():
    torch.manual_seed(3)
    loss = SubClusterAdaCos(16, CLASSES)
    embedding, label = torch.randn(8, 16).bfloat16(), torch.randint(0, 4, (8,))
    plain = loss(embedding.float(), label).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(embedding, label).total
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"scale": 0.0}, "scale=0.0: give fixed, dynamic"),
        ({"scale": "sixed"}, "scale=sixed"),
        ({"sub_centers": 0}, "sub_centers"),
        ({"classes": CLASSES[:2], "sub_centers": 1}, "2 centres are too few"),
    ],
)
def test_bad_arguments_are_named(arguments, named, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=named):
        SubClusterAdaCos(**{"embed_dim": 4, "classes": CLASSES, **arguments})


def test_dynamic_scale_of_two_ranks_is_that_of_the_joint_batch(monkeypatch):
    """Each rank gathers angles, then sums; the gathering itself is tested with the contrastive loss."""
    joint, x, label = golden(scale="dynamic")
    x, label = torch.cat([x, x[:1]]), torch.cat([label, label[:1]])
    joint(x, label)
    gathered = []
    monkeypatch.setattr(
        "asd_lightning.losses.sub_cluster_adacos.of_all_ranks", lambda mine: (gathered.append(mine), mine)[1]
    )
    golden(scale="dynamic")[0](x[2:], label[2:])
    others = iter(gathered)
    monkeypatch.setattr(
        "asd_lightning.losses.sub_cluster_adacos.of_all_ranks", lambda mine: torch.cat([mine, next(others)])
    )
    first = golden(scale="dynamic")[0]
    first(x[:2], label[:2])
    assert first.scale.item() == pytest.approx(joint.scale.item(), rel=1e-12)
