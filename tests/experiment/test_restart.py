"""A run that is killed goes on as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time

import pytest
import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from asd_lightning import cli
from asd_lightning.errors import UserError
from asd_lightning.experiment import train as training
from asd_lightning.experiment.claim import OccupiedError, claimed
from asd_lightning.experiment.identity import with_absolute_paths
from asd_lightning.experiment.resume import refuse_another_run
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train
from asd_lightning.training.checkpoint import AtomicCheckpointIO, InterruptedRunError
from tests.experiment.runs import assert_identical, last_checkpoint, tiny_config, tiny_overrides
from tests.forked import Forked, python_of_libraries, run_forked

RESTORED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")
# Dropout, layer-drop, masks, mixup and accumulation: every draw there is.
CHANGES = ["accumulate=2", "test=false", "data.num_workers=0"]


# The command, where from the second checkpoint on no file may have more than 100 kB: the system's own error.
FULL_DISK = """
import resource, signal, sys
from asd_lightning.cli import main
from asd_lightning.training.checkpoint import AtomicCheckpointIO

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
save, saved = AtomicCheckpointIO.save_checkpoint, []

def limited(self, *arguments, **options):
    if saved:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    saved.append(save(self, *arguments, **options))

AtomicCheckpointIO.save_checkpoint = limited
sys.exit(main(sys.argv[1:]))
"""


# The command, which waits to be killed before the second half of update 3.
WAITING = """
import sys, time
from pathlib import Path
from asd_lightning.cli import main
from asd_lightning.training.module import AnomalousSoundModule

start = AnomalousSoundModule.on_train_batch_start

def wait(self, batch, batch_idx):
    if batch_idx == 5:
        Path("waits").touch()
        time.sleep(3600)
    start(self, batch, batch_idx)

AnomalousSoundModule.on_train_batch_start = wait
sys.exit(main(sys.argv[1:]))
"""


class Signal(pl.Callback):
    """Sends this process the terminal's Ctrl-C in the midst of some micro-steps."""

    def __init__(self, *micro_steps: int) -> None:
        self.micro_steps = micro_steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx in self.micro_steps:
            signal.raise_signal(signal.SIGINT)


class KilledError(Exception):
    """Stands for the signal."""


class Kill(pl.Callback):
    """Stops the process' work at one micro-step, as a signal would."""

    def __init__(self, micro_step: int) -> None:
        self.micro_step = micro_step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.micro_step:
            raise KilledError


@pytest.fixture(scope="module")
def uninterrupted(tiny_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("uninterrupted")
    train(tiny_config(output, tiny_data, changes=CHANGES), output)
    return last_checkpoint(output)


def train_until(monkeypatch, error, callback, output, data, more=()):
    make = training.make_trainer

    def make_trainer(*arguments):
        trainer = make(*arguments)
        trainer.callbacks.append(callback)
        return trainer

    with monkeypatch.context() as patch:
        patch.setattr(training, "make_trainer", make_trainer)
        with pytest.raises(error):
            train(tiny_config(output, data, changes=[*CHANGES, *more]), output)


def train_until_killed(monkeypatch, output, data, micro_step, more=()):
    train_until(monkeypatch, KilledError, Kill(micro_step), output, data, more)


@pytest.mark.parametrize("micro_step", [5, 8, 11])
def test_goes_on_bit_for_bit(tiny_data, tmp_path, monkeypatch, uninterrupted, micro_step):
    """Checkpoints are written after updates 2, 4, 6, that is micro-steps 4, 8, 12."""
    train_until_killed(monkeypatch, tmp_path, tiny_data, micro_step)
    torch.manual_seed(12345)  # what the new process' generators happen to hold
    assert last_checkpoint(tmp_path)["global_step"] == micro_step // 4 * 2
    train(tiny_config(tmp_path, tiny_data, changes=[*CHANGES, "resume=true"]), tmp_path)
    resumed = last_checkpoint(tmp_path)
    for key in RESTORED:
        assert_identical(resumed[key], uninterrupted[key], key)


def test_killed_again_amid_the_first_update_after_going_on(tiny_data, tmp_path, monkeypatch, uninterrupted):
    """A checkpoint belongs between updates: half an update that has gone on is not in it."""
    train_until_killed(monkeypatch, tmp_path, tiny_data, micro_step=5)
    train_until_killed(monkeypatch, tmp_path, tiny_data, micro_step=5, more=["resume=true"])
    train(tiny_config(tmp_path, tiny_data, changes=[*CHANGES, "resume=true"]), tmp_path)
    resumed = last_checkpoint(tmp_path)
    for key in RESTORED:
        assert_identical(resumed[key], uninterrupted[key], key)


@pytest.mark.parametrize("micro_step", [4, 5])
def test_ctrl_c_finishes_the_update_and_keeps_it(tiny_data, tmp_path, monkeypatch, capfd, uninterrupted, micro_step):
    """Update 3 is micro-steps 4 and 5; the next periodic checkpoint would be that of update 4."""
    before = signal.getsignal(signal.SIGINT)
    train_until(monkeypatch, InterruptedRunError, Signal(micro_step), tmp_path, tiny_data)
    assert signal.getsignal(signal.SIGINT) is before
    assert "asd: finishing the update in progress; Ctrl-C again stops at once" in capfd.readouterr().err
    assert last_checkpoint(tmp_path)["global_step"] == 3
    train(tiny_config(tmp_path, tiny_data, changes=[*CHANGES, "resume=true"]), tmp_path)
    for key in RESTORED:
        assert_identical(last_checkpoint(tmp_path)[key], uninterrupted[key], key)


def test_a_second_ctrl_c_stops_at_once(tiny_data, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(signal, "SIG_IGN", signal.getsignal(signal.SIGINT))  # Lightning would ignore all further ones
        train_until(monkeypatch, SystemExit, Signal(4, 5), tmp_path, tiny_data)
    assert last_checkpoint(tmp_path)["global_step"] == 2


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"weights of the last time")

    def save(content, file):
        file.write(b"the first half")
        raise KilledError

    monkeypatch.setattr("torch.save", save)
    with pytest.raises(KilledError):
        AtomicCheckpointIO().save_checkpoint({}, path)
    assert path.read_bytes() == b"weights of the last time"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_training_has_left_half_written_is_removed(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for name in (".last.ckpt.0123456789ab.tmp", ".last.ckpt.4711.tmp", "last.ckpt", ".mine.tmp"):
        (tmp_path / "checkpoints" / name).write_text("")
    with claimed(tmp_path):
        assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", ".mine.tmp"}


def test_a_full_disk_at_a_checkpoint(tiny_data, tmp_path):
    """Told in one line; the checkpoint before it is whole, and the same command goes on from it."""
    done = run_forked(words(tiny_data), tmp_path, code=FULL_DISK)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "run/checkpoints/last.ckpt: cannot be written" in done.stderr
    assert "free space and give the same command again" in done.stderr
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["last.ckpt"]
    assert last_checkpoint(tmp_path / "run")["global_step"] == 2
    train(tiny_config(tmp_path / "run", tiny_data, changes=[*CHANGES, "resume=true"]), tmp_path / "run")
    assert last_checkpoint(tmp_path / "run")["global_step"] == 6


def test_one_checkpoint_and_that_is_the_runs(tiny_data, tmp_path, uninterrupted):
    """Lightning's own callback leaves a last-v1.ckpt of other weights in a run of fewer updates than it saves after."""
    changes = [*CHANGES, "callbacks.checkpoint.every_n_train_steps=500"]
    train(tiny_config(tmp_path, tiny_data, changes=changes), tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    for key in RESTORED:
        assert_identical(last_checkpoint(tmp_path)[key], uninterrupted[key], key)


def test_the_guard_matters(tiny_data, tmp_path, monkeypatch, uninterrupted):
    """Without the step's own seed the resumed run differs: the comparison above can fail."""
    train_until_killed(monkeypatch, tmp_path, tiny_data, micro_step=5)
    monkeypatch.setattr("asd_lightning.training.module.seed_step", lambda *_: None)
    train(tiny_config(tmp_path, tiny_data, changes=[*CHANGES, "resume=true"]), tmp_path)
    with pytest.raises(AssertionError):
        assert_identical(last_checkpoint(tmp_path)["state_dict"], uninterrupted["state_dict"])


def test_a_run_is_never_overwritten(tiny_data, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").write_bytes(b"weights of last week")
    with pytest.raises(UserError, match=r"already holds a run; go on with resume=true, or choose another name="):
        train(tiny_config(tmp_path, tiny_data), tmp_path)


def test_a_finished_run_is_tested_again_with_the_same_weights(tiny_data, tmp_path):
    """Lightning would go on with the weights that training left off with, which are not the averaged ones."""
    changes = ["accumulate=2", "data.num_workers=0"]
    train(tiny_config(tmp_path, tiny_data, changes=changes), tmp_path)
    scores, checkpoint = (tmp_path / name for name in ("results/scores.csv", "checkpoints/last.ckpt"))
    before = scores.read_bytes(), checkpoint.read_bytes()
    train(tiny_config(tmp_path, tiny_data, changes=[*changes, "resume=true"]), tmp_path)
    assert (scores.read_bytes(), checkpoint.read_bytes()) == before


def test_only_the_same_run_goes_on(tiny_data, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(tiny_config(tmp_path, tiny_data), resolve=True))
    same = ["resume=true", "devices=2", "data.num_workers=3", "model/scorer=ldn", "trainer.precision=bf16-mixed"]
    refuse_another_run(tmp_path, tiny_config(tmp_path, tiny_data, changes=same))
    with pytest.raises(
        UserError, match=r"holds a run with data\.root=.*\(now .*/elsewhere\), .*seed=0 \(now 1\); go on with"
    ):
        refuse_another_run(tmp_path, tiny_config(tmp_path, tiny_data, changes=["data.root=elsewhere", "seed=1"]))


def test_a_table_of_classes_may_be_named_from_here(tiny_data, tmp_path, monkeypatch):
    """The run has recorded where it lies; the same command names it as before."""
    monkeypatch.chdir(tmp_path)
    config = tiny_config(tmp_path, tiny_data, changes=["data.pseudo_classes=table.csv"])
    recorded = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.ckpt").touch()
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(with_absolute_paths(recorded)))
    refuse_another_run(tmp_path, config)
    other = tiny_config(tmp_path, tiny_data, changes=["data.pseudo_classes=other.csv"])
    with pytest.raises(UserError, match=r"data\.pseudo_classes="):
        refuse_another_run(tmp_path, other)


def test_nothing_to_do(tiny_data, tmp_path):
    with pytest.raises(UserError, match="there is nothing to do"):
        train(tiny_config(tmp_path, tiny_data, changes=["trainer.max_steps=0", "test=false"]), tmp_path)


def test_one_training_at_a_time_in_a_folder(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    (tmp_path / "run/.hydra").mkdir(parents=True)
    with claimed(tmp_path / "run"):
        assert cli.main(["train", *tiny_overrides(tiny_data), "hydra.run.dir=run"]) == 2
        assert "run: another training is going on in it" in capsys.readouterr().err
        with pytest.raises(OccupiedError), claimed(tmp_path / "run"):
            pass
        monkeypatch.setenv("LOCAL_RANK", "1")  # a further process of the training that holds it
        with claimed(tmp_path / "run"):
            pass


def test_a_test_that_is_interrupted_leaves_nothing(tiny_data, tmp_path, monkeypatch):
    train(tiny_config(tmp_path, tiny_data, changes=["trainer.max_steps=0"]), tmp_path)
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(OmegaConf.create(tiny_overrides(tiny_data)), tmp_path / ".hydra/overrides.yaml")
    monkeypatch.setattr("pytorch_lightning.Trainer.test", lambda *_, **__: sys.exit(1))
    with pytest.raises(KeyboardInterrupt):
        retest(tmp_path, out=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def words(tiny_data, *more):
    return ["train", *tiny_overrides(tiny_data), *CHANGES, "hydra.run.dir=run", *more]


def two_threads():
    # They need not wait for one another in busy loops, which cost the tests beside these their time.
    return os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "passive"}


def wait_for(checkpoint, process):
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)


def test_survives_sigkill(tiny_data, tmp_path):
    """The command itself, killed for real amid update 3, against an uninterrupted run; it goes on from a new start."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    done = run_forked(words(tiny_data), straight, env=two_threads())
    assert done.returncode == 0, done.stderr
    process = Forked(words(tiny_data), killed, env=two_threads(), code=WAITING)
    wait_for(killed / "waits", process)
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.done()
    assert last_checkpoint(killed / "run")["global_step"] == 2
    command = [python_of_libraries(), "-m", "asd_lightning.cli", *words(tiny_data, "resume=true")]
    resumed = subprocess.run(command, cwd=killed, env=two_threads(), capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    for key in RESTORED:
        assert_identical(last_checkpoint(killed / "run")[key], last_checkpoint(straight / "run")[key], key)


def test_ctrl_c_in_the_terminal(tiny_data, tmp_path):
    """It reaches the processes that read ahead too, and the update needs their batches."""
    endless = words(tiny_data, "data.num_workers=2", "trainer.max_steps=4000")
    process = Forked(endless, tmp_path, env=two_threads(), merged=True, own_group=True)
    wait_for(tmp_path / "run/checkpoints/last.ckpt", process)
    os.killpg(process.pid, signal.SIGINT)
    status, output, _ = process.done()
    assert status == 130, output
    assert "Traceback" not in output
    assert "asd: finishing the update in progress" in output
    assert "asd: interrupted; the same command with name=tiny resume=true goes on from the last checkpoint" in output
    assert 0 < last_checkpoint(tmp_path / "run")["global_step"] < 4000
