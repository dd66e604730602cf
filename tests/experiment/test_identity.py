"""A run goes on as the run that it is, and with nothing else."""

import shutil
import signal

import numpy as np
import pytest
import soundfile
import torch

from asd_lightning.comparison.systems import compare_runs
from asd_lightning.errors import UserError
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import ResultSet
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.training.checkpoint import InterruptedRunError
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
    path = untested / "run/checkpoints/last.ckpt"
    content = last_checkpoint(untested / "run")
    del content["asd_training_clips"]
    torch.save(content, path)
    resume(untested)
    assert "of an older version, which does not tell what clips it was trained on" in caplog.text


def test_a_run_from_before_the_hold_out_had_a_seed_of_its_own_goes_on(untested):
    record = untested / "run/config.yaml"
    older = [line for line in record.read_text().splitlines() if "hold_out_seed" not in line]
    record.write_text("\n".join(older))
    resume(untested)
    assert (untested / "run/results/scores.csv").is_file()


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
    # Of the other test it is told where nobody has named it.
    assert any("it also has results_2" in note for note in margins.notes)
    assert not any("it also has" in note for note in scorers.notes)


def test_a_test_amid_the_training_does_not_stand_for_the_run(trained, tmp_path, monkeypatch, caplog):
    """It goes beside, and says how far the training has come; the run's own results come when it has ended."""
    run, quiet = tmp_path / "run", ["trainer.accelerator=cpu", "~callbacks.progress"]
    run.mkdir()

    def train_on(*changes):
        train(tiny_config(run, trained / "data", "fft", list(changes), updates=4), run)

    with monkeypatch.context() as patch:
        patch.setattr("asd_lightning.training.module.AnomalousSoundModule.on_train_batch_start", interrupt)
        with pytest.raises(InterruptedRunError):
            train_on()
    assert last_checkpoint(run)["global_step"] == 3
    assert retest(run, quiet).folder.name == "results_2"
    assert "its training has had 3 of 4 updates; these are tested" in caplog.text
    assert not (run / "results").exists()
    told = compare_runs([run / "results_2", trained / "run"])
    assert [system.name for system in told.systems] == ["fft max_steps=4 updates=3", "fft max_steps=2 updates=all"]
    assert f"{told.systems[0].name}: {run / 'results_2'} is of a training that was not finished: 3 of 4 updates." in (
        told.notes
    )
    train_on("resume=true")
    both = compare_runs([run, run / "results_2"]).systems
    assert [system.name for system in both] == ["fft updates=all", "fft updates=3"]
    assert {name: ResultSet(run / name).read_summary()["updates"] for name in ("results", "results_2")} == {
        "results": 4,
        "results_2": 3,
    }


def test_results_of_other_updates_are_neither_the_runs_nor_replaced(trained, tmp_path):
    """As an older version has left them, whose tests amid the training took the place of the run's own."""
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    summary = run / "results/summary.json"
    summary.write_text(summary.read_text().replace('"updates": 2', '"updates": 1'))
    train(tiny_config(run, trained / "data", "fft", ["resume=true"], updates=FINISHED), run)
    assert ResultSet(run / "results").read_summary()["updates"] == 1
    assert ResultSet(run / "results_2").read_summary()["updates"] == 2


def test_a_run_that_does_not_go_on_keeps_its_record(trained, untested):
    """Whether it is finished or refused."""
    record = trained / "run/config.yaml"
    before = record.read_bytes()
    changes = ["resume=true", "model/scorer=knn_standardized", "data.recordings=/nope.csv"]
    train(tiny_config(trained / "run", trained / "data", "fft", changes, updates=FINISHED), trained / "run")
    assert record.read_bytes() == before
    training_recording(untested).unlink()
    before = (untested / "run/config.yaml").read_bytes()
    with pytest.raises(UserError, match="trained on other clips"):
        train(tiny_config(untested / "run", untested / "data", "fft", changes[:2], updates=FINISHED), untested / "run")
    assert (untested / "run/config.yaml").read_bytes() == before


def test_other_test_clips_are_a_column_of_their_own(tiny_data, tmp_path):
    """Or another truth of them: their means would be of nothing."""
    runs = []
    for number, name in enumerate(("whole", "fewer", "seed")):
        data, run = tmp_path / f"{name}_data", tmp_path / name
        shutil.copytree(tiny_data, data)
        if name == "fewer":
            sorted((data / "fan/test").iterdir())[0].unlink()
        run.mkdir()
        train(tiny_config(run, data, "statistics", [f"seed={number}"], updates=0), run)
        runs.append(run)
    seeds = {len(system.finished) for system in compare_runs(runs).systems}
    assert seeds == {1, 2}


@pytest.mark.parametrize(
    "override",
    [
        "+model.threshold.foo=1",
        "model.threshold._target_=asd_lightning.scoring.thresholds.GamaThreshold",
        "model.scorer._target_=asd_lightning.scoring.knn.KNScorer",
    ],
)
def test_a_slip_on_the_command_line_is_not_the_checkpoints(trained, override):
    part = override.split(".")[1]
    with pytest.raises(
        UserError, match=rf"^model\.{part}: .*; correct what was given for model\.{part} in this"
    ) as caught:
        retest(trained / "run", [override])
    assert "copy the run again" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_in_a_checkpoint_is_the_checkpoints(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    path = tmp_path / "run/checkpoints/last.ckpt"
    content = torch.load(path, weights_only=True)
    content["asd_config"]["embedder"]["foo"] = 1
    torch.save(content, path)
    with pytest.raises(UserError, match=r"last\.ckpt: cannot be built \(embedder: .*'foo'\); copy the run again$"):
        retest(tmp_path / "run", ["model/scorer=gmm"])


def test_a_wrong_option_of_a_back_end_is_one_line(trained, tmp_path):
    with pytest.raises(UserError, match=r"model\.scorer.*unexpected keyword argument 'foo'"):
        retest(trained / "run", ["+model.scorer.foo=1"])
    (tmp_path / "new").mkdir()
    config = tiny_config(tmp_path / "new", trained / "data", "fft", ["+model.scorer.foo=1"], updates=FINISHED)
    with pytest.raises(UserError, match=r"model\.scorer.*unexpected keyword argument 'foo'"):
        train(config, tmp_path / "new")


def test_recordings_that_are_not_there_any_more_come_with_the_way_out(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    record = tmp_path / "run/config.yaml"
    record.write_text(record.read_text().replace(str(trained / "data"), str(tmp_path / "gone")))
    with pytest.raises(
        UserError, match=r"data\.root=.*gone: no such folder, .* say where they are now with data\.root="
    ):
        retest(tmp_path / "run")


def interrupt(self, batch, batch_idx):
    if batch_idx == 2:
        signal.raise_signal(signal.SIGINT)
