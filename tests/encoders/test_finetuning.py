"""Full, frozen and low-rank fine-tuning of the encoders."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.encoders.finetuning import LoRALinear, LoRAPointwise, apply_finetuning, merge_low_rank
from asd_lightning.encoders.mn04 import MN04, MN04Config
from asd_lightning.errors import UserError

BEATS = BEATsConfig(
    embed_dim=32, encoder_layers=2, encoder_embed_dim=48, encoder_ffn_embed_dim=96, encoder_attention_heads=4,
    conv_pos=16, conv_pos_groups=4, num_buckets=32, max_distance=80,
)  # fmt: skip
EAT_CONFIG = EATConfig(embed_dim=64, depth=2, num_heads=4, max_patches=16)


@pytest.fixture(params=["beats", "eat", "mn04"])
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    makers = {"beats": lambda: BEATs(BEATS), "eat": lambda: EAT(EAT_CONFIG), "mn04": lambda: MN04(MN04Config(block=8))}
    return makers[request.param]()


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(2, 48, 128, generator=torch.Generator().manual_seed(1))


def test_full_changes_nothing(encoder: nn.Module) -> None:
    apply_finetuning(encoder, "full")
    still = [name for name, parameter in encoder.named_parameters() if not parameter.requires_grad]
    assert not still or isinstance(encoder, MN04)  # below: what of it has no part in the tokens
    assert encoder.train().training


def test_frozen_encoder_has_no_gradient_and_no_dropout(encoder: nn.Module, features: torch.Tensor) -> None:
    parent = nn.ModuleDict({"encoder": encoder, "other": nn.Dropout(0.5)})
    apply_finetuning(encoder, "freeze")
    parent.train()
    assert parent["other"].training
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert torch.equal(encoder(features), encoder(features))
    assert parent.eval() is parent
    assert encoder.train() is encoder


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copy_of_a_frozen_encoder_stays_frozen_on_its_own(copied: object, encoder: nn.Module) -> None:
    """An averaged model is a deep copy of the trained one."""
    apply_finetuning(encoder, "freeze")
    twin = copied(encoder)  # type: ignore[operator]
    for module in encoder.modules():
        module.training = True
    twin.train()
    assert not any(module.training for module in twin.modules())
    assert all(module.training for module in encoder.modules())


def test_low_rank_updates_start_as_the_encoder_itself(encoder: nn.Module, features: torch.Tensor) -> None:
    encoder.eval()
    before, names = encoder(features), set(encoder.state_dict())
    apply_finetuning(encoder, "lora", rank=4)
    assert torch.equal(encoder(features), before)
    added = set(encoder.state_dict()) - names
    assert names <= set(encoder.state_dict())
    assert added
    assert all(name.endswith(("lora_a", "lora_b")) for name in added)
    encoder(features).square().mean().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert trained == added
    # B starts at zero, so at first only B has a gradient other than zero.
    assert all(p.grad.abs().sum() > 0 for name, p in encoder.named_parameters() if name.endswith("lora_b"))


def test_low_rank_layers_are_those_of_the_attention() -> None:
    beats, eat = BEATs(BEATS), EAT(EAT_CONFIG)
    for encoder in (beats, eat):
        apply_finetuning(encoder, "lora", rank=2)
    replaced = {name for name, module in beats.named_modules() if isinstance(module, LoRALinear)}
    assert replaced == {f"encoder.layers.{i}.self_attn.{name}" for i in range(2) for name in ("v_proj", "q_proj")}
    assert [name for name, module in eat.named_modules() if isinstance(module, LoRALinear)] == [
        f"blocks.{i}.attn.qkv" for i in range(2)
    ]


@pytest.mark.parametrize("mode", ["full", "lora"])
def test_what_trains_is_what_has_a_gradient(mode: str, encoder: nn.Module, features: torch.Tensor) -> None:
    """Processes that train together wait for the gradient of every parameter that may have one."""
    apply_finetuning(encoder, mode, rank=4)  # type: ignore[arg-type]
    encoder.train()
    encoder(features).square().mean().backward()
    wanted = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert {name for name, parameter in encoder.named_parameters() if parameter.grad is not None} == wanted


def test_of_mn04_the_blocks_up_to_the_wanted_one_train() -> None:
    encoder = MN04(MN04Config(block=8))
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    apply_finetuning(encoder, "full")
    trained = {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[1] for name in trained} == {str(block) for block in range(9)}
    assert not any(name.startswith("classifier") for name in trained)
    names = set(encoder.state_dict())
    apply_finetuning(encoder, "lora", rank=4)
    layers = {name: module for name, module in encoder.named_modules() if isinstance(module, LoRAPointwise)}
    # Each block expands and projects, but for those that have nothing to expand.
    assert {name.split(".")[1] for name in layers} == {str(block) for block in range(1, 9)}
    assert all(layer.kernel_size == (1, 1) and layer.groups == 1 for layer in layers.values())
    assert names <= set(encoder.state_dict())


def test_low_rank_updates_leave_batch_statistics_as_they_are(features: torch.Tensor) -> None:
    """Those of mixtures of a few machines' clips would take the place of those of all sounds."""
    encoder = MN04(MN04Config(block=2))
    apply_finetuning(encoder, "lora", rank=4)
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    encoder.train()
    assert encoder.training
    encoder(features)
    assert all(torch.equal(buffer, before[name]) for name, buffer in encoder.named_buffers())


def test_low_rank_convolution_against_numpy() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 5, 1).double()
    layer = LoRAPointwise(convolution, rank=2, alpha=8.0)
    nn.init.normal_(layer.lora_b)
    x = torch.randn(3, 6, 4, 2, dtype=torch.float64)
    a, b = (matrix.detach().numpy()[:, :, 0, 0] for matrix in (layer.lora_a, layer.lora_b))
    weight = convolution.weight.detach().numpy()[:, :, 0, 0] + 8.0 / 2 * b @ a
    expected = np.einsum("oi,bift->boft", weight, x.numpy()) + convolution.bias.detach().numpy()[:, None, None]
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    assert layer.weight is convolution.weight
    assert LoRAPointwise(convolution, rank=16, alpha=8.0).lora_a.shape == (5, 6, 1, 1)


def test_low_rank_layer_against_numpy() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(7, 5).double()
    layer = LoRALinear(linear, rank=3, alpha=12.0)
    nn.init.normal_(layer.lora_b)
    x = torch.randn(4, 2, 7, dtype=torch.float64)
    a, b = layer.lora_a.detach().numpy(), layer.lora_b.detach().numpy()
    weight = linear.weight.detach().numpy() + 12.0 / 3 * b @ a
    assert np.linalg.matrix_rank(weight - linear.weight.detach().numpy()) == 3
    expected = x.numpy() @ weight.T + linear.bias.detach().numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12)
    assert layer.weight is linear.weight


def test_merged_updates_give_the_same_from_the_layers_of_before(encoder: nn.Module, features: torch.Tensor) -> None:
    encoder.double().eval()
    before = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    apply_finetuning(encoder, "lora", rank=4, alpha=8.0)
    for name, parameter in encoder.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.1)
    wanted = encoder(features.double())
    untouched = copy.deepcopy(encoder)
    merge_low_rank(encoder)
    torch.testing.assert_close(encoder(features.double()), wanted, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(untouched(features.double()), wanted, rtol=0, atol=0)
    assert {name: tensor.shape for name, tensor in encoder.state_dict().items()} == before
    assert not any(isinstance(module, LoRALinear | LoRAPointwise) for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_low_rank_layers_by_name() -> None:
    encoder = BEATs(BEATS)
    apply_finetuning(encoder, "lora", rank=2, alpha=8.0, layers=["q_proj", "k_proj", "v_proj"])
    replaced = {name for name, module in encoder.named_modules() if isinstance(module, LoRALinear)}
    assert replaced == {f"encoder.layers.{i}.self_attn.{one}_proj" for i in range(2) for one in "qkv"}
    assert {module.scale for module in encoder.modules() if isinstance(module, LoRALinear)} == {4.0}


@pytest.mark.usefixtures("unchecked")
def test_bad_requests_are_named() -> None:
    with pytest.raises(UserError, match="finetuning='half': choose one of full, freeze, lora"):
        apply_finetuning(nn.Linear(1, 1), "half")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"Sequential has none: use finetuning=full"):
        apply_finetuning(nn.Sequential(nn.Linear(1, 1)), "lora")
    with pytest.raises(UserError, match="rank of low-rank updates is 0"):
        apply_finetuning(EAT(EAT_CONFIG), "lora", rank=0)
    with pytest.raises(UserError, match=r"lora_layers: 'q_prj' is no linear layer of BEATs; it has .*k_proj"):
        apply_finetuning(BEATs(BEATS), "lora", layers=["q_prj"])
