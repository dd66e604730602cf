"""EAT against numbers of the official code and against a slow, explicit second implementation."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from asd_lightning.encoders.eat import EAT, EATConfig
from asd_lightning.features.fbank import eat_fbank
from tests.golden import (
    compare,
    golden_case,
    golden_gradients,
    golden_layout,
    golden_state,
    largest_gradient_error,
    recipe,
)

TINY = EATConfig(mel_bins=32, max_patches=5, embed_dim=24, depth=2, num_heads=3, mlp_ratio=1.5)


def tiny(dtype: torch.dtype = torch.float32) -> EAT:
    """A small encoder whose every parameter matters."""
    torch.manual_seed(0)
    model = EAT(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.to(dtype).eval()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {name.removeprefix("model."): tensor for name, tensor in golden_state("eat_base_hf").items()}


@pytest.fixture(scope="module")
def full_size(state: dict[str, Tensor]) -> EAT:
    """Drawing its weights, which are then replaced, takes longer than a clip.  Not to be changed."""
    model = EAT().eval()
    model.load_state_dict(state, strict=True)
    return model


def intermediate_values(model: EAT, features: Tensor) -> dict[str, Tensor]:
    """What the stored cases hold, by hooks on the named submodules."""
    values: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: values.__setitem__(name, output.detach())

    handles = [
        model.local_encoder.register_forward_hook(keep("patch")),
        model.pre_norm.register_forward_hook(keep("encoder_in")),
        model.blocks[0].register_forward_hook(keep("layer0")),
    ]
    with torch.no_grad():
        tokens = model(features)
    for handle in handles:
        handle.remove()
    return values | {"features": tokens, "mean": tokens[:, 1:].mean(1), "cls": tokens[:, 0]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "name",
    ["eat_6s_t608", pytest.param("eat_6s", marks=pytest.mark.slow), pytest.param("eat_10s", marks=pytest.mark.slow)],
)
def test_stored_cases(name: str, dtype: torch.dtype, full_size: EAT) -> None:
    case = golden_case(name)
    model = copy.deepcopy(full_size).to(dtype)
    features = eat_fbank(case.target_length)(torch.from_numpy(case.waves).to(dtype))
    rows = {row[0]: row[1] for row in compare.compare(case, intermediate_values(model, features))}
    assert set(rows) == set(case.meta["tensors"]) - {"fbank"}
    limit = 1e-6 if dtype == torch.float64 else 3e-6
    assert {name: error for name, error in rows.items() if error > limit} == {}


@pytest.mark.slow
def test_stored_gradients(state: dict[str, Tensor]) -> None:
    model = EAT().eval()
    model.load_state_dict(state, strict=True)
    model.double()
    expected = golden_gradients("grad_eat")
    waveform = torch.from_numpy(golden_case("eat_6s_t608").waves[:1]).double()
    direction = torch.from_numpy(recipe.pseudo_normal("grad/c", model.token_dim))
    loss = (direction * model(eat_fbank(608)(waveform)).mean(1)).sum()
    loss.backward()
    assert float(loss) == pytest.approx(expected["loss"], rel=1e-9)
    assert set(expected["parameters"]) == {name for name, _ in model.named_parameters()}
    assert largest_gradient_error(model, expected) < 1e-6


def test_published_layout_names_the_parameters() -> None:
    published = {n.removeprefix("model."): t["shape"] for n, t in golden_layout("eat_base_hf")["tensors"].items()}
    with torch.device("meta"):
        model = EAT()
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == published


# ---- a second implementation -----------------------------------------------------------------------------------------


def naive_encode(p: dict[str, Tensor], features: Tensor, heads: int) -> Tensor:
    """One clip, float64, in loops over patches and heads."""

    def norm(x: Tensor, name: str) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    kernel, dim = p["local_encoder.proj.weight"][:, 0], p["extra_tokens"].shape[-1]
    tokens = [p["extra_tokens"][0, 0]]
    for t in range(features.shape[0] // 16):
        for f in range(features.shape[1] // 16):
            patch = features[16 * t : 16 * t + 16, 16 * f : 16 * f + 16]
            rates = [10_000 ** (-i / (dim // 4)) for i in range(dim // 4)]
            position = [wave(index * rate) for index in (f, t) for wave in (math.sin, math.cos) for rate in rates]
            tokens.append(
                (kernel * patch).sum((1, 2)) + p["local_encoder.proj.bias"] + torch.tensor(position).to(features)
            )
    x = norm(torch.stack(tokens), "pre_norm")
    d = dim // heads
    for n in range(TINY.depth):
        qkv = linear(x, f"blocks.{n}.attn.qkv")
        mixed = []
        for h in range(heads):
            q, k, v = (qkv[:, part * dim + h * d : part * dim + (h + 1) * d] for part in range(3))
            mixed.append(torch.softmax(q @ k.T / math.sqrt(d), -1) @ v)
        x = norm(x + linear(torch.cat(mixed, -1), f"blocks.{n}.attn.proj"), f"blocks.{n}.norm1")
        hidden = linear(x, f"blocks.{n}.mlp.fc1")
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / math.sqrt(2)))
        x = norm(x + linear(hidden, f"blocks.{n}.mlp.fc2"), f"blocks.{n}.norm2")
    return x


@settings(max_examples=12, deadline=None)
@given(frames=st.integers(16, 130), seed=st.integers(0, 2**16))
def test_agrees_with_the_explicit_implementation(frames: int, seed: int) -> None:
    """Also beyond the five patch columns of the position table."""
    model = tiny(torch.float64)
    torch.manual_seed(seed)
    features = torch.randn(2, frames, 32, dtype=torch.float64)
    with torch.no_grad():
        got = model(features)
    want = torch.stack([naive_encode(model.state_dict(), clip, TINY.num_heads) for clip in features])
    torch.testing.assert_close(got, want, rtol=0, atol=3e-6)  # the table is float32


def test_positions_are_the_official_table() -> None:
    with torch.no_grad():
        model = EAT(EATConfig(depth=1))
    assert torch.equal(model.fixed_positional_encoder.positions, torch.from_numpy(recipe.sincos_positions(768, 8, 768)))
    longer = torch.from_numpy(recipe.sincos_positions(800, 8, 768))
    assert torch.equal(model.fixed_positional_encoder(6400), longer)
    assert torch.equal(model.fixed_positional_encoder(24), longer[:, :24])


@pytest.mark.parametrize("columns", [2, 64])
def test_a_table_of_another_length_is_recomputed_on_loading(columns: int) -> None:
    model = tiny()
    want = model.fixed_positional_encoder.positions.clone()
    state = model.state_dict()
    state["fixed_positional_encoder.positions"] = torch.full((1, columns * 2, 24), 7.0)
    model.load_state_dict(state, strict=True)
    assert torch.equal(model.fixed_positional_encoder.positions, want)


# ---- training and inference ------------------------------------------------------------------------------------------


def test_every_parameter_has_a_gradient_and_checkpointing_does_not_change_it() -> None:
    model, features = tiny().train(), torch.randn(2, 48, 32)
    model(features).square().mean().backward()
    plain = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in plain.values())
    twin = copy.deepcopy(model)
    twin.zero_grad()
    twin.gradient_checkpointing = True
    twin(features).square().mean().backward()
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name])


def test_clips_in_parts_are_the_whole_batch() -> None:
    model, features = tiny(), torch.randn(5, 48, 32)
    with torch.no_grad():
        parts = model(features)
    torch.testing.assert_close(parts, model(features).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_embeds_alike(dtype: torch.dtype, full_size: EAT) -> None:
    features = eat_fbank(208)(torch.from_numpy(golden_case("eat_6s_t608").waves))
    with torch.no_grad():
        single = full_size(features)[:, 0]
        with torch.autocast("cpu", dtype=dtype):
            half = full_size(features)[:, 0].float()
    assert F.cosine_similarity(single, half).min() > 0.999


@pytest.mark.slow
def test_traces_without_a_graph_break() -> None:
    """In a process of its own, where no type checker wraps the functions."""
    program = """
import torch
from asd_lightning.encoders.eat import EAT, EATConfig
model = EAT(EATConfig(mel_bins=32, max_patches=5, embed_dim=24, depth=2, num_heads=3, mlp_ratio=1.5)).eval()
features = torch.randn(2, 48, 32)
compiled = torch.compile(model, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(features), model(features))
with torch.no_grad():
    torch.testing.assert_close(compiled(features), model(features))
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("shape", [(1, 15, 32), (1, 48, 128)])
def test_wrong_features_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=rf"at least 16 frames of 32 mel bands, got {shape[1]} of {shape[2]}"):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"num_heads": 5}, "multiple of 4 and of num_heads 5"), ({"mel_bins": 100}, "multiple of patch_size 16")],
)
def test_unusable_configurations_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EATConfig(**change)  # type: ignore[arg-type]
