"""A run goes on as the run that it is, and with nothing else."""

import shutil

import numpy as np
import pytest
import soundfile

from asd_lightning.comparison.systems import compare_runs
from asd_lightning.errors import UserError
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train
from asd_lightning.scoring.clip_scores import read_scores
from tests.experiment.runs import last_checkpoint, tiny_config

FINISHED = 2


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """A finished run, and its data."""
    folder = tmp_path_factory.mktemp("identity")
    shutil.copytree(tiny_data, folder / "data")
    (folder / "run").mkdir()
    train(tiny_config(folder / "run", folder / "data", "fft", updates=FINISHED), folder / "run")
    return folder


@pytest.fixture
def untested(trained, tmp_path):
    """That run before its test, with data that may be changed."""
    for name in ("data", "run"):
        shutil.copytree(trained / name, tmp_path / name)
    shutil.rmtree(tmp_path / "run/results")
    record = tmp_path / "run/config.yaml"
    record.write_text(record.read_text().replace(str(trained), str(tmp_path)))
    return tmp_path


def resume(folder, updates=FINISHED):
    changes = ["resume=true"]
    return train(tiny_config(folder / "run", folder / "data", "fft", changes, updates=updates), folder / "run")


def training_recording(folder):
    return sorted((folder / "data/fan/train").iterdir())[0]


def test_a_finished_run_is_not_made_longer(trained):
    before = (trained / "run/results/scores.csv").read_bytes()
    with pytest.raises(UserError, match=r"holds a run of 2 updates \(now 9\); .* train another run with name="):
        resume(trained, updates=9)
    assert (trained / "run/results/scores.csv").read_bytes() == before


def test_a_finished_run_is_left_as_it_is(trained, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.Trainer.test", lambda *_, **__: pytest.fail("tested again"))
    assert 0 < resume(trained) < 1


def test_a_run_that_was_not_tested_is_tested_with_its_averaged_weights(trained, untested):
    resume(untested)
    one, other = (read_scores(folder / "run/results/scores.csv") for folder in (trained, untested))
    assert one == other


def test_copied_data_are_the_same(trained):
    assert last_checkpoint(trained / "run")["asd_training_clips"].keys()


def test_changed_recordings_are_named(untested):
    path = training_recording(untested)
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[::-1], rate, subtype="PCM_16")
    with pytest.raises(UserError, match=rf"trained on other clips \(1 changed: fan/{path.name}\); put the recordings"):
        resume(untested)


def test_recordings_that_have_gone_are_named(untested):
    path = training_recording(untested)
    path.unlink()
    with pytest.raises(UserError, match=rf"trained on other clips \(1 gone: fan/{path.name}\)"):
        resume(untested)


def test_other_classes_are_named(untested):
    (untested / "data/fan").rename(untested / "data/pump")
    with pytest.raises(UserError, match=r"trained on other classes \(\d+ gone: fan/.*; \d+ new: pump/"):
        resume(untested)


def test_a_checkpoint_of_an_older_version_goes_on_and_it_is_said(untested, caplog):
    import torch

    path = untested / "run/checkpoints/last.ckpt"
    content = last_checkpoint(untested / "run")
    del content["asd_training_clips"]
    torch.save(content, path)
    resume(untested)
    assert "of an older version, which does not tell what clips it was trained on" in caplog.text


def test_a_test_on_other_normal_recordings_says_so(untested, caplog):
    path = training_recording(untested)
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=16_000), 16_000)
    retest(untested / "run", ["trainer.accelerator=cpu", "~callbacks.progress"])
    assert f"its training clips are not those that it was trained on (1 changed: fan/{path.name})" in caplog.text


def test_another_margin_and_another_test_are_columns_of_their_own(trained, tmp_path):
    """Not seeds of one system, whatever their name."""
    other = tmp_path / "other"
    other.mkdir()
    changes = ["model.loss.margin=0.4", "seed=1"]
    train(tiny_config(other, trained / "data", "fft", changes, updates=FINISHED), other)
    again = retest(trained / "run", ["model/scorer=gmm", "~callbacks.progress", "trainer.accelerator=cpu"])
    margins = compare_runs([trained / "run", other])
    before = {system.name.rpartition(" ")[2] for system in margins.systems}
    assert before == {"margin=0.2", "margin=0.4"}
    scorers = compare_runs([trained / "run", again.folder])
    assert {system.name.rpartition(" ")[2] for system in scorers.systems} == {"scorer=knn", "scorer=gmm"}
    assert any("it also has results_2" in note for note in scorers.notes)
