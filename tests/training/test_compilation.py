"""A training of compiled blocks is the training; on a processor, where torch traces the blocks and compiles nothing."""

import copy

import pytest
import torch
from torch._dynamo.utils import counters

from asd_lightning.encoders.beats import BEATs
from asd_lightning.errors import UserError
from asd_lightning.experiment.train import train
from asd_lightning.training import compilation
from asd_lightning.training.compilation import compiled
from tests.experiment.runs import assert_identical, last_checkpoint, tiny_config
from tests.test_low_precision import sound, system

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def traced(monkeypatch, unchecked):
    """What torch captures, as in a user's process without checks of types, runs as it is on any device."""
    torch.compiler.reset()
    counters.clear()
    monkeypatch.setattr(compilation, "BACKEND", "eager")
    monkeypatch.setattr(compilation, "refuse_without_compiler", lambda _: None)


def embedder_of(*kinds):
    """In training, without the draws of dropout: BEATs makes them elsewhere on a processor."""
    torch.manual_seed(0)
    embedder = system(*kinds).embedder.train()
    for module in embedder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return embedder


def loss_and_gradients(embedder):
    torch.manual_seed(1)
    embedder.zero_grad()
    embedding = embedder(sound(4))
    loss = (embedding * torch.linspace(-1, 1, embedding.shape[1])).sum()
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in embedder.named_parameters()}


def test_loss_and_gradients_stay_and_one_block_stands_for_all(traced):
    embedder = embedder_of("beats", "eat")
    # A layer of BEATs drops itself: with this seed one of them does.
    for layer in embedder.branches["beats"].encoder.transformer_blocks:
        layer.layerdrop = 0.5
    names = list(embedder.state_dict())
    loss, gradients = loss_and_gradients(embedder)
    gradients = copy.deepcopy(gradients)
    with compiled(embedder, CUDA):
        again, others = loss_and_gradients(embedder)
        assert list(embedder.state_dict()) == names
        assert counters["stats"]["unique_graphs"] == 2
        assert not counters["graph_break"]
        loss_and_gradients(embedder)
        assert counters["stats"]["unique_graphs"] == 2
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-5)
    largest = max(float(gradient.norm()) for gradient in gradients.values() if gradient is not None)
    for name, gradient in gradients.items():
        if gradient is not None:
            torch.testing.assert_close(others[name], gradient, rtol=1e-4, atol=1e-6 * largest, msg=name)


def test_what_is_scored_is_not_compiled(traced):
    embedder = embedder_of("beats", "eat")
    with compiled(embedder, CUDA):
        copied = copy.deepcopy(embedder)
    for one in (embedder, copied):
        one(sound())
    assert not counters["stats"]


def test_a_compiled_run_ends_with_the_same_weights(traced, tiny_data, tmp_path):
    """The same operations in the same order: to the bit; the average is part of it."""
    checkpoints = []
    for choice in ("false", "true"):
        folder = tmp_path / choice
        folder.mkdir()
        changes = [f"compile={choice}", "test=false", "data.num_workers=0"]
        train(tiny_config(folder, tiny_data, "system2", changes, updates=2), folder)
        assert (folder / "config.yaml").read_text().count(f"\ncompile: {choice}\n") == 1
        checkpoints.append(last_checkpoint(folder))
        assert (counters["stats"]["unique_graphs"] > 0) == (choice == "true")
    for part in ("state_dict", "current_model_state", "optimizer_states"):
        assert_identical(*(checkpoint[part] for checkpoint in checkpoints))


def test_what_cannot_be_compiled_is_refused(monkeypatch):
    with pytest.raises(UserError, match=r"compile=true: is for a training on a CUDA device, and this one is on cpu;"):
        compiled(embedder_of("beats"), CPU).__enter__()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compilation.shutil, "which", lambda _: None)
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"compile=true: Triton .* and a C compiler .* is needed and not here; install"):
        compiled(embedder_of("beats"), CUDA).__enter__()
    monkeypatch.setattr(compilation, "refuse_without_compiler", lambda _: None)
    with pytest.raises(UserError, match=r"compile=true: no encoder here has transformer blocks"):
        compiled(embedder_of("mn04"), CUDA).__enter__()


def test_blocks_are_all_layers():
    beats = BEATs()
    assert len(beats.transformer_blocks) == 12
    assert beats.transformer_blocks is beats.encoder.layers
