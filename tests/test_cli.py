"""The command itself: answers fast, knows its subcommands, says what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from asd_lightning import cli

HEAVY = ("torch", "pytorch_lightning", "sklearn", "matplotlib", "wandb", "hydra", "scipy")


def test_help_names_every_command_and_imports_nothing_heavy():
    script = (
        "import sys; from asd_lightning.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip().endswith("[]")
    assert all(command in printed for command in cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - cli.HYDRA_COMMANDS))
def test_every_command_has_help_without_heavy_imports(command):
    script = (
        "import sys; from asd_lightning.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]")


def test_a_users_error_is_one_line_and_status_2(capsys, tmp_path):
    assert cli.main(["test", f"run={tmp_path / 'nowhere'}"]) == 2
    assert capsys.readouterr().err == (
        f"asd: {tmp_path / 'nowhere'}: not the folder of a run, .hydra/overrides.yaml is missing; "
        "give one of asd train\n"
    )


def test_bad_data_end_a_run_without_a_traceback(tmp_path):
    command = [sys.executable, "-m", "asd_lightning.cli", "train", "experiment=statistics", "data.root=nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere: no such folder; give the folder that holds the machines' recordings" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_mistyped_key_is_named(tmp_path):
    command = [sys.executable, "-m", "asd_lightning.cli", "train", "data.batchsize=8"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "Could not override 'data.batchsize'" in done.stderr


def test_cfg_job_prints_the_configuration(tmp_path):
    command = [sys.executable, "-m", "asd_lightning.cli", "train", "experiment=system4", "--cfg", "job"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert "asd_lightning.embedder.Embedder" in printed
    assert printed.index("eat:") < printed.index("fft:")
    assert not list(Path(tmp_path).iterdir())


def test_a_reader_that_has_read_enough_is_no_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    (tmp_path / "notes.txt").touch()
    command = [sys.executable, "-m", "asd_lightning.cli", "submit", "--check", str(tmp_path)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
