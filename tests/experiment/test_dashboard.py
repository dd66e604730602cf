"""What a run shows: read back from an offline wandb run, from TensorBoard's event files, and from the CSV."""

import csv
import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from asd_lightning.evaluation.metrics import read_metrics
from asd_lightning.experiment import dashboard
from asd_lightning.experiment.dashboard import finishing_wandb
from asd_lightning.experiment.train import train
from asd_lightning.scoring.clip_scores import read_scores
from tests.experiment.runs import tiny_config
from tests.experiment.wandb_files import offline_runs
from tests.forked import python_of_libraries

LOGGED = (
    "train/arcface",
    "train/contrastive",
    "train/anchors_with_positive",
    "norm/fft",
    "lr-AdamW",
    "train/clips_per_second",
)
UPDATES = 3


@pytest.fixture(scope="module")
def no_account(tmp_path_factory):
    """An environment without a wandb account, whose caches are thrown away."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(home / "netrc"))
        patch.setenv("WANDB_SILENT", "true")
        for name in ("DATA", "CACHE", "CONFIG"):
            patch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
        yield patch


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory, no_account):
    """The folder of a short run with all loggers."""
    output = tmp_path_factory.mktemp("shown")
    changes = [
        "logger=[csv,wandb,tensorboard]",
        "logger.wandb.log_model=true",
        "trainer.log_every_n_steps=1",
        "accumulate=1",
    ]
    train(tiny_config(output, tiny_data, "fft", changes, updates=UPDATES), output)
    return output


@pytest.fixture(scope="module")
def offline(run):
    (only,) = offline_runs(run)
    return only


def test_a_run_that_is_still_being_written_is_read_as_far_as_it_goes(offline, run, tmp_path):
    """Cut anywhere, its whole records are read: what waits for a run's end must not fail on half a record."""
    (path,) = run.rglob("*.wandb")
    data, cut = path.read_bytes(), tmp_path / "cut.wandb"
    for end in [*range(200), *range(200, len(data), 997), *range(len(data) - 200, len(data))]:
        cut.write_bytes(data[:end])
        (seen,) = offline_runs(tmp_path, wait=0)
        assert seen.history == offline.history[: len(seen.history)], end
    assert seen.history == offline.history


def test_wandb_training(offline, run):
    """Every number of the training, the same as in the CSV."""
    with (run / "logs/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for key in LOGGED:
        values = offline.values(key)
        assert values == pytest.approx([float(row[key]) for row in rows if row[key]]), key
        # The first micro-batch has no rate yet.
        assert len(values) == UPDATES - (key == "train/clips_per_second"), key
    assert all(rate > 0 for rate in offline.values("train/clips_per_second"))


def test_wandb_describes_the_run(offline, run):
    assert offline.run.display_name == "tiny"
    assert offline.run.run_group == ""
    assert offline.run.run_id == (run / "wandb_run_id").read_text()
    assert offline.exit_code == 0
    assert offline.config["system"] == "fft"
    assert offline.config["trainer"]["max_steps"] == UPDATES
    # A value, not the interpolation it was.
    assert offline.config["data"]["seed"] == 0
    assert "hydra" not in offline.config
    assert {artifact.type for artifact in offline.artifacts} >= {"model"}


def table(offline, run, key):
    (path,) = offline.values(f"{key}/path")
    (file,) = run.glob(f"wandb/offline-run-*/files/{path}")
    content = json.loads(file.read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_wandb_test_tables(offline, run):
    metrics = read_metrics(run / "results/metrics.csv")
    shown = table(offline, run, "test/metrics")
    assert [row["machine"] for row in shown] == [row.machine for row in metrics]
    for name in ("auc_source", "auc_target", "pauc", "hmean"):
        np.testing.assert_allclose([row[name] for row in shown], [getattr(row, name) for row in metrics])
    for row in metrics[:-1]:
        assert offline.values(f"test/hmean/{row.machine}") == pytest.approx([row.hmean])
    scores = read_scores(run / "results/scores.csv")
    clips = table(offline, run, "test/scores")
    assert [clip["file"] for clip in clips] == [score.file for score in scores]
    np.testing.assert_allclose([clip["anomaly_score"] for clip in clips], [score.anomaly_score for score in scores])


def test_wandb_histograms(offline, run):
    scores = read_scores(run / "results/scores.csv")
    for machine in {score.machine for score in scores}:
        for condition in ("normal", "anomaly"):
            values = [
                score.anomaly_score for score in scores if (score.machine, score.condition) == (machine, condition)
            ]
            (counts,) = offline.values(f"test/histogram/{machine}/{condition}/values")
            (edges,) = offline.values(f"test/histogram/{machine}/{condition}/bins")
            assert counts == np.histogram(values, edges)[0].tolist()


@pytest.mark.parametrize(("kind", "condition"), [("false_alarms", "normal"), ("misses", "anomaly")])
def test_wandb_worst_clips(offline, run, tiny_data, kind, condition):
    """The clips named are of that kind, and what one hears is their recording."""
    (captions,) = offline.values(f"test/worst_{kind}/captions")
    (audio,) = offline.values(f"test/worst_{kind}/audio")
    assert 0 < len(captions) == len(audio) <= 4
    for caption, clip in zip(captions, audio, strict=True):
        machine, name = caption.split(":")[0].split(" ")
        assert f"_{condition}_" in name
        (heard,) = run.glob(f"wandb/offline-run-*/files/{clip['path']}")
        sound, rate = soundfile.read(heard)
        recording, expected_rate = soundfile.read(tiny_data / machine / "test" / name)
        assert rate == expected_rate
        np.testing.assert_allclose(sound, recording[: len(sound)], atol=1e-4)


def test_tensorboard(run, offline):
    """By TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard/version_0"))
    events.Reload()
    for key in LOGGED:
        assert [event.value for event in events.Scalars(key)] == pytest.approx(offline.values(key)), key


def test_missing_logger_is_named(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE", False)
    with pytest.raises(Exception, match=r"MLFlowLogger"):
        train(tiny_config(tmp_path, tiny_data, "statistics", ["logger=[csv,mlflow]"]), tmp_path)


def test_offline_without_an_account_only(no_account, tmp_path):
    """The user's own choice and account come first."""
    assert dashboard._mode() == {"mode": "offline", "resume": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", "0" * 40)
        assert dashboard._mode() == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        assert dashboard._mode() == {}
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NETRC", str(tmp_path / "netrc"))
        assert dashboard._mode() == {}


def test_a_failed_run_is_ended_as_failed(no_account, tmp_path):
    import wandb

    def fails():
        with finishing_wandb():
            _ = dashboard.wandb_logger(tmp_path, name="fails").experiment
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert wandb.run is None
    (only,) = offline_runs(tmp_path)
    assert only.exit_code == 1


def test_wandb_is_imported_where_chosen_alone():
    code = "import sys, asd_lightning.experiment.train; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([python_of_libraries(), "-c", code], check=False).returncode == 0


def test_what_is_logged_of_a_step_is_not_sent_to_the_gpu(unchecked):
    """Lightning would wait for it."""
    logged = []
    module = SimpleNamespace(device=torch.device("cpu"), log=lambda name, value: logged.append((name, value)))
    throughput = dashboard.Throughput()
    for _ in range(2):
        throughput.on_train_batch_end(
            SimpleNamespace(world_size=1), module, None, SimpleNamespace(label=torch.zeros(8)), 0
        )
    ((name, value),) = logged
    assert (name, value.device.type, value.shape) == ("train/clips_per_second", "cpu", ())
