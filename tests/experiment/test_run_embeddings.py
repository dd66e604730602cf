"""A trained run's embeddings are found by their key, and made again by testing once they are not the run's."""

import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from asd_lightning.comparison.back_ends import OWN, Source, choose_back_ends, sweep
from asd_lightning.configuration import compose_train
from asd_lightning.errors import UserError
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.experiment.train import train
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.thresholds import GammaThreshold
from tests.experiment.runs import tiny_overrides


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    overrides = tiny_overrides(tiny_data, updates=4)
    config = compose_train(overrides, folder)
    train(config, folder)
    (folder / ".hydra").mkdir()
    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    OmegaConf.save(own, folder / ".hydra" / "config.yaml")
    OmegaConf.save(OmegaConf.create(overrides), folder / ".hydra" / "overrides.yaml")
    return folder


def test_the_embeddings_a_training_leaves_are_the_runs_and_score_as_it_did(run, monkeypatch):
    monkeypatch.setattr("asd_lightning.experiment.retest.retest", lambda *_: pytest.fail("tested again"))
    cache = embeddings_of_run(run)
    (knn,) = sweep([Source(OWN, cache)], choose_back_ends("knn"), GammaThreshold(), resamples=10)
    assert sorted(knn.scores) == sorted(read_scores(run / "results" / "scores.csv"))
    rows = [row for row, clip in enumerate(cache.reference_clips) if clip.machine == "fan"]
    is_target = np.array([cache.reference_clips[row].domain == "target" for row in rows])
    assert is_target.sum() == 4
    assert np.isfinite(KNNScorer().fit(cache.reference[rows], is_target).anomaly_score(cache.query)).all()


def test_with_other_weights_the_clips_are_embedded_again_and_only_once(run):
    before = embeddings_of_run(run)
    path = run / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    name = next(name for name in content["state_dict"] if name.endswith("projection.weight") or "linear" in name)
    content["state_dict"][name] += 0.05
    torch.save(content, path)
    after = embeddings_of_run(run)
    assert (run / "results_2" / "embeddings.npz").is_file()
    assert after.key.model != before.key.model
    assert (after.key.files, after.key.preprocessing) == (before.key.files, before.key.preprocessing)
    assert not np.allclose(after.query, before.query)
    np.testing.assert_array_equal(embeddings_of_run(run).query, after.query)
    assert not (run / "results_3").exists()


def test_a_test_on_other_machines_is_not_of_the_run(tiny_data, tmp_path, caplog):
    run, others = tmp_path / "run", tmp_path / "others"
    run.mkdir()
    train(compose_train(tiny_overrides(tiny_data, "statistics", updates=0), run), run)
    shutil.copytree(tiny_data / "fan", others / "mill")
    results = retest(run, [f"data.root={others}", "~callbacks.progress", "trainer.accelerator=cpu"])
    shutil.rmtree(run / "results")
    cache = embeddings_of_run(run)
    assert "of other normal recordings than the run was trained on" in caplog.text
    assert {clip.machine for clip in cache.query_clips} == {"bearing", "fan", "gearbox"}
    with pytest.raises(UserError, match="results_2: holds one test; give the folder of its run"):
        embeddings_of_run(results.folder)
