"""What a run keeps scores as the run did, without a training recording."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from asd_lightning import load_run
from asd_lightning.data.layout import find_clips
from asd_lightning.errors import UserError
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import read_scores
from tests.experiment.runs import tiny_config

BACK_ENDS = ("knn", "knn_standardized", "knn_pooled", "ldn", "varmin", "kmeans", "mahalanobis", "gmm", "gmm_per_domain")
QUIET = ["~callbacks.progress", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def bare(tiny_data, tmp_path_factory):
    """The machines with their test recordings alone."""
    root = tmp_path_factory.mktemp("bare") / "machines"
    shutil.copytree(tiny_data, root)
    for folder in root.glob("*/train"):
        shutil.rmtree(folder)
    return root


@pytest.fixture(scope="module")
def statistics(tiny_data, tmp_path_factory):
    run = tmp_path_factory.mktemp("statistics") / "run"
    run.mkdir()
    train(tiny_config(run, tiny_data, "statistics", updates=0), run)
    return run


def assert_scores_as_it_did(place, results, bare):
    """In the batches of the test to the last bit; one by one within 1e-5 of the training scores' spread."""
    kept = load_run(place)
    before = sorted(read_scores(results.scores))
    clips = sorted((c for c in find_clips(bare) if c.split == "test"), key=lambda c: (c.machine, c.split, c.name))
    together, _ = kept.score_clips(clips)
    assert sorted(together) == before
    alone, _ = kept.score_clips(clips, batch_size=1)
    for one, other in zip(sorted(alone), before, strict=True):
        spread = np.std(kept.machines[one.machine, one.section].training_scores)
        # After two updates all embeddings are nearly alike, and float32 rounds what little tells them apart.
        rounding = 1e-6 * np.sqrt(abs(other.anomaly_score))
        assert abs(one.anomaly_score - other.anomaly_score) <= max(1e-5 * spread, rounding)
        assert one.decision == other.decision


@pytest.mark.parametrize("system", ["system1", "system2", "system3", "system4"])
def test_systems(tiny_data, bare, tmp_path, system):
    train(tiny_config(tmp_path, tiny_data, system, updates=2), tmp_path)
    assert_scores_as_it_did(tmp_path, results_of(tmp_path), bare)


@pytest.mark.parametrize("scorer", BACK_ENDS)
def test_back_ends(statistics, bare, scorer):
    results = retest(statistics, [f"model/scorer={scorer}", *QUIET])
    assert_scores_as_it_did(results.folder, results, bare)


def test_another_process_needs_the_run_and_the_recording_alone(statistics, bare, tmp_path):
    shutil.copytree(statistics, tmp_path / "passed_on")
    path = next((bare / "fan" / "test").iterdir())
    program = (
        "import sys; from pathlib import Path; from asd_lightning import load_run; "
        "scores, _ = load_run(sys.argv[1]).score([Path(sys.argv[2])], 'fan'); print(scores[0].file)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "passed_on"), str(path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout.strip() == path.name


def test_what_does_not_belong_together_is_refused(statistics, tiny_data, bare, tmp_path):
    with pytest.raises(UserError, match="machine pump: the run knows bearing, fan, gearbox"):
        load_run(statistics).score([], "pump")
    shutil.copytree(results_of(statistics).folder, tmp_path / "today")
    with pytest.raises(UserError, match="today: lies outside of a run"):
        load_run(tmp_path / "today")
    other = tmp_path / "other"
    other.mkdir()
    train(tiny_config(other, tiny_data, "fft", updates=1), other)
    shutil.copy(results_of(statistics).fitted, results_of(other).fitted)
    with pytest.raises(UserError, match="fitted with other weights"):
        load_run(other)
