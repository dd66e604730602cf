"""What a CUDA device computes is what the processor computes; for machines that have one (``make test-gpu``)."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from asd_lightning.encoders.beats import BEATs, BEATsConfig
from asd_lightning.encoders.eat import EAT
from asd_lightning.encoders.gated_attention import gated_attention
from asd_lightning.errors import UserError
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train
from asd_lightning.features.fbank import beats_fbank, eat_fbank
from asd_lightning.low_precision import lowered
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_embeddings import embed_windows
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.embedding_cache import read_embeddings
from asd_lightning.training.compilation import compiled
from tests.experiment.runs import last_checkpoint, tiny_config
from tests.experiment.test_restart import CHANGES, train_until_killed
from tests.golden import compare, golden_case, golden_layout, golden_state
from tests.test_low_precision import sound, system, watched
from tests.training.test_compilation import embedder_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SYSTEMS = ("system1", "system2", "system3", "system4")
GPU = ["trainer.accelerator=gpu", "trainer.devices=1"]
# Several times the deviation of float32 on a processor (3e-6): sums run in another order.
FLOAT32 = 2e-5


def relative_error(got: Tensor, want: Tensor) -> float:
    got, want = (tensor.detach().double().cpu() for tensor in (got, want))
    return float((got - want).norm() / want.norm())


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_gated_attention_and_its_gradients(padded: bool) -> None:
    torch.manual_seed(0)
    shapes = [(2, 12, 248, 64)] * 3 + [(2, 12, 248), (12, 248, 248)]
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    mask = torch.arange(248) >= torch.tensor([[248], [200]]) if padded else None
    results = []
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        tensors = [tensor.to(device, dtype).requires_grad_() for tensor in inputs]
        out = gated_attention(*tensors, padded=None if mask is None else mask.to(device))
        direction = torch.linspace(-1, 1, 64, device=device, dtype=dtype)
        results.append([out, *torch.autograd.grad((out * direction).sum(), tensors)])
    for want, got in zip(*results, strict=True):
        assert relative_error(got, want) < FLOAT32


@pytest.mark.parametrize("name", ["beats_6s", "eat_6s_t608"])
def test_encoders_against_the_official_code(name: str) -> None:
    case = golden_case(name)
    waveform = torch.from_numpy(case.waves).float().cuda()
    if name.startswith("beats"):
        layout = "beats_iter3_plus_as2m"
        model: torch.nn.Module = BEATs(BEATsConfig.from_checkpoint(golden_layout(layout)["cfg"]))
        model.load_state_dict(golden_state(layout))
        front_end = beats_fbank()
    else:
        model = EAT()
        model.load_state_dict({key.removeprefix("model."): value for key, value in golden_state("eat_base_hf").items()})
        front_end = eat_fbank(case.target_length)
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        tokens = model.cuda().eval()(front_end(waveform)).cpu()
    mean = tokens[:, 1:].mean(1) if name.startswith("eat") else tokens.mean(1)
    rows = {row[0]: row[1] for row in compare.compare(case, {"features": tokens, "mean": mean})}
    assert len(rows) == 2
    assert max(rows.values()) < FLOAT32


def decisions_and_scores(results: Path) -> tuple[list[tuple[str, str, str]], np.ndarray]:
    rows = sorted(read_scores(results / "scores.csv"))
    return [(row.machine, row.file, str(row.decision)) for row in rows], np.array([row.anomaly_score for row in rows])


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_trained_on_the_gpu_is_tested_on_the_processor(system: str, tiny_data: Path, tmp_path: Path) -> None:
    train(tiny_config(tmp_path, tiny_data, system, GPU), tmp_path)
    on_gpu = results_of(tmp_path).folder
    on_processor = retest(tmp_path, ["trainer.accelerator=cpu", "~callbacks.progress"]).folder
    (clips, scores), (others, again) = decisions_and_scores(on_gpu), decisions_and_scores(on_processor)
    assert [clip[:2] for clip in clips] == [clip[:2] for clip in others]
    spread = scores.max() - scores.min()
    assert np.abs(scores - again).max() < 1e-3 * spread + 1e-6


@pytest.mark.parametrize("system", ["system1", "system4"])
def test_training_in_bfloat16_learns_and_is_tested(system: str, tiny_data: Path, tmp_path: Path) -> None:
    train(tiny_config(tmp_path, tiny_data, system, [*GPU, "trainer.precision=bf16-mixed"]), tmp_path)
    with (results_of(tmp_path).folder / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert rows
    assert all(torch.isfinite(value).all() for value in last_checkpoint(tmp_path)["state_dict"].values())


def test_a_run_killed_on_the_gpu_goes_on_to_the_same_weights(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    train(tiny_config(whole, tiny_data, changes=[*CHANGES, *GPU]), whole)
    train_until_killed(monkeypatch, killed, tiny_data, micro_step=5, more=GPU)
    train(tiny_config(killed, tiny_data, changes=[*CHANGES, *GPU, "resume=true"]), killed)
    want, got = last_checkpoint(whole)["state_dict"], last_checkpoint(killed)["state_dict"]
    assert want.keys() == got.keys()
    for name in want:
        # Sums of gradients on a GPU have no fixed order.
        torch.testing.assert_close(got[name], want[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_blocks_compute_the_same(precision: str) -> None:
    """Draws of dropout apart, which a compiled block makes otherwise."""
    embedder = embedder_of("beats", "eat").cuda()
    clips = sound(4).cuda()

    def gradients() -> dict[str, Tensor]:
        embedder.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False):
            embedding = embedder(clips)
        (embedding * torch.linspace(-1, 1, embedding.shape[1], device="cuda")).sum().backward()
        return {name: p.grad.clone() for name, p in embedder.named_parameters() if p.grad is not None}

    want = gradients()
    with compiled(embedder, torch.device("cuda")):
        got = gradients()
    # A bias of the keys moves all scores of a query alike: its gradient is rounding alone.
    names = [name for name in want if not name.endswith("k_proj.bias")]
    together = [torch.cat([of[name].flatten() for name in names]) for of in (got, want)]
    assert got.keys() == want.keys()
    assert relative_error(*together) < (1e-4 if precision == "float32" else 3e-2)


@pytest.mark.usefixtures("unchecked")
def test_a_compiled_run_is_averaged_on_the_gpu_and_goes_on(tiny_data: Path, tmp_path: Path) -> None:
    changes = [*GPU, "compile=true", "trainer.precision=bf16-mixed", "data.num_workers=0"]
    train(tiny_config(tmp_path, tiny_data, "system4", [*changes, "test=false"], updates=4), tmp_path)
    checkpoint = last_checkpoint(tmp_path)
    assert {value.device.type for value in checkpoint["state_dict"].values()} == {"cuda"}
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["fused"] is True
    assert not [name for name in checkpoint["state_dict"] if "_orig_mod" in name]
    train(tiny_config(tmp_path, tiny_data, "system4", [*changes, "resume=true"], updates=4), tmp_path)
    assert results_of(tmp_path).finished


def test_a_fused_optimizer_makes_the_same_updates() -> None:
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 1000, device="cuda")) for _ in range(2)]
    optimizers = [
        torch.optim.AdamW([one], lr=1e-2, fused=fused) for one, fused in zip(weights, (True, None), strict=True)
    ]
    for step in range(20):
        for one, optimizer in zip(weights, optimizers, strict=True):
            one.grad = torch.sin(one.detach() * (step + 1))
            optimizer.step()
    assert relative_error(*weights) < FLOAT32


def test_the_gpu_memory_is_logged(tiny_data: Path, tmp_path: Path) -> None:
    train(tiny_config(tmp_path, tiny_data, "fft", [*GPU, "logger=csv", "trainer.log_every_n_steps=1"]), tmp_path)
    with next(tmp_path.rglob("version_0/metrics.csv")).open() as lines:
        logged = [row.get("train/gpu_memory_gib") for row in csv.DictReader(lines)]
    assert any(value and math.isfinite(float(value)) and float(value) > 0 for value in logged)


@pytest.mark.parametrize("kind", ["beats", "eat", "mn04"])
def test_scoring_in_bfloat16(kind: str) -> None:
    """Near float32 on the same device; layer norms, poolings and what is scored are float32."""
    model, clips = system(kind, embed_dim=None).cuda(), sound(4).cuda()
    low = lowered(model, "bf16")
    norms, poolings = watched(low, torch.nn.LayerNorm), watched(low, type(low.embedder.branches[kind].pooling))
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        got, wanted = low(clips), model(clips)
    assert got.dtype == torch.float32
    assert {made for _, made in norms} <= {torch.float32}
    assert (torch.float32, torch.float32) in poolings
    # A number of bfloat16 has 8 bits.
    assert FLOAT32 < relative_error(got, wanted) < 2e-2


def test_eight_bit_integers_are_for_processors() -> None:
    with pytest.raises(UserError, match="int8: is for processors, and the encoder is on cuda; choose bf16 or float32"):
        lowered(system("beats").cuda(), "int8")


def test_a_run_is_tested_in_bfloat16(tiny_data: Path, tmp_path: Path) -> None:
    changes = ["data.machines=[fan]", *GPU]
    for precision in ("float32", "bf16"):
        folder = tmp_path / precision
        folder.mkdir()
        own = [*changes, f"model.scoring_precision={precision}"]
        train(tiny_config(folder, tiny_data, "beats_frozen", own, updates=0), folder)
    exact, low = (read_embeddings(results_of(tmp_path / name).embeddings) for name in ("float32", "bf16"))
    summary = results_of(tmp_path / "bf16").read_summary()
    assert (summary["scoring_precision"], summary["device"]) == ("bf16", "cuda:0")
    assert 0.9 < summary["agreement"]["fan"] <= 1
    assert low.key.precision == "bf16"
    assert 0 < relative_error(torch.from_numpy(low.query), torch.from_numpy(exact.query)) < 2e-2


def test_windows_are_embedded_where_the_weights_are() -> None:
    torch.manual_seed(0)
    embedder = torch.nn.Linear(1000, 64)
    windows = np.random.default_rng(0).standard_normal((5, 1, 1000)).astype(np.float32)
    want = embed_windows(embedder, windows, 2)
    got = embed_windows(embedder.cuda(), windows, 2)
    assert relative_error(torch.from_numpy(got), torch.from_numpy(want)) < FLOAT32
