"""Two microphones embedded each for itself, and the difference scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asd_lightning import load_run
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.errors import UserError
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import CHECKPOINT, results_of
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.embedding_cache import read_embeddings
from asd_lightning.scoring.feature_store import read_features
from asd_lightning.training.build import load_module
from tests.data.test_far_channel import record, root
from tests.experiment.runs import tiny_config

__all__ = ["root"]

RESIDUAL = ["data.clip_seconds=0.5", "data.channel=residual"]


def test_the_far_embedding_is_subtracted_and_a_run_does_it_again(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    pooling = "model/embedder/pooling@model.embedder.branches.mn04.pooling=tokens"
    changes = [*RESIDUAL, "data.residual=0.3", "data.test_windows=2", "store_features=[mean]", pooling]
    train(tiny_config(run, root, "mn04", changes, updates=0), run)
    cache = read_embeddings(results_of(run).embeddings)
    assert cache.key.preprocessing.residual == 0.3
    embedder = load_module(run / CHECKPOINT).scored_embedder()
    for clip, found in zip(cache.query_clips[:4], cache.query, strict=False):
        channels = soundfile.read(clip.path, dtype="float32")[0].T
        with torch.inference_mode():
            # Two crops of half a second of a clip of 0.6.
            crops = [np.stack([one[:8000], one[-8000:]]) for one in channels]
            near, far = (embedder(torch.from_numpy(crop)).mean(0).numpy() for crop in crops)
        np.testing.assert_allclose(found, near - 0.3 * far, rtol=0, atol=2e-5 * np.abs(near).max())
        assert np.abs(found - near).max() > 0.01 * np.abs(near).max()
    mean = read_features(results_of(run).features("mean")).query.astype(np.float64)
    own = cache.query.reshape(len(mean), -1, 8).swapaxes(1, 2)
    np.testing.assert_allclose(mean, own, rtol=0, atol=1e-3 * np.abs(own).max())
    scored = {(row.machine, row.file): row.anomaly_score for row in read_scores(results_of(run).scores)}
    again, _ = load_run(run).score_clips(cache.query_clips, batch_size=32)
    assert [row.anomaly_score for row in again] == pytest.approx([scored[row.machine, row.file] for row in again])


def test_nothing_of_it_is_the_near_microphone(root: Path, tmp_path: Path) -> None:
    found = []
    for name, changes in (("near", ["data.channel=0"]), ("none", ["data.channel=residual", "data.residual=0.0"])):
        (tmp_path / name).mkdir()
        config = tiny_config(tmp_path / name, root, "statistics", ["data.clip_seconds=0.5", *changes], updates=0)
        train(config, tmp_path / name)
        found.append(read_embeddings(results_of(tmp_path / name).embeddings).query)
    np.testing.assert_array_equal(*found)


def test_what_has_no_far_microphone_is_left_out_and_named(root: Path, tmp_path: Path, caplog) -> None:
    place = next((root / "fan" / "test").iterdir())
    record(place, 3, channels=1)
    served = ClipDataModule(root, channel="residual", clip_seconds=0.5, cache_dir=tmp_path / "cache")
    served.prepare_data()
    assert place not in {clip.path for clip in served.clips}
    assert f"skipped: {place}" in caplog.text
    (loader, _) = served.test_dataloader()
    batch = next(iter(loader))
    for clip_id, near, far in zip(batch.clip_id, batch.waveform, batch.far, strict=True):
        both = soundfile.read(served.clips[clip_id].path, dtype="float32")[0].T
        start = served.preprocessing.start_of_crop(both.shape[1], 0.5)
        np.testing.assert_allclose(np.stack([near, far]), both[:, start : start + 8000], atol=1e-6)


def test_training_and_odd_shares_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.channel=residual: the difference of two embeddings is for encoders"):
        train(tiny_config(tmp_path, root, "fft", RESIDUAL, updates=2), tmp_path)
    for share in (-0.1, 1.5):
        with pytest.raises(UserError, match=r"data\.residual=.*: a share of the far embedding from 0 to 1 is needed"):
            ClipDataModule(root, residual=share)
