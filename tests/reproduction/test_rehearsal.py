"""The whole of a reproduction on synthetic machines: it ends with the table, also where it is interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.errors import UserError
from asd_lightning.reproduction.targets import TARGETS
from asd_lightning.scoring.clip_scores import read_scores


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASD_CACHE", str(tmp_path / "no_weights"))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    return tmp_path


def test_a_rehearsal_ends_with_the_table_and_says_what_it_is(elsewhere, capsys, monkeypatch):
    # The table in one part.
    monkeypatch.setenv("COLUMNS", "300")
    made = asd_lightning.reproduce("rdp2603", rehearse=True)
    told = capsys.readouterr().out
    folder = Path("runs/rehearse_rdp2603")
    assert (told.count("REHEARSAL"), told.splitlines()[-1][:9]) == (4, "REHEARSAL")
    assert [path.relative_to(folder).name for path in made.files] == ["rehearsal.csv", "rehearsal.md", "rehearsal.tex"]
    official = {row.set: row for row in made.rows if (row.machine, row.metric) == ("all", "hmean")}
    assert [round(row.published, 4) for row in official.values()] == [0.64, 0.624]
    assert all(0 < row.measured < 1 for row in official.values())
    run = folder / "rdp2603_seed0"
    # No run was told of the truth, which lies where the last table reads it.
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["truth"] == "none"
    scores = read_scores(run / "results/scores.csv")
    assert {score.condition for score in scores if score.machine == "Polisher"} == {"unknown"}
    assert (folder / "truth/ground_truth_data").is_dir()
    # What is done is not done again, and another reproduction does not get into it.
    before = (folder / "rehearsal.csv").read_bytes()
    asd_lightning.reproduce("rdp2603", rehearse=True)
    assert (folder / "rehearsal.csv").read_bytes() == before
    assert not (run / "results_2").exists()
    for changed in (["trainer.precision=bf16-mixed"], ["data.test_batch_size=8"]):
        with pytest.raises(UserError, match="holds another reproduction"):
            asd_lightning.reproduce("rdp2603", *changed, rehearse=True)


def test_a_folder_of_other_things_is_left_alone(elsewhere):
    (elsewhere / "thesis").mkdir()
    (elsewhere / "thesis/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files and no reproduction"):
        asd_lightning.reproduce("rdp2603", rehearse=True, output="thesis")
    assert [path.name for path in (elsewhere / "thesis").iterdir()] == ["notes.txt"]


def _stop_once(monkeypatch):
    """Ctrl-C after the second update of the first training."""
    from asd_lightning.training.checkpoint import LastCheckpoint

    told, usual = [], LastCheckpoint.on_train_batch_end

    def stopping(self, trainer, *rest):
        if trainer.global_step == 2 and not told:
            told.append(trainer.global_step)
            signal.raise_signal(signal.SIGINT)
        usual(self, trainer, *rest)

    monkeypatch.setattr(LastCheckpoint, "on_train_batch_end", stopping)
    return told


@pytest.mark.slow
def test_interrupted_within_a_training_it_goes_on_to_the_same_numbers(elsewhere, monkeypatch, capsys):
    words = ["reproduce", "lora_w1_2026", "--rehearse", "--seeds", "3"]
    assert main([*words, "-o", "whole"]) == 0
    told = _stop_once(monkeypatch)
    assert main([*words, "-o", "cut"]) == 130
    assert told == [2]
    assert "asd: interrupted" in capsys.readouterr().err
    assert not (elsewhere / "cut/rehearsal.csv").exists()
    assert main([*words, "-o", "cut"]) == 0
    assert Path("cut/rehearsal.csv").read_bytes() == Path("whole/rehearsal.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", TARGETS)
def test_every_rehearsal_stands_a_real_interrupt(name, elsewhere):
    """Two Ctrl-C, as a terminal sends them: one in the first run, one in the last."""
    command = [sys.executable, "-m", "asd_lightning.cli", "reproduce", name, "--rehearse"]
    subprocess.run([*command, "-o", "whole"], check=True, capture_output=True)
    runs = len(list(Path("whole").glob("*_seed*")))
    for number in sorted({1, runs}):
        process = subprocess.Popen([*command, "-o", "cut"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(list(Path("cut").glob("*_seed*"))) < number:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait() in (0, 130)  # 0: it was done by then
    subprocess.run([*command, "-o", "cut"], check=True, capture_output=True)
    assert Path("cut/rehearsal.csv").read_bytes() == Path("whole/rehearsal.csv").read_bytes()
