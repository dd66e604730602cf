"""mn04 trained: going on after a kill, several processes, and what a run keeps."""

import pytest
import torch

from asd_lightning import load_run
from asd_lightning.data.layout import find_clips
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import read_scores
from tests.experiment.runs import assert_identical, last_checkpoint, tiny_config, tiny_overrides
from tests.experiment.test_processes import anomaly_scores, asd
from tests.experiment.test_restart import RESTORED, train_until_killed

# Of the network's 17 blocks the first four: the sizes are fixed.
SHORT = ["encoders.mn04.config.block=3", "model/embedder/branches=[mn04]"]
CHANGES = [*SHORT, "data.machines=[fan]", "accumulate=2", "data.num_workers=0"]


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("mn04") / "run"
    output.mkdir()
    train(tiny_config(output, tiny_data, "mn04_fft", CHANGES, updates=4), output)
    return output


def test_goes_on_bit_for_bit(run, tiny_data, tmp_path, monkeypatch):
    """Batch statistics and masks at the clip's floor are in the checkpoint, or follow from the step, as well."""
    more = ["experiment=mn04_fft", *CHANGES, "test=false", "trainer.max_steps=4"]
    train_until_killed(monkeypatch, tmp_path, tiny_data, micro_step=5, more=more)
    torch.manual_seed(12345)  # what the new process' generators happen to hold
    assert last_checkpoint(tmp_path)["global_step"] == 2
    train(tiny_config(tmp_path, tiny_data, changes=[*more, "resume=true"]), tmp_path)
    for key in RESTORED:
        assert_identical(last_checkpoint(tmp_path)[key], last_checkpoint(run)[key], key)


def test_what_a_run_keeps_scores_as_it_did(run, tiny_data):
    results = results_of(run)
    clips = sorted(
        (c for c in find_clips(tiny_data) if c.split == "test" and c.machine == "fan"),
        key=lambda c: (c.machine, c.name),
    )
    rows, _ = load_run(results.folder).score_clips(clips)
    assert sorted(rows) == sorted(read_scores(results.scores))


@pytest.mark.slow
def test_two_processes(tiny_data, tmp_path):
    """They train, and score as one does."""
    overrides = [*tiny_overrides(tiny_data, "mn04_fft", updates=2), *SHORT, "data.batch_size=4", "hydra.run.dir=run"]
    asd(tmp_path, "train", *overrides, "trainer=ddp", "devices=2")
    assert last_checkpoint(tmp_path / "run")["global_step"] == 2
    asd(tmp_path, "test", "run", "-o", "alone")
    one, several = anomaly_scores(tmp_path / "alone"), anomaly_scores(tmp_path / "run/results")
    assert one.keys() == several.keys()
    assert max(abs(one[clip] - several[clip]) for clip in one) < 1e-6
