"""Other losses than the report's: going on after a kill, and a run that is read again scores as it did."""

from pathlib import Path

import numpy as np
import pytest
import torch

import asd_lightning
from asd_lightning import load_run
from asd_lightning.data.layout import find_clips
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import read_scores
from tests.experiment.runs import assert_identical, last_checkpoint, tiny_config
from tests.experiment.test_restart import RESTORED, train_until_killed

pytestmark = pytest.mark.xdist_group("recipes")

COMMON = ["accumulate=2", "data.num_workers=0", "trainer.max_steps=4"]
RECIPES = {
    # Batch statistics of the pooling, and updates of low rank.
    "lora": ["experiment=lora_2026"],
    "featex": ["experiment=featex_fft", "++model.loss.inner.scale=dynamic", "model/scheduler=cosine"],
    "adaproj": ["experiment=fft", "model/loss=adaproj", "model.mixup_per_clip=0.5", "model/scheduler=constant"],
}


@pytest.fixture(scope="module", params=RECIPES)
def run(request, tiny_data, tmp_path_factory):
    output = tmp_path_factory.mktemp(request.param) / "run"
    output.mkdir()
    changes = [*RECIPES[request.param], *COMMON]
    train(tiny_config(output, tiny_data, changes=changes), output)
    return output, changes


def test_goes_on_bit_for_bit(run, tiny_data, tmp_path, monkeypatch):
    whole, changes = run
    train_until_killed(monkeypatch, tmp_path, tiny_data, micro_step=5, more=changes)
    torch.manual_seed(12345)  # what the new process' generators happen to hold
    assert last_checkpoint(tmp_path)["global_step"] == 2
    train(tiny_config(tmp_path, tiny_data, changes=[*changes, "test=false", "resume=true"]), tmp_path)
    resumed, straight = last_checkpoint(tmp_path), last_checkpoint(whole)
    assert resumed["global_step"] == 4
    for key in set(RESTORED) & straight.keys():
        assert_identical(resumed[key], straight[key], key)


def test_what_a_run_keeps_scores_as_it_did(run, tiny_data, tmp_path):
    """Its detector too, where low-rank updates are part of the weights: there but for rounding."""
    results = results_of(run[0])
    clips = sorted((c for c in find_clips(tiny_data) if c.split == "test"), key=lambda c: (c.machine, c.name))
    rows, _ = load_run(results.folder).score_clips(clips)
    before = sorted(read_scores(results.scores))
    assert sorted(rows) == before
    asd_lightning.enrol(results.folder, tmp_path / "run.asd")
    after = asd_lightning.score(tmp_path / "run.asd", [clip.path for clip in clips])
    found = {(row.machine, Path(row.path).name): row.score for row in after}
    wanted = {(row.machine, row.file): row.anomaly_score for row in before}
    assert found.keys() == wanted.keys()
    spread = np.std([*wanted.values()])
    assert max(abs(found[clip] - wanted[clip]) for clip in found) < 1e-4 * spread


def test_a_checkpoint_of_low_rank_updates_holds_all_that_decides_a_score(run):
    """The statistics of the pooling's batch norms, which no gradient changes, as training left them."""
    weights = last_checkpoint(run[0])["state_dict"]
    norms = {name: tensor for name, tensor in weights.items() if name.endswith("running_mean")}
    assert norms
    assert all(tensor.abs().sum() > 0 for tensor in norms.values())
    updates = [tensor for name, tensor in weights.items() if name.endswith("lora_b")]
    assert bool(updates) == ("experiment=lora_2026" in run[1])
    assert all(tensor.abs().sum() > 0 for tensor in updates)
