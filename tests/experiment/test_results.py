"""What a test leaves in the run's folder."""

import csv
import errno
import json
import os
import re
import shutil
from pathlib import Path

import matplotlib.image
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from asd_lightning import cli
from asd_lightning.data.layout import find_clips
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import read_metrics
from asd_lightning.experiment import provenance, result_files
from asd_lightning.experiment import results as written
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train, users_mistake
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.embedding_cache import read_embeddings, recordings_state
from tests.experiment.runs import tiny_config, tiny_overrides


@pytest.mark.usefixtures("painted")
def test_every_promised_file(tiny_data, tmp_path):
    train(tiny_config(tmp_path, tiny_data, "statistics", updates=0), tmp_path)
    results = tmp_path / "results"
    scores = read_scores(results / "scores.csv")
    assert len(scores) == 72
    assert all(score.decision == (score.anomaly_score > score.threshold) for score in scores)
    for machine in ("bearing", "fan", "gearbox"):
        own = sorted((s.file, s.anomaly_score, s.decision) for s in scores if s.machine == machine)
        for kind, column, as_number in (("anomaly_score", 1, float), ("decision_result", 2, int)):
            with (results / f"challenge/{kind}_{machine}_section_00_test.csv").open() as file:
                rows = [(name, as_number(value)) for name, value in csv.reader(file)]
            assert rows == [(clip[0], clip[column]) for clip in own]
    rows = read_metrics(results / "metrics.csv")
    assert [row.machine for row in rows] == ["bearing", "fan", "gearbox", "all"]
    summary = json.loads((results / "summary.json").read_text())
    assert summary["official_score"] == rows[-1].hmean
    assert summary["experiment"] == "statistics"
    assert summary["commit"] == provenance.commit()
    assert (results / "packages.txt").read_text() == provenance.packages()
    for name in ("scores.png", "roc.png"):
        picture = matplotlib.image.imread(results / name)
        assert picture[..., :3].std() > 0.05
    assert "Official score" in (results / "metrics.md").read_text()


def test_without_a_logger(tiny_data, tmp_path):
    train(tiny_config(tmp_path, tiny_data, "fft", ["logger=[]"], updates=2), tmp_path)
    assert (tmp_path / "results/scores.csv").is_file()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 7.3 GiB"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 7.3 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=repr,
)
def test_too_little_memory_is_one_line(error):
    told = users_mistake(error)
    assert isinstance(told, UserError)
    assert re.fullmatch(r"not enough memory \(.+\); lower data\.batch_size, .*data\.num_workers", str(told))


@pytest.mark.parametrize("target", ["os.system", "builtins.exec", "subprocess.run"])
def test_what_hydra_refuses_to_call_is_one_line(target):
    with pytest.raises(InstantiationException) as caught:
        instantiate({"results": {"_target_": target}})
    told = users_mistake(caught.value)
    assert isinstance(told, UserError)
    assert str(told).startswith(f"results: Target '{target}' ")
    assert "\n" not in str(told)


@pytest.mark.parametrize("full", ["write_scores", "write_embeddings", "write_fitted", "write_metrics", "plot_scores"])
def test_a_full_disk(tiny_data, tmp_path, monkeypatch, capsys, full):
    """Told in one line; the same command writes what is missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    more = ["data.machines=[fan]", "hydra.run.dir=run", "resume=true"]
    command = ["train", *tiny_overrides(tiny_data, "statistics", updates=0), *more]
    with monkeypatch.context() as patch:
        patch.setattr(written if hasattr(written, full) else result_files, full, no_space)
        with pytest.raises(SystemExit, match="2"):
            cli.main(command)
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "x.csv: cannot be written (No space left on device); free space" in told
    assert not list(Path("run").rglob("*.tmp"))
    assert cli.main(command) == 0
    assert len(read_scores(Path("run/results/scores.csv"))) == 24
    assert Path("run/results/scores.png").is_file() or full == "plot_scores"


@pytest.mark.parametrize("what", ["gone", "replaced"])
def test_recordings_that_go_or_change_amid_a_run(tiny_data, tmp_path, monkeypatch, what):
    """The run ends with its results, and its embeddings are known as those of what was decoded."""
    data = tmp_path / "machines"
    shutil.copytree(tiny_data, data)
    before = [clip.path.read_bytes() for clip in find_clips(data)]

    def meddle(self, *_):
        for path, content in zip((clip.path for clip in find_clips(data)), before, strict=True):
            path.write_bytes(content[:-2] + b"\1\1")
        if what == "gone":
            shutil.rmtree(data)

    monkeypatch.setattr("asd_lightning.training.module.AnomalousSoundModule.on_test_start", meddle, raising=False)
    run = tmp_path / "run"
    run.mkdir()
    train(tiny_config(run, data, "statistics", updates=0), run)
    cache = read_embeddings(run / "results/embeddings.npz")
    assert len(read_scores(run / "results/scores.csv")) == 72
    assert recordings_state(cache) == {"gone": "absent", "replaced": "changed"}[what]
    for clip, content in zip(find_clips(tiny_data), before, strict=True):
        path = data / clip.path.relative_to(tiny_data)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert recordings_state(cache) == "unchanged"


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.csv")


def test_a_plot_that_fails_loses_no_number(tiny_data, tmp_path, monkeypatch):
    def failing(*_):
        raise RuntimeError("no picture")

    monkeypatch.setattr(result_files, "plot_scores", failing)
    with pytest.raises(RuntimeError, match="no picture"):
        train(tiny_config(tmp_path, tiny_data, "statistics", updates=0), tmp_path)
    results = tmp_path / "results"
    assert read_metrics(results / "metrics.csv")[-1].machine == "all"
    assert len(read_scores(results / "scores.csv")) == 72
    assert "official_score" in json.loads((results / "summary.json").read_text())


def test_too_few_recordings_are_told_of_before_the_work(tiny_data, tmp_path, monkeypatch, caplog):
    """A conformal threshold that cannot be promised: said before anything is decoded; scores come, decisions do not."""
    changes = ["model/threshold=conformal", "model.threshold.false_alarm_rate=0.001"]
    with monkeypatch.context() as patch:
        patch.setattr("asd_lightning.data.datamodule.ClipStore", lambda *_: pytest.fail("decoded"))
        with pytest.raises(pytest.fail.Exception, match="decoded"):
            train(tiny_config(tmp_path, tiny_data, "statistics", changes, updates=0), tmp_path)
    assert "fan: 20 source-domain training recordings, and this threshold needs 999" in caplog.text
    caplog.clear()
    train(tiny_config(tmp_path, tiny_data, "statistics", changes, updates=0), tmp_path)
    scores = read_scores(tmp_path / "results/scores.csv")
    assert len(scores) == 72
    assert {score.decision for score in scores} == {None}
    retest(tmp_path, ["model.threshold.false_alarm_rate=0.05", "~callbacks.progress"])
    assert {score.decision for score in read_scores(tmp_path / "results_2/scores.csv")} == {0, 1}
