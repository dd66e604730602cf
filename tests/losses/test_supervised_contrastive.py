import math
import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from pytorch_metric_learning.losses import SupConLoss
from pytorch_metric_learning.reducers import MeanReducer

from asd_lightning.losses.supervised_contrastive import supervised_contrastive


def numpy_loss(feature, label, t, t0):
    """The definition, one pair at a time."""
    feature = feature / np.linalg.norm(feature, axis=1, keepdims=True)
    total = 0.0
    for i in range(len(label)):
        positives = [p for p in range(len(label)) if p != i and label[p] == label[i]]
        denominator = sum(math.exp(feature[i] @ feature[a] / t) for a in range(len(label)) if a != i)
        terms = sum(feature[i] @ feature[p] / t - math.log(denominator) for p in positives)
        total += -(t / t0) / max(len(positives), 1) * terms
    return total / len(label)


@pytest.mark.parametrize("classes", [2, 7, 40])
def test_agrees_with_the_definition_and_with_pytorch_metric_learning(classes):
    torch.manual_seed(classes)
    feature = torch.randn(24, 6, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, classes, (24,))
    loss, anchors = supervised_contrastive(feature, label)
    expected = numpy_loss(feature.detach().numpy(), label.numpy(), 0.04, 0.07)
    assert loss.item() == pytest.approx(expected, rel=1e-9)
    assert anchors.item() == sum((label == y).sum().item() > 1 for y in label)

    other = feature.detach().clone().requires_grad_()
    oracle = SupConLoss(temperature=0.04, reducer=MeanReducer())(other, label) * 0.04 / 0.07
    torch.testing.assert_close(loss, oracle, rtol=1e-6, atol=1e-9)
    loss.backward()
    oracle.backward()
    torch.testing.assert_close(feature.grad, other.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("label", [[0], [0, 1, 2]])
def test_without_positives_zero_with_a_zero_gradient(label):
    feature = torch.randn(len(label), 4, requires_grad=True)
    loss, anchors = supervised_contrastive(feature, torch.tensor(label))
    loss.backward()
    assert loss.item() == 0
    assert anchors.item() == 0
    torch.testing.assert_close(feature.grad, torch.zeros_like(feature))


def test_float32_under_autocast():
    feature, label = torch.randn(8, 4).bfloat16(), torch.arange(8) % 3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = supervised_contrastive(feature, label).loss
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, supervised_contrastive(feature.float(), label).loss, rtol=0, atol=0)


def joint_batch():
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    # Class 3 has one clip on either rank, class 4 a single clip: a positive across ranks, and none at all.
    label = torch.tensor([0, 0, 1, 2, 3, 1, 1, 2, 2, 3, 4, 0])
    weight = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    return inputs, label, weight


def one_of_two_ranks(rank, init_file, results):
    dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=2)
    inputs, label, weight = joint_batch()
    layer = torch.nn.Linear(5, 3, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(weight)
    own = slice(6 * rank, 6 * rank + 6)
    loss, anchors = supervised_contrastive(layer(inputs[own]), label[own], gather=True)
    loss.backward()
    # What distributed data parallel does with the gradients.
    dist.all_reduce(layer.weight.grad)
    gradient = layer.weight.grad / 2
    results[rank] = (loss.item(), anchors.item(), gradient.numpy())
    dist.destroy_process_group()


def test_two_ranks_average_to_the_joint_batch(tmp_path):
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with mp.Manager() as manager:
        results = manager.dict()
        mp.start_processes(one_of_two_ranks, (str(tmp_path / "rendezvous"), results), nprocs=2, start_method="fork")
        (first, anchors_first, gradient_first), (second, anchors_second, gradient_second) = results[0], results[1]
    inputs, label, weight = joint_batch()
    weight.requires_grad_()
    loss, anchors = supervised_contrastive(inputs @ weight.T, label)
    loss.backward()
    assert (first + second) / 2 == pytest.approx(loss.item(), rel=1e-12)
    assert anchors_first + anchors_second == anchors.item() == 11
    for gradient in (gradient_first, gradient_second):
        np.testing.assert_allclose(gradient, weight.grad.numpy(), rtol=1e-10, atol=1e-12)
