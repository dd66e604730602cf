"""What the module hands to the optimizer."""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from asd_lightning.configuration import plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.training.build import build_module
from tests.experiment.runs import tiny_config


def module_of(tmp_path, *changes):
    config = tiny_config(tmp_path, tmp_path, changes=changes)
    module = build_module(plain(config.model), [ClassLabel("fan/a", True), ClassLabel("fan/b", True)])
    module.trainer = pl.Trainer(max_steps=8, accelerator="cpu", logger=False)
    return module


def weight_decay_of(module):
    """Name of each parameter -> its weight decay."""
    groups = module.configure_optimizers()["optimizer"].param_groups
    names = {parameter: name for name, parameter in module.named_parameters()}
    return {names[parameter]: group["weight_decay"] for group in groups for parameter in group["params"]}


def test_the_report_decays_everything(tmp_path):
    module = module_of(tmp_path)
    assert weight_decay_of(module) == {name: 0.01 for name, _ in module.named_parameters()}


def test_biases_and_norms_may_be_spared(tmp_path):
    module = module_of(tmp_path, "model.decay_all=false")
    spared = {
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in module.named_modules()
        for name, parameter in layer.named_parameters(recurse=False)
        if name.endswith("bias") or isinstance(layer, torch.nn.LayerNorm | torch.nn.BatchNorm1d)
    }
    decay = weight_decay_of(module)
    assert spared
    assert {name for name, value in decay.items() if value == 0} >= spared
    assert decay["loss.arcface.weight"] == 0.01
    assert {value for name, value in decay.items() if name.endswith("weight") and name not in spared} == {0.01}


@pytest.mark.parametrize(
    ("device", "clip", "changes", "fused"),
    [
        ("cuda", None, [], True),
        ("cpu", None, [], None),
        # Lightning clips no gradients of a fused optimizer in mixed precision.
        ("cuda", 1.0, [], None),
        ("cuda", None, ["+model.optimizer.fused=false"], False),
        ("cuda", None, ["+model.optimizer.foreach=true"], None),
        ("cuda", None, ["model.optimizer._target_=torch.optim.RMSprop"], None),
    ],
)
def test_an_optimizer_is_fused_on_a_gpu_where_it_can_be(tmp_path, device, clip, changes, fused):
    module = module_of(tmp_path, *changes)
    strategy = SimpleNamespace(root_device=torch.device(device))
    module._trainer = SimpleNamespace(strategy=strategy, gradient_clip_val=clip, max_steps=8, accumulate_grad_batches=1)
    # Torch has a fused form for processors too, so that the weights need not be on a GPU here.
    optimizer = module.configure_optimizers()["optimizer"]
    assert optimizer.defaults.get("fused") is fused


def test_what_an_optimizer_cannot_take_is_named(tmp_path):
    with pytest.raises(UserError, match=r"model\.optimizer: Invalid learning rate: -1"):
        module_of(tmp_path, "model.optimizer.lr=-1").configure_optimizers()


def test_what_is_kept_for_use_holds_nothing_of_the_loss(tmp_path):
    module = module_of(tmp_path).eval()
    scored = module.scored_embedder()
    assert not [name for name in scored.state_dict() if "arcface" in name]
    waveform = torch.randn(2, 3, 16_000)
    torch.testing.assert_close(
        scored(waveform), module.head(module.embedder(waveform.flatten(0, 1))).view(2, 3, -1).mean(1)
    )
    before = module_of(tmp_path, "model.score_after_head=false").eval()
    torch.testing.assert_close(before(waveform[:, 0]), before.embedder(waveform[:, 0]))


def test_weights_from_before_the_head_left_the_loss_are_read(tmp_path):
    module = module_of(tmp_path)
    today = module.state_dict()
    former = {name.replace("head.perturbations.", "loss.heads."): value for name, value in today.items()}
    assert former.keys() != today.keys()
    checkpoint = {"state_dict": former, "current_model_state": dict(former), "global_step": 3}
    module.on_load_checkpoint(checkpoint)
    assert checkpoint["state_dict"].keys() == checkpoint["current_model_state"].keys() == today.keys()
