"""What a run needs of its computer is told in one line, before anything is decoded."""

import re
import shlex
from itertools import product
from pathlib import Path

import pytest
import torch

from asd_lightning.cli import main
from asd_lightning.configuration import compose_train
from asd_lightning.errors import UserError
from asd_lightning.experiment.computer import agree_with_slurm, check_computer
from asd_lightning.experiment.train import train
from tests.experiment.runs import tiny_config

SLURM = ("SLURM_NTASKS", "SLURM_JOB_NAME", "SLURM_NTASKS_PER_NODE", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def outside_slurm(monkeypatch):
    for variable in SLURM:
        # Set first, so that what a test sets is undone whoever set it.
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)


def run(devices=1, nodes=1):
    return compose_train([f"devices={devices}", f"++trainer.num_nodes={nodes}", "experiment=statistics"])


@pytest.mark.parametrize(("tasks", "devices", "nodes"), product((1, 2, 4, 8), (1, 2, 4), (1, 2)))
def test_slurm_has_as_many_tasks_as_the_run_has_processes(monkeypatch, tasks, devices, nodes):
    monkeypatch.setenv("SLURM_NTASKS", str(tasks))
    if tasks == devices * nodes:
        agree_with_slurm(run(devices, nodes))
        if tasks > 1:
            from lightning_fabric.plugins.environments import SLURMEnvironment

            assert SLURMEnvironment().world_size() == tasks
        return
    with pytest.raises(UserError, match=f"SLURM_NTASKS={tasks}, .* srun --ntasks={devices * nodes}") as caught:
        agree_with_slurm(run(devices, nodes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"), [("SLURM_JOB_NAME", "bash"), ("SLURM_JOB_NAME", "interactive"), ("TORCHELASTIC_RUN_ID", "1")]
)
def test_processes_that_are_started_otherwise(monkeypatch, variable, value):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv(variable, value)
    agree_with_slurm(run())


def test_devices_that_are_not_counted_yet(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    agree_with_slurm(run("auto"))


def test_the_documented_line(monkeypatch):
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    line = re.search(r"^srun (?:.*\\\n)*.*", page, re.MULTILINE)[0].replace("\\\n", " ")
    words = shlex.split(line)
    options = dict(word.removeprefix("--").split("=") for word in words if word.startswith("--"))
    monkeypatch.setenv("SLURM_NTASKS", str(int(options["nodes"]) * int(options["ntasks-per-node"])))
    agree_with_slurm(compose_train(words[words.index("train") + 1 :]))


def test_weights_that_are_not_here_come_with_what_needs_none(tmp_path, monkeypatch):
    monkeypatch.setenv("ASD_CACHE", str(tmp_path))
    message = r"weights beats_iter3 are not on this machine.*Without weights: experiment=.*, experiment=statistics$"
    for arguments in ([], ["experiment=system4"], ["experiment=system1", "data.root=pump"]):
        with pytest.raises(UserError, match=message):
            check_computer(arguments, compose_train(arguments))
    for arguments in (["experiment=statistics"], ["experiment=fft"], ["scale=demo"], ["encoders=random"]):
        check_computer(arguments, compose_train(arguments))
    check_computer(["-m", "x"], compose_train([]))


def test_float32_is_float32_on_a_gpu_too(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    train(tiny_config(tmp_path, tiny_data, "statistics", updates=0), tmp_path)
    assert not torch.backends.cudnn.allow_tf32


def test_a_sweep_by_slurm_needs_slurm(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    for split in ("train", "test"):
        (tmp_path / "pump" / split).mkdir(parents=True)
        (tmp_path / "pump" / split / f"section_00_source_{split}_normal_0001.wav").touch()
    words = ["train", "-m", "experiment=statistics", "name=tried", "hydra/launcher=submitit_slurm", "data.root=."]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("asd: hydra/launcher=submitit_slurm: no Slurm here")
    assert line.endswith("hydra/launcher=submitit_local tries it on this computer")
    assert not (tmp_path / "runs").exists()
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/sh\n")
    srun.chmod(0o755)
    check_computer(words[1:], None)
