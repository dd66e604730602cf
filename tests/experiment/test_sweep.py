"""Many runs from one command, in this process, on the tiny machines."""

import csv
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig

from asd_lightning.errors import UserError
from asd_lightning.experiment import multirun as sweep
from asd_lightning.experiment import train as training
from asd_lightning.experiment.retest import retest
from tests.experiment.runs import tiny_overrides
from tests.experiment.wandb_files import offline_runs
from tests.forked import COMMAND, Done, run_forked

WAY_OUT = r"a sweep of runs of 2 processes each would run whole in every process; sweep with devices=1"


@pytest.fixture
def asd_train(tmp_path, monkeypatch):
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["asd"])
    for variable in ("WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(variable, raising=False)
    before = HydraConfig.instance().cfg
    yield lambda *overrides: training.main(overrides)
    HydraConfig.instance().cfg = before


def overrides_of(data: Path, *more: str) -> list[str]:
    changed = [text for text in tiny_overrides(data, updates=2) if not text.startswith(("experiment=", "data.root="))]
    return ["-m", *changed, "name=swept", *more]


def official_scores(folder: Path, system: str) -> list[float]:
    summaries = [json.loads(path.read_text()) for path in folder.glob("*/results/summary.json")]
    return [summary["official_score"] for summary in summaries if summary["experiment"] == system]


def comparison(folder: Path) -> list[dict[str, str]]:
    with (folder / "comparison.csv").open() as file:
        return list(csv.DictReader(file))


def test_ends_with_one_table(tiny_data, asd_train, capsys, monkeypatch):
    """Two systems, two seeds: means and standard deviations as the standard library computes them."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DATA", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(Path.cwd() / name.lower()))
    monkeypatch.setenv("NETRC", "no netrc")
    monkeypatch.setenv("WANDB_SILENT", "true")
    more = [f"data.root={tiny_data}", "experiment=statistics,fft", "seed=0,1", "logger=[csv,wandb]"]
    assert asd_train(*overrides_of(tiny_data, *more)) == 0
    folder = Path("runs/swept")
    jobs = ["0_statistics_seed0", "1_statistics_seed1", "2_fft_seed0", "3_fft_seed1"]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == jobs
    rows = comparison(folder)
    assert {row["system"] for row in rows if row["source"] == "runs"} == {"statistics", "fft"}
    for system in ("statistics", "fft"):
        scores = official_scores(folder, system)
        (row,) = (row for row in rows if (row["system"], row["machine"], row["metric"]) == (system, "all", "hmean"))
        assert row["seeds"] == "2"
        assert float(row["mean"]) == pytest.approx(statistics.mean(scores))
        assert float(row["standard_deviation"]) == pytest.approx(statistics.stdev(scores))
    assert all(row["source"] == "runs" for row in rows)  # the machines are synthetic, whatever their names
    assert {"comparison.md", "comparison.png"} <= {path.name for path in folder.iterdir()}
    assert "mean ± standard deviation over seeds" in capsys.readouterr().out
    # One run each on wandb, not one for all, in one group.
    shown = offline_runs(folder)
    assert [run.run.display_name for run in shown] == jobs
    assert {run.run.run_group for run in shown} == {"swept"}
    assert len({run.run.run_id for run in shown}) == 4


@pytest.mark.parametrize("twice", ["experiment=fft,fft", "seed=0,1,0", "model.scorer.k=choice(1,1)"])
def test_a_value_given_twice_is_refused(twice, asd_train, tiny_data):
    value = re.search(r"=\D*?(fft|\d)", twice)[1]
    with pytest.raises(UserError, match=f"^{re.escape(twice)}: {value} is given twice; give each value once$"):
        asd_train(*overrides_of(tiny_data, f"data.root={tiny_data}", "experiment=statistics", twice))
    assert not Path("runs").exists()


def test_a_failed_job_is_named_and_loses_no_other(tiny_data, asd_train, capsys, tmp_path):
    more = [f"data.root={tmp_path}/missing,{tiny_data}", "experiment=statistics"]
    assert asd_train(*overrides_of(tiny_data, *more)) == 1
    folder = Path("runs/swept")
    reason = f"{tmp_path}/missing: no such folder; give the folder that holds the machines' recordings"
    assert (folder / "0_statistics_seed0/failure.txt").read_text() == reason
    assert not (folder / "1_statistics_seed0/failure.txt").exists()
    rows = comparison(folder)
    (failed,) = (row for row in rows if row["source"] == "failed")
    assert failed["seeds"].endswith("runs/swept/0_statistics_seed0")
    assert any(row["source"] == "runs" and row["system"] == f"statistics root={tiny_data}" for row in rows)
    assert reason in (folder / "comparison.md").read_text()
    printed = "".join(capsys.readouterr())
    assert "Traceback" not in printed
    assert reason in printed


def test_an_unexpected_error_is_kept_whole(tiny_data, asd_train, monkeypatch):
    """The job after it runs, and the folder of the failed one holds the traceback."""

    def broken(config, *_):
        if config.seed == 0:
            raise ZeroDivisionError("of all things")
        return 0.5

    monkeypatch.setattr(training, "_train_and_test", broken)
    more = [f"data.root={tiny_data}", "experiment=statistics", "seed=0,1"]
    assert asd_train(*overrides_of(tiny_data, *more)) == 1
    text = Path("runs/swept/0_statistics_seed0/failure.txt").read_text()
    assert text.splitlines()[0] == "ZeroDivisionError: of all things"
    assert "Traceback" in text
    assert "in broken" in text
    assert not Path("runs/swept/1_statistics_seed1/failure.txt").exists()


def test_one_process_of_several_ends_when_its_job_fails(tiny_data, asd_train, monkeypatch):
    """Going on would leave the others of the job waiting for ever."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(training, "_train_and_test", lambda *_: 1 / 0)
    started = []
    monkeypatch.setattr(sweep.SweepStart, "on_multirun_start", lambda *_, **__: None)
    monkeypatch.setattr(sweep, "record_failure", lambda folder, _: started.append(folder.name))
    more = [f"data.root={tiny_data}", "experiment=statistics", "seed=0,1"]
    with pytest.raises(SystemExit) as stop:
        asd_train(*overrides_of(tiny_data, *more))
    assert stop.value.code == 1
    assert started == ["0_statistics_seed0"]


def test_several_processes_are_refused(tiny_data, asd_train, caplog, capsys):
    more = [f"data.root={tiny_data}", "experiment=statistics,fft", "trainer=ddp", "devices=2"]
    with pytest.raises(SystemExit) as stop:
        asd_train(*overrides_of(tiny_data, *more))
    assert stop.value.code == 2
    # Hydra takes the log over once it has run in this process.
    assert re.search(WAY_OUT, "".join([caplog.text, *capsys.readouterr()]))
    assert not Path("runs").exists()


def test_several_processes_started_by_lightning_alone(monkeypatch):
    """torchrun starts the processes itself: then nothing is started again."""
    many = {"accelerator": "cpu", "devices": 2, "strategy": "ddp", "logger": False}
    with pytest.raises(UserError, match=WAY_OUT):
        sweep.refuse_starting_again(pl.Trainer(**many))
    sweep.refuse_starting_again(pl.Trainer(accelerator="cpu", devices=1, logger=False))
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "2")
    sweep.refuse_starting_again(pl.Trainer(**many))


def test_processes_must_share_the_folder(tiny_data, asd_train, monkeypatch):
    """Each would take its own time for the name of a dated folder."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    overrides = [text for text in overrides_of(tiny_data, f"data.root={tiny_data}") if not text.startswith("name=")]
    with pytest.raises(SystemExit) as stop:
        asd_train(*overrides)
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("overrides", "added"),
    [
        (["experiment=fft", "seed=0"], []),
        (["-m", "experiment=system1,system2", "seed=0,1"], []),
        (["-m", "name=mine", "seed=0,1"], ["hydra.sweep.dir='runs/mine'"]),
        (["-m", "name=mine", "hydra.sweep.dir=elsewhere"], []),
        (
            ["--multirun", "model.scorer.k=1,2", "model/threshold=gamma,quantile", "accumulate=8"],
            [
                "system='${hydra:runtime.choices.experiment} k=${model.scorer.k} "
                'threshold=${hydra:"runtime.choices[model/threshold]"}\''
            ],
        ),
        (["-m", "model.scorer.k=1,2", "system=mine"], []),
    ],
)
def test_values_swept_are_part_of_the_name(overrides, added):
    assert sweep.sweep_overrides(overrides) == added


def test_what_is_resolved_in_the_job_is_not_said_before(tiny_data, asd_train, monkeypatch, capfd):
    monkeypatch.setattr(training, "_train_and_test", lambda *_: 0.5)
    asd_train(*overrides_of(tiny_data, f"data.root={tiny_data}", "experiment=statistics", "accumulate=2,4"))
    told = capfd.readouterr()
    said = [line for line in (told.out + told.err).splitlines() if "#0 : " in line or "#1 : " in line]
    assert len(said) == 2
    assert all("accumulate=" in line and "${" not in line for line in said)


@pytest.mark.parametrize(
    ("overrides", "unresolved"),
    [
        (["seed=0,1", "system='fft k=${model.scorer.k}'"], ["system='fft k=${model.scorer.k}'"]),
        (['system="it\'s ${seed}"'], ['system="it\'s ${seed}"']),
        (["system='a ${seed}',b"], ["system='a ${seed}'"]),
        (["system=mine", "data.root=${oc.env:HOME}"], []),
        (["system=a,b", "~name", "+x=1"], []),
    ],
)
def test_the_name_that_is_resolved_in_the_job_is_hydras_own_word(overrides, unresolved):
    assert sweep._unresolved_names(overrides) == unresolved


def test_names_of_systems(tiny_data, asd_train, monkeypatch):
    """As the jobs see them, with a group and a value swept."""
    seen = []
    monkeypatch.setattr(training, "_train_and_test", lambda config, *_: seen.append(config.system) or 0.5)
    more = ["experiment=statistics", "model/threshold=gamma,quantile", "accumulate=2,4"]
    asd_train(*overrides_of(tiny_data, f"data.root={tiny_data}", *more))
    assert seen == [f"statistics threshold={t} accumulate={a}" for t in ("gamma", "quantile") for a in (2, 4)]
    seen.clear()
    pooling = "model/embedder/pooling@model.embedder.branches.mn04.pooling=mean,rdp"
    asd_train(*overrides_of(tiny_data, f"data.root={tiny_data}", "name=poolings", "experiment=mn04", pooling))
    assert seen == ["mn04 pooling=mean", "mn04 pooling=rdp"]


def test_a_job_of_a_sweep_is_tested_again(tiny_data, asd_train):
    more = [f"data.root={tiny_data}", "experiment=statistics", "model/threshold=gamma,quantile"]
    assert asd_train(*overrides_of(tiny_data, *more)) == 0
    retest(Path("runs/swept/0_statistics_seed0"), ["model/threshold=conformal"], Path("again"))
    assert json.loads(Path("again/summary.json").read_text())["name"] == "statistics threshold=conformal"


def two_jobs(tmp_path: Path, data: Path, launcher: str) -> list[str]:
    """The command of two jobs, one of them broken, by a launcher that starts processes of its own."""
    return ["train", *overrides_of(data, f"data.root={data},{tmp_path}/missing", "experiment=statistics", launcher)]


def assert_one_is_told_as_failed(process: Done | subprocess.CompletedProcess[str], tmp_path: Path) -> None:
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stdout + process.stderr
    folder = tmp_path / "runs/swept"
    assert "/missing: no such folder" in (folder / "1_statistics_seed0/failure.txt").read_text()
    rows = comparison(folder)
    assert any(row["source"] == "runs" and row["machine"] == "all" for row in rows)
    assert [row["source"] for row in rows].count("failed") == 1


def test_joblib(tmp_path, tiny_data):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = [*two_jobs(tmp_path, tiny_data, "hydra/launcher=joblib"), "hydra.launcher.n_jobs=2"]
    assert_one_is_told_as_failed(run_forked(words, tmp_path), tmp_path)


@pytest.mark.slow
def test_submitit(tmp_path, tiny_data):
    """By a real interpreter: a job's number is that of the process that was started, which a fork has not."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    words = two_jobs(tmp_path, tiny_data, "hydra/launcher=submitit_local")
    process = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert_one_is_told_as_failed(process, tmp_path)
