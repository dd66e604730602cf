"""BEATs against numbers of the official code and against a slow, explicit second implementation."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from asd_lightning.encoders.beats import BEATs, BEATsConfig, relative_position_bucket
from asd_lightning.errors import UserError
from asd_lightning.features.fbank import beats_fbank
from tests.encoders import naive_beats
from tests.golden import (
    compare,
    golden_case,
    golden_gradients,
    golden_layout,
    golden_state,
    largest_gradient_error,
    recipe,
)

LAYOUT = "beats_iter3_plus_as2m"
TINY = BEATsConfig(
    embed_dim=24,
    encoder_layers=3,
    encoder_embed_dim=32,
    encoder_ffn_embed_dim=48,
    encoder_attention_heads=4,
    conv_pos=6,
    conv_pos_groups=2,
    num_buckets=16,
    max_distance=20,
)
DETERMINISTIC = dataclasses.replace(TINY, dropout=0.0, attention_dropout=0.0, dropout_input=0.0, encoder_layerdrop=0.0)


def tiny(config: BEATsConfig = TINY, dtype: torch.dtype = torch.float32) -> BEATs:
    """A small encoder whose every parameter matters: gains, biases and tables away from their neutral values."""
    torch.manual_seed(0)
    model = BEATs(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.encoder.layers[0].self_attn.relative_attention_bias.weight.mul_(5.0)
        for layer in model.encoder.layers:
            layer.self_attn.grep_linear.weight.mul_(5.0)
    return model.to(dtype).eval()


MODEL = tiny()


# ---- the official code's numbers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return golden_state(LAYOUT)


@pytest.fixture(scope="module")
def full_size(state: dict[str, Tensor]) -> BEATs:
    """The published size; drawing weights, which are then replaced, takes longer than a clip.  Not to be changed."""
    model = BEATs(BEATsConfig.from_checkpoint(golden_layout(LAYOUT)["cfg"])).eval()
    model.load_state_dict(state, strict=True)
    return model


def intermediate_values(model: BEATs, features: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """What the stored cases hold, by hooks on the named submodules."""
    values: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: values.__setitem__(name, output.detach())

    first = model.encoder.layers[0]
    handles = [
        model.patch_embedding.register_forward_hook(keep("patch")),
        model.layer_norm.register_forward_hook(keep("patch_norm")),
        model.post_extract_proj.register_forward_hook(keep("patch_proj")),
        first.register_forward_pre_hook(lambda module, inputs: values.__setitem__("encoder_in", inputs[0].detach())),
        first.register_forward_hook(keep("layer0")),
    ]
    with torch.no_grad():
        values["features"] = model(features, mask)
    for handle in handles:
        handle.remove()
    values["patch"] = values["patch"].flatten(2).transpose(1, 2)
    values["mean"] = values["features"].mean(1)
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "name",
    [
        "beats_6s",
        pytest.param("beats_10s", marks=pytest.mark.slow),
        pytest.param("beats_padded", marks=pytest.mark.slow),
    ],
)
def test_stored_cases(name: str, dtype: torch.dtype, full_size: BEATs) -> None:
    case = golden_case(name)
    model = copy.deepcopy(full_size).to(dtype)
    features = beats_fbank()(torch.from_numpy(case.waves).to(dtype))
    mask = None if case.padding_mask is None else torch.from_numpy(case.padding_mask)
    values = intermediate_values(model, features, mask)
    if mask is not None:
        values["token_mask"] = model.token_padding_mask(mask, features.shape[1])
    rows = {row[0]: row[1] for row in compare.compare(case, values)}
    assert set(rows) == set(case.meta["tensors"]) - {"fbank"} | ({"token_mask"} if mask is not None else set())
    exact = dtype == torch.float64
    limits = dict.fromkeys(rows, 1e-6 if exact else 1e-5) | {"mean": 1e-6 if exact else 5e-6, "token_mask": 0.0}
    assert {name: error for name, error in rows.items() if error > limits[name]} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "decay"), [("grad_beats", 1.0), ("grad_beats_decay06", 0.6)])
def test_stored_gradients(file: str, decay: float, state: dict[str, Tensor]) -> None:
    config = BEATsConfig.from_checkpoint(golden_layout(LAYOUT)["cfg"], layer_wise_gradient_decay_ratio=decay)
    model = BEATs(config).eval()
    model.load_state_dict(state, strict=True)
    model.double()
    expected = golden_gradients(file)
    waveform = torch.from_numpy(golden_case("beats_6s").waves[:1]).double()
    direction = torch.from_numpy(recipe.pseudo_normal("grad/c", model.token_dim))
    loss = (direction * model(beats_fbank()(waveform)).mean(1)).sum()
    loss.backward()
    assert float(loss) == pytest.approx(expected["loss"], rel=1e-9)
    assert set(expected["parameters"]) == {name for name, _ in model.named_parameters()}
    assert largest_gradient_error(model, expected, skip="k_proj.bias") < 1e-6


@pytest.mark.parametrize("layout", [LAYOUT, f"{LAYOUT}_finetuned"])
def test_official_layouts_name_the_parameters(layout: str) -> None:
    published = golden_layout(layout)
    with torch.device("meta"):
        model = BEATs(BEATsConfig.from_checkpoint(published["cfg"]))
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == {n: t["shape"] for n, t in published["tensors"].items() if not n.startswith("predictor.")}
    assert model.config.layer_wise_gradient_decay_ratio == 1.0


# ---- a second implementation -----------------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(frames=st.integers(16, 70), seed=st.integers(0, 2**16), masked=st.booleans(), extra=st.integers(0, 300))
def test_agrees_with_the_explicit_implementation(frames: int, seed: int, masked: bool, extra: int) -> None:
    model = tiny(dtype=torch.float64)
    torch.manual_seed(seed)
    features = torch.randn(2, frames, 32, dtype=torch.float64)
    mask = None
    if masked:  # any pattern, not only padding at the end
        mask = (torch.rand(2, 400 + extra + 160 * frames // 16) < 0.5).repeat_interleave(16, 1)
        mask[:, : mask.shape[1] // 3] = False
    with torch.no_grad():
        got = model(features, mask)
    masks = [None, None] if mask is None else list(mask)
    state = model.state_dict()
    want = [naive_beats.encode(model.config, state, clip, own) for clip, own in zip(features, masks, strict=True)]
    torch.testing.assert_close(got, torch.stack(want), rtol=0, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(quarter=st.integers(2, 100), factor=st.floats(1.5, 20.0))
def test_buckets(quarter: int, factor: float) -> None:
    max_distance = int(quarter * factor) + 1
    distances = list(range(-700, 701))
    got = relative_position_bucket(torch.tensor(distances), 4 * quarter, max_distance)
    want = [naive_beats.bucket(distance, 4 * quarter, max_distance) for distance in distances]
    # Exactly on a boundary the logarithm's last bit decides, in float32 here and in float64 there.
    differing = (got != torch.tensor(want)).sum()
    assert differing <= 4
    assert (got - torch.tensor(want)).abs().max() <= 1


def test_published_buckets_are_exact() -> None:
    distances = list(range(-7000, 7001))
    got = relative_position_bucket(torch.tensor(distances), 320, 800)
    assert got.tolist() == [naive_beats.bucket(distance, 320, 800) for distance in distances]


@settings(max_examples=60, deadline=None)
@given(samples=st.integers(2800, 60_000), seed=st.integers(0, 2**16), kind=st.sampled_from(["end", "any", "runs"]))
def test_token_mask(samples: int, seed: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    frames = 1 + (samples - 400) // 160
    if kind == "end":
        mask = torch.arange(samples)[None] >= torch.randint(samples, (1, 1), generator=generator)
    else:
        run = 1 if kind == "any" else 500
        mask = (torch.rand(1, samples // run + 1, generator=generator) < 0.7).repeat_interleave(run, 1)[:, :samples]
    tokens = frames // 16 * 8
    assert MODEL.token_padding_mask(mask, frames)[0].tolist() == naive_beats.token_mask(
        mask[0].tolist(), frames, tokens
    )


@pytest.mark.parametrize(("samples", "frames", "run"), [(37_520, 232, 161), (4240, 25, 169)])
def test_token_mask_of_odd_lengths(samples: int, frames: int, run: int) -> None:
    """2.345 s are cut into runs of 161 samples, not 160; 24 to 31 frames into runs of three frames, not two."""
    assert samples // frames == run
    mask = torch.arange(samples)[None] >= samples // 2
    tokens = frames // 16 * 8
    assert MODEL.token_padding_mask(mask, frames)[0].tolist() == naive_beats.token_mask(
        mask[0].tolist(), frames, tokens
    )


# ---- training --------------------------------------------------------------------------------------------------------


def gradients(model: BEATs, features: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    model(features).square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_dropped_layers_pass_their_input_on_and_keep_a_gradient() -> None:
    model = tiny(dataclasses.replace(DETERMINISTIC, encoder_layerdrop=1.0)).train()
    inputs: list[Tensor] = []
    model.encoder.layers[0].register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    features = torch.randn(2, 48, 32)
    assert torch.equal(model(features), inputs[0])
    found = gradients(model, features)
    assert set(found) == {name for name, _ in model.named_parameters()}
    assert all((gradient == 0).all() for name, gradient in found.items() if ".layers." in name)
    assert found["patch_embedding.weight"].abs().sum() > 0


def test_layers_are_dropped_at_the_configured_rate() -> None:
    model = tiny(dataclasses.replace(DETERMINISTIC, encoder_layerdrop=0.3)).train()
    entered: list[Tensor] = []
    for layer in model.encoder.layers:
        layer.register_forward_pre_hook(lambda module, args: entered.append(args[0]))
    dropped = 0
    for _ in range(80):
        entered.clear()
        with torch.no_grad():
            final = model(torch.randn(1, 16, 32))
        dropped += sum(torch.equal(a, b) for a, b in zip(entered, [*entered[1:], final], strict=True))
    assert 0.2 < dropped / 240 < 0.4


def test_evaluation_draws_no_random_numbers_and_training_repeats_with_the_seed() -> None:
    model, features = tiny(), torch.randn(2, 48, 32)
    before = torch.get_rng_state()
    evaluated = model(features)
    assert torch.equal(torch.get_rng_state(), before)
    model.train()
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(model(features))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert not torch.equal(outputs[0], evaluated)


def test_gradient_decay_multiplies_once_per_layer() -> None:
    features = torch.randn(2, 48, 32, dtype=torch.float64)
    plain = gradients(tiny(DETERMINISTIC, torch.float64), features)
    decayed = gradients(
        tiny(dataclasses.replace(DETERMINISTIC, layer_wise_gradient_decay_ratio=0.5), torch.float64), features
    )
    for name in plain:
        if "relative_attention_bias" in name:  # reached from every layer, not through them
            continue
        layer = int(name.split("layers.")[1].split(".")[0]) if ".layers." in name else 0
        through = TINY.encoder_layers - 1 - layer if ".layers." in name else TINY.encoder_layers
        torch.testing.assert_close(decayed[name], plain[name] * 0.5**through, rtol=1e-9, atol=1e-15)


def test_gradient_checkpointing_changes_no_gradient() -> None:
    features = torch.randn(2, 48, 32)
    model = tiny(dataclasses.replace(TINY, encoder_layerdrop=0.5)).train()
    torch.manual_seed(3)
    plain = gradients(model, features)
    model.gradient_checkpointing = True
    torch.manual_seed(3)
    recomputed = gradients(model, features)
    assert set(plain) == set(recomputed)
    for name in plain:
        torch.testing.assert_close(recomputed[name], plain[name])


def test_copies_after_a_backward_pass() -> None:
    model, features = tiny(), torch.randn(2, 48, 32)
    gradients(model, features)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(features), model(features))
    tables = {id(layer.self_attn.relative_attention_bias.weight) for layer in twin.encoder.layers}
    assert len(tables) == 1


# ---- inference -------------------------------------------------------------------------------------------------------


def test_clips_in_parts_are_the_whole_batch() -> None:
    model, features = tiny(), torch.randn(5, 48, 32)
    mask = torch.arange(8000)[None] >= torch.tensor([8000, 6000, 3000, 7000, 5000])[:, None]
    with torch.no_grad():
        parts = model(features, mask)
    torch.testing.assert_close(parts, model(features, mask).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_embeds_alike(dtype: torch.dtype, full_size: BEATs) -> None:
    features = beats_fbank()(torch.from_numpy(golden_case("beats_6s").waves[:, :32000]))
    with torch.no_grad():
        single = full_size(features).mean(1)
        with torch.autocast("cpu", dtype=dtype):
            half = full_size(features).float().mean(1)
    assert F.cosine_similarity(single, half).min() > 0.999


@pytest.mark.slow
def test_traces_without_a_graph_break() -> None:
    """In a process of its own, where no type checker wraps the functions."""
    program = """
import torch
from asd_lightning.encoders.beats import BEATs, BEATsConfig
small = dict(embed_dim=24, encoder_layers=2, encoder_embed_dim=32, encoder_ffn_embed_dim=48,
             encoder_attention_heads=4, conv_pos=6, conv_pos_groups=2, num_buckets=16, max_distance=20)
model, features = BEATs(BEATsConfig(**small)).eval(), torch.randn(2, 48, 32)
mask = torch.arange(8000)[None] >= torch.tensor([8000, 6000])[:, None]
compiled = torch.compile(model, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(features), model(features))
torch.testing.assert_close(compiled(features, mask), model(features, mask))
with torch.no_grad():
    torch.testing.assert_close(compiled(features), model(features))
torch.compile(model.train(), backend="eager", fullgraph=True)(features).sum().backward()
assert all(parameter.grad is not None for parameter in model.parameters())
"""
    subprocess.run([sys.executable, "-c", program], check=True)


# ---- configuration, loading, errors ----------------------------------------------------------------------------------


def test_configuration_of_a_checkpoint() -> None:
    cfg = golden_layout(f"{LAYOUT}_finetuned")["cfg"]
    config = BEATsConfig.from_checkpoint(cfg)
    assert (config.max_distance, config.dropout, config.layer_wise_gradient_decay_ratio) == (800, 0.0, 1.0)
    assert BEATsConfig.from_checkpoint(cfg, 0.6).layer_wise_gradient_decay_ratio == 0.6
    assert BEATsConfig.from_checkpoint(golden_layout(LAYOUT)["cfg"]) == BEATsConfig()
    absent = BEATsConfig.from_checkpoint({"num_buckets": 320})
    assert (absent.max_distance, absent.deep_norm, absent.encoder_layerdrop) == (1280, False, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quant_n": 1024}, r"unknown keys \['quant_n'\]"),
        ({"layer_norm_first": True}, "layer_norm_first=True; only False"),
        ({"activation_fn": "relu"}, "activation_fn='relu'; only 'gelu'"),
        ({"encoder_attention_heads": 7}, "must be a multiple of encoder_attention_heads 7"),
        ({"max_distance": 80}, "less than 4 \\* max_distance 80"),
    ],
)
def test_unusable_configurations_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BEATsConfig.from_checkpoint(golden_layout(LAYOUT)["cfg"] | change)


def test_a_classifier_is_left_out_on_loading_also_inside_a_larger_module() -> None:
    state = tiny().state_dict()
    classifier = {"predictor.weight": torch.zeros(5, 32), "predictor.bias": torch.zeros(5)}
    model = BEATs(TINY)
    model.load_state_dict(state | classifier, strict=True)
    assert torch.equal(model.patch_embedding.weight, state["patch_embedding.weight"])
    outer = nn.ModuleDict({"encoder": BEATs(TINY)})
    outer.load_state_dict({f"encoder.{name}": tensor for name, tensor in (state | classifier).items()}, strict=True)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        model.load_state_dict(state | {"decoder.weight": torch.zeros(1)}, strict=True)


def test_width_of_patches_equal_to_that_of_tokens_needs_no_projection() -> None:
    model = BEATs(dataclasses.replace(TINY, embed_dim=32))
    assert not any("post_extract_proj" in name for name in model.state_dict())
    assert model(torch.randn(1, 16, 32)).shape == (1, 2, model.token_dim)


def test_too_short_names_the_samples_needed() -> None:
    with pytest.raises(UserError, match=r"at least 16 frames \(2800 samples .*, got 15"):
        tiny()(torch.zeros(1, 15, 32))


def test_a_clip_of_padding_alone_is_refused() -> None:
    mask = torch.tensor([[False] * 8000, [True] * 8000])
    with pytest.raises(ValueError, match="every token of a clip as padding"):
        tiny()(torch.randn(2, 48, 32), mask)
