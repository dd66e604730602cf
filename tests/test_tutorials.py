"""The tutorials are followed line by line: their files written, their commands and their Python run."""

import json

import pytest

from tests.experiment.wandb_files import offline_runs
from tests.live.test_mqtt import BROKER, free_port
from tests.submission.described import INFO
from tests.walk import Walk


@pytest.fixture
def walk(tmp_path, monkeypatch):
    """A reader in an empty folder; what goes on in the background at the end of the page is ended."""
    started = []

    def start(**how):
        started.append(Walk(tmp_path, monkeypatch, **how))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_systems_1_to_4(walk, tmp_path):
    one = walk(more={"train": ["trainer.max_steps=2", "data.batch_size=4"]})
    one.page("docs/systems.md")
    folders = [f"{number}_system{number + 1}_seed0" for number in range(4)]
    assert all((tmp_path / "runs/systems" / name / "results/scores.csv").is_file() for name in folders)
    assert (tmp_path / "runs/systems_fused").is_dir()
    assert "knn_standardized" in one.told


@pytest.mark.skipif(BROKER is None, reason="mosquitto is not installed")
def test_an_alarm_on_mqtt(walk, tmp_path):
    pytest.importorskip("paho.mqtt")
    one = walk(instead={"1883": str(free_port())}, programs={"mosquitto": BROKER})
    one.page("docs/alarm.md")
    # What the page says the subscriber prints.
    heard = one.printed(2)
    assert heard == [
        "event: today started today/0900.wav",
        "event: today alarm today/1000.wav",
        "the state is now: alarm",
    ]


def test_a_branch_of_ones_own(walk, tmp_path):
    one = walk(more={"train": ["data.num_workers=0"]})
    one.page("docs/own-branch.md")
    levels = json.loads((tmp_path / "runs/levels/results/summary.json").read_text())
    assert levels["name"] == "levels"
    assert (tmp_path / "runs/levels/results_2/scores.csv").is_file()
    assert (tmp_path / "runs/fft_levels/results/scores.csv").is_file()


def test_a_back_end_of_ones_own(walk, tmp_path):
    one = walk()
    one.page("docs/own-back-end.md")
    assert (tmp_path / "runs/first/results_2/scores.csv").is_file()
    table = (tmp_path / "runs/first/score_sweep/scorers.csv").read_text()
    assert all(name in table for name in ("knn", "to_the_mean", "five"))


def test_wandb_on_this_computer(walk, tmp_path):
    one = walk()
    one.page("docs/wandb.md")
    (shown,) = offline_runs(tmp_path / "runs/shown")
    assert shown.values("train/arcface")
    groups = {run.run.run_group for run in offline_runs(tmp_path / "runs/two_seeds")}
    assert groups == {"two_seeds"}


@pytest.mark.slow
def test_slurm_as_far_as_it_goes_without_one(walk, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    one = walk()
    one.page("docs/slurm.md")
    for seed in (0, 1):
        assert (tmp_path / f"runs/rehearsal/{seed}_statistics_seed{seed}/results/scores.csv").is_file()
    assert list((tmp_path / "runs/rehearsal/.submitit").rglob("*_log.out"))
    assert "partition: gpu" in one.told


@pytest.mark.slow
def test_entering_the_challenge(walk, tmp_path):
    (tmp_path / "me.yaml").write_text(INFO)
    one = walk(more={"train": ["trainer.max_steps=2", "data.batch_size=4", "accumulate=1"]})
    one.page("docs/challenge.md")
    assert "task2/Me_Lab_task2_4: valid" in one.told
