"""mn04 and its front-end against numbers of the official code, and what mistakes would do to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchaudio.functional
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asd_lightning.encoders import mn04
from asd_lightning.encoders.mn04 import MN04, MN04Config
from asd_lightning.features import mel_table, mn04_log_mel
from asd_lightning.features.mn04_log_mel import MN04LogMel
from tests.golden import HERE, compare_mn04, golden_case, golden_gradients, golden_layout, golden_mn04_state, recipe
from tests.reference import needs_reference, shared_dir

CHECKPOINT = "weights/mn04_as_mAP_432.pt"
BLOCKS = range(17)
TRUE_CASES = ["mn04_10s", "mn04_2345ms", "mn04_1s", "mn04_silence", "mn04_square", "mn04_16k_2s"]
CASES = [
    "mn04_recipe_1s",
    *(pytest.param(name, marks=needs_reference(CHECKPOINT)) for name in TRUE_CASES),
]


def state_of(name: str) -> dict[str, Tensor]:
    """The weights of a case: published ones, or those of the recipe."""
    if "recipe" in name:
        return golden_mn04_state()
    published: dict[str, Tensor] = torch.load(shared_dir() / CHECKPOINT, weights_only=True)
    return published


def model_of(name: str, dtype: torch.dtype = torch.float32) -> MN04:
    model = MN04().eval()
    model.load_state_dict(state_of(name), strict=True)
    return model.to(dtype)


def outputs(model: MN04, waveform: Tensor, rate: int = 32_000) -> dict[str, np.ndarray]:
    """Everything that a stored case may hold."""
    front_end = MN04LogMel(rate)
    with torch.no_grad():
        features = front_end(waveform)
        blocks = model.block_outputs(features, BLOCKS)
        found = {"logmel": features.transpose(1, 2), **model.tags(features)._asdict()}
        if rate != 32_000:
            found["wave32k"] = front_end.resampled(waveform)
    for index, block in enumerate(blocks):
        found |= {f"block{index:02d}": block, f"block{index:02d}_timemean": block.mean(3)}
    return {name: value.numpy() for name, value in found.items()}


def failing(case: SimpleNamespace, model: MN04, dtype: torch.dtype = torch.float32) -> list[Any]:
    rate = 16_000 if case.meta["resample"] else 32_000
    found = outputs(model, torch.from_numpy(case.waves).to(dtype), rate)
    assert found.keys() == case.meta["tensors"].keys()
    rows = compare_mn04.compare(case, found)
    assert {row[0].partition(" ")[0] for row in rows} == found.keys()
    return compare_mn04.failures(rows, double=dtype == torch.float64)


@pytest.fixture
def fresh_tables() -> Iterator[None]:
    mn04_log_mel.tables.cache_clear()
    yield
    mn04_log_mel.tables.cache_clear()


@pytest.fixture
def stored_table(monkeypatch: pytest.MonkeyPatch, fresh_tables: None) -> None:
    """The mel table of the computer that made the cases: another one's logarithm moves single slopes by 2e-5."""
    stored = torch.from_numpy(np.load(HERE / "cases" / "mn04_mel_table.npz")["mel_table"].T)
    monkeypatch.setattr(mn04_log_mel, "mel_table", lambda scale, dtype: stored.to(dtype))


@pytest.mark.parametrize("name", CASES)
def test_stored_cases_in_single_precision(name: str) -> None:
    assert failing(golden_case(name), model_of(name)) == []


@pytest.mark.parametrize("name", CASES)
def test_stored_cases_in_double_precision(name: str, stored_table: None) -> None:
    assert failing(golden_case(name), model_of(name, torch.float64), torch.float64) == []


def test_resampling_without_weights() -> None:
    case = golden_case("mn04_16k_2s")
    for dtype, limit in ((torch.float32, 5e-7), (torch.float64, 1e-7)):
        waveform = torch.from_numpy(case.waves).to(dtype)
        rows = compare_mn04.compare(case, {"wave32k": MN04LogMel().resampled(waveform).numpy()})
        assert [row[0] for row in rows if not row[1] < limit] == []
        assert rows[-1][0] == "wave32k"


@pytest.mark.parametrize("name", ["grad_mn04_recipe", pytest.param("grad_mn04", marks=needs_reference(CHECKPOINT))])
@pytest.mark.parametrize("output", ["embedding", "logits"])
def test_stored_gradients(name: str, output: str, stored_table: None) -> None:
    stored = golden_gradients(name)
    expected, arrays = stored["losses"][output], np.load(HERE / "cases" / f"{name}.npz")
    waves = golden_case(stored["input"].split(" ")[0]).waves[:1]
    model = model_of(name, torch.float64)
    features = MN04LogMel(32_000)(torch.from_numpy(waves).double()).requires_grad_()
    answer = getattr(model.tags(features), output)
    loss = (torch.from_numpy(recipe.pseudo_normal(f"grad/c_{output}", answer.shape[1])) * answer).sum()
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-7)
    gradients = {key: value.grad for key, value in model.named_parameters() if value.grad is not None}
    assert features.grad is not None
    gradients["input_logmel"] = features.grad.transpose(1, 2)
    assert gradients.keys() == expected["parameters"].keys()
    for key, want in expected["parameters"].items():
        flat = gradients[key].flatten()
        rms = float(flat.square().mean().sqrt())
        direction = torch.from_numpy(recipe.pseudo_normal(f"grad/{key}", len(flat)))
        projection = float(flat @ direction) / len(flat) ** 0.5
        errors = (rms - want["rms"], projection - want["projection"])
        assert max(map(abs, errors)) < 1e-6 * want["rms"], key
    whole = [key for key in arrays if key.startswith(f"{output}/")]
    assert whole
    for key in whole:
        got, truth = gradients[key.partition("/")[2]].numpy(), arrays[key]
        assert np.sqrt(((got - truth) ** 2).mean() / (truth**2).mean()) < 1e-6, key


def test_names_and_shapes_are_the_published_ones() -> None:
    layout = golden_layout("mn04_as")
    with torch.device("meta"):
        model = MN04()
    published = {name: (tensor["shape"], tensor["dtype"]) for name, tensor in layout["tensors"].items()}
    state = model.state_dict()
    assert {name: (list(x.shape), str(x.dtype).removeprefix("torch.")) for name, x in state.items()} == published
    assert len(state) == 312
    assert sum(parameter.numel() for parameter in model.parameters()) == layout["n_parameters"] == 983_599


# ---- mistakes --------------------------------------------------------------------------------------------------------


def setting(module: Any, name: str, value: Any) -> Callable[[pytest.MonkeyPatch, MN04], Any]:
    return lambda patch, _: patch.setattr(module, name, value)


def on_modules(kind: type[nn.Module], change: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch, MN04], Any]:
    return lambda _, model: [change(module) for module in model.modules() if isinstance(module, kind)]


def instead_of(kind: type[nn.Module], other: type[nn.Module], blocks: Any = BLOCKS) -> Any:
    """Another activation in some blocks."""

    def change(_: pytest.MonkeyPatch, model: MN04) -> None:
        for index in blocks:
            for parent in list(model.features[index].modules()):
                for name, child in list(parent.named_children()):
                    if isinstance(child, kind):
                        setattr(parent, name, other())

    return change


def stft(**changes: Any) -> Callable[[pytest.MonkeyPatch, MN04], Any]:
    """torch's transform with other arguments."""
    true = torch.stft
    return lambda patch, _: patch.setattr(
        mn04_log_mel.torch, "stft", lambda *args, **options: true(*args, **options | changes)
    )


def window(change: Callable[[], Tensor], length: int = 800) -> Callable[[pytest.MonkeyPatch, MN04], Any]:
    def apply(patch: pytest.MonkeyPatch, _: MN04) -> None:
        patch.setattr(mn04_log_mel, "WINDOW_LENGTH", length)
        patch.setattr(mn04_log_mel, "_window", change)

    return apply


def other_table(change: Callable[[Tensor], Tensor]) -> Callable[[pytest.MonkeyPatch, MN04], Any]:
    true = mel_table.mel_table
    return lambda patch, _: patch.setattr(mn04_log_mel, "mel_table", lambda *how: change(true(*how)))


def excitation(gate: Callable[[Tensor], Tensor], inner: Callable[[Tensor], Tensor] = torch.relu) -> Any:
    return setting(mn04._Excitation, "forward", lambda self, mean: gate(self.fc2(inner(self.fc1(mean)))))


def weights_before_filter(block: mn04._Block) -> None:
    parts = list(block.block)
    if isinstance(parts[-2], mn04._ChannelWeights):
        block.block = nn.Sequential(*parts[:-3], parts[-2], parts[-3], parts[-1])


def squeezed_by_maximum(self: mn04._ChannelWeights, x: Tensor) -> Tensor:
    return x * self.conc_se_layers[0](x.amax((2, 3)))[:, :, None, None]


def scale(low: float, high: float) -> Any:
    return setting(mn04_log_mel, "_SCALE", mel_table.MelScale(1024, 32_000, low, high))


def htk_table(_: Tensor) -> Tensor:
    return torchaudio.functional.melscale_fbanks(513, 0.0, 15_000.0, 128, 32_000)


MISTAKES = {
    "periodic Hann": window(lambda: torch.hann_window(800)),
    "window at the left": window(lambda: nn.functional.pad(torch.hann_window(800, periodic=False), (0, 224)), 1024),
    "window of 1024": window(lambda: torch.hann_window(1024, periodic=False), 1024),
    "zeros at the ends": stft(pad_mode="constant"),
    "last sample repeated": stft(pad_mode="replicate"),
    "normalised transform": stft(normalized=True),
    "no pre-emphasis": setting(mn04_log_mel, "PRE_EMPHASIS", 0.0),
    "first sample kept": setting(
        mn04_log_mel, "_emphasized", lambda x: torch.cat([x[:, :1], x[:, 1:] - 0.97 * x[:, :-1]], 1)
    ),
    "magnitude": setting(mn04_log_mel, "_power", torch.abs),
    "bands up to 16 kHz": scale(0.0, 16_000.0),
    "bands up to 14 kHz": scale(0.0, 14_000.0),
    "bands from 20 Hz": scale(20.0, 15_000.0),
    "slopes linear in Hz": other_table(htk_table),
    "bands of equal area": other_table(lambda table: table / table.sum(0)),
    "offset 1e-6": setting(mn04_log_mel, "OFFSET", 1e-6),
    "shift of EAT": setting(mn04_log_mel, "SHIFT", 4.268),
    "norms with eps 1e-5": on_modules(nn.BatchNorm2d, lambda norm: setattr(norm, "eps", 1e-5)),
    "norms of the batch": lambda _, model: model.features.train(),
    "no residual": on_modules(mn04._Block, lambda block: setattr(block, "residual", False)),
    "projection with activation": on_modules(mn04._Block, lambda block: block.block[-1].append(nn.ReLU())),
    "weights before the filter": on_modules(mn04._Block, weights_before_filter),
    "squeezed by maximum": setting(mn04._ChannelWeights, "forward", squeezed_by_maximum),
    "piecewise linear sigmoid": excitation(nn.functional.hardsigmoid),
    "hard-swish between": excitation(torch.sigmoid, nn.functional.hardswish),
    "SiLU": instead_of(nn.Hardswish, nn.SiLU),
    "hard-swish in early blocks": instead_of(nn.ReLU, nn.Hardswish, range(1, 7)),
    "time and frequency swapped": setting(mn04, "_plane", lambda features: features.unsqueeze(1)),
}


@pytest.mark.usefixtures("unchecked", "fresh_tables")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_fails_the_comparison(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("mn04_recipe_1s")
    MISTAKES[mistake](monkeypatch, model)
    case = golden_case("mn04_recipe_1s")
    found = outputs(model, torch.from_numpy(case.waves))
    same = {
        name: value for name, value in found.items() if list(value.shape) == case.meta["tensors"][name]["full_shape"]
    }
    failures = {row[0] for row in compare_mn04.failures(compare_mn04.compare(case, same))}
    assert {"embedding", "logits"} <= failures


# ---- what is used ----------------------------------------------------------------------------------------------------


def features_of(batch: int, frames: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, frames, 128, generator=torch.Generator().manual_seed(seed))


def test_a_clip_has_one_answer_whichever_others_it_comes_with() -> None:
    model, features = model_of("mn04_recipe_1s"), features_of(2, 101)
    with torch.no_grad():
        both, alone = model.tags(features), model.tags(features[:1])
        torch.testing.assert_close(model(features)[:1], model(features[:1]), rtol=0, atol=2e-5)
    assert [tuple(part.shape) for part in alone] == [(1, 384), (1, 512), (1, 527)]
    for pair, single in zip(both, alone, strict=True):
        torch.testing.assert_close(pair[:1], single, rtol=1e-4, atol=2e-5)


@settings(max_examples=10, deadline=None)
@given(samples=st.integers(514, 12_000))
def test_any_length_gives_tokens(samples: int) -> None:
    model = MN04().eval()
    with torch.no_grad():
        tokens = model(MN04LogMel(32_000)(0.1 * torch.randn(1, samples)))
    frames = 1 + (samples - 1) // 320
    assert tokens.shape == (1, -(-frames // 16), 256)
    assert tokens.isfinite().all()


@pytest.mark.parametrize("block", BLOCKS)
def test_tokens_are_the_block_in_the_order_of_time_and_frequency(block: int) -> None:
    keep, merge = MN04(MN04Config(block, "keep")).eval(), MN04(MN04Config(block, "merge")).eval()
    merge.load_state_dict(keep.state_dict())
    with torch.no_grad():
        (output,) = keep.block_outputs(features_of(2, 50), [block])
        kept, merged = keep(features_of(2, 50)), merge(features_of(2, 50))
    channels, bands, steps = output.shape[1:]
    assert kept.shape == (2, steps, channels * bands) == (2, steps, keep.token_dim)
    assert merged.shape == (2, steps * bands, channels) == (2, steps * bands, merge.token_dim)
    torch.testing.assert_close(kept.mean(1), output.mean(3).flatten(1))
    torch.testing.assert_close(merged.mean(1), output.mean((2, 3)))
    assert torch.equal(merged[:, 1 * bands + 1], output[:, :, 1, 1])
    assert torch.equal(kept[:, 1].unflatten(1, (channels, bands)), output[..., 1])


def test_blocks_beyond_the_last_one_wanted_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MN04(MN04Config(block=8)).eval()
    run: list[int] = []
    for index, block in enumerate(model.features):
        block.register_forward_hook(lambda *_, index=index: run.append(index))
    with torch.no_grad():
        model(features_of(1, 40))
        assert run == list(range(9))
        four, two = model.block_outputs(features_of(1, 40), [4, 2])
        assert (four.shape[1:3], two.shape[1:3]) == ((16, 16), (16, 32))
        assert model.block_outputs(features_of(1, 40), []) == []
    assert run[9:] == list(range(5))


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_said() -> None:
    for changes, message in (
        ({"block": 17}, "from 0 to 16, got 17"),
        ({"block": True}, "from 0 to 16, got True"),
        ({"bands": "drop"}, "keep, merge, got 'drop'"),
    ):
        with pytest.raises(ValueError, match=message):
            MN04Config(**changes)
    with pytest.raises(ValueError, match="128 mel bands, got 64"):
        MN04()(torch.zeros(1, 20, 64))
    with pytest.raises(ValueError, match="blocks 0 to 16, not 17"):
        MN04().block_outputs(features_of(1, 20), [3, 17])


def test_training_reaches_every_parameter_and_evaluation_draws_nothing() -> None:
    model = MN04().train()
    model.tags(features_of(2, 64)).logits.square().mean().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in model.parameters())
    before = torch.get_rng_state()
    model.eval().tags(MN04LogMel(32_000)(0.1 * torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))))
    assert torch.equal(torch.get_rng_state(), before)


def test_random_weights_keep_clips_apart() -> None:
    with torch.no_grad():
        tokens = MN04().eval()(features_of(4, 100)).mean(1)
    assert tokens.isfinite().all()
    assert torch.pdist(tokens).min() > 1e-3 * tokens.norm(dim=1).max()
