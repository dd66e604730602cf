"""Two microphones to one, clip by clip, from the recording to a run that is used without its data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning import load_run
from asd_lightning.data.audio import BadAudioError, DecodeOptions, decode
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.experiment.train import train
from asd_lightning.features.two_microphones import cancel_per_clip, subtract_magnitudes
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import read_scores
from tests.data.test_far_channel import RATE, record, root
from tests.experiment.runs import tiny_config

WAYS = {"reduced_per_clip": cancel_per_clip, "subtracted": subtract_magnitudes}

__all__ = ["root"]


@pytest.mark.parametrize("way", WAYS)
def test_every_clip_alone(root: Path, tmp_path: Path, way: str) -> None:
    served = ClipDataModule(root, channel=way, clip_seconds=0.5, cache_dir=tmp_path / "cache")  # type: ignore[arg-type]
    served.prepare_data()
    assert len(served.clips) == 22
    for clip_id, clip in enumerate(served.clips):
        near, far = soundfile.read(clip.path, dtype="float32")[0].T
        np.testing.assert_allclose(served.waveform(clip_id), WAYS[way](near, far), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_judged_is_named(tmp_path: Path, way: str) -> None:
    options = DecodeOptions(RATE, way)  # type: ignore[arg-type]
    path = tmp_path / "one.wav"
    record(path, 0, channels=1)
    with pytest.raises(BadAudioError, match=rf"one\.wav: has 1 channel\(s\), and data\.channel={way} needs two"):
        decode(path, options)
    record(path, 0, seconds=0.015)
    with pytest.raises(BadAudioError, match=r"one\.wav: 240 samples are too few for two microphones"):
        decode(path, options)
    noise = 0.1 * np.random.default_rng(0).normal(size=RATE).astype(np.float32)
    soundfile.write(path, np.stack([noise, noise], axis=1), RATE, subtype="FLOAT")
    if way == "reduced_per_clip":
        with pytest.raises(BadAudioError, match=r"one\.wav: both microphones hear the same, .* cannot be judged"):
            decode(path, options)
    else:
        np.testing.assert_allclose(decode(path, options), 0.1 * noise, atol=1e-6)


def test_a_run_needs_nothing_but_itself(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    changes = ["data.clip_seconds=0.5", "data.channel=reduced_per_clip"]
    train(tiny_config(run, root, "statistics", changes, updates=0), run)
    scored = {(row.machine, row.file): row.anomaly_score for row in read_scores(results_of(run).scores)}
    for machine in ("fan", "valve"):
        rows, _ = load_run(run).score(sorted((root / machine / "test").iterdir()), machine=machine)
        for row in rows:
            assert row.anomaly_score == pytest.approx(scored[machine, row.file], abs=1e-6)
