"""What a run of a reproduction is given, with the training itself left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning.reproduction import running
from asd_lightning.reproduction.plan import make_plan
from asd_lightning.reproduction.targets import find_target
from asd_lightning.run_folder import CHECKPOINT, results_of

GROUND = running.Ground(Path("data"), None, (), ())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)


def plan_of(name, *changes):
    return make_plan(find_target(name), None, Path("out"), None, changes)


def test_results_without_scores_are_made_again(monkeypatch):
    """They would be taken for those of a finished test, and the table could never be made."""
    folder = Path("out/rdp2603_seed0")
    (folder / CHECKPOINT).parent.mkdir(parents=True)
    (folder / CHECKPOINT).touch()
    results = results_of(folder)
    results.folder.mkdir()
    results.metrics.touch()
    there = []

    def train(*_words):
        there.append((results.folder.exists(), (folder / CHECKPOINT).exists()))
        return results

    monkeypatch.setattr(running, "train_once", train)
    running.run_all(plan_of("rdp2603"), GROUND)
    results.folder.mkdir()
    results.scores.touch()
    running.run_all(plan_of("rdp2603"), GROUND)
    assert there == [(False, True), (True, True)]


def test_the_run_for_classes_gets_how_runs_are_computed(monkeypatch):
    told = []

    def train(*words):
        told.append(words)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "train_once", train)
    with pytest.raises(KeyboardInterrupt):
        running.run_all(plan_of("lora_2026", "trainer.accelerator=cpu", "model.optimizer.weight_decay=0.1"), GROUND)
    assert "system=clusters" in told[0]
    assert "trainer.accelerator=cpu" in told[0]
    assert "model.optimizer.weight_decay=0.1" not in told[0]
