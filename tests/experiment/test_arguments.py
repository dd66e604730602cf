"""What a test takes over from the run it tests."""

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from asd_lightning.configuration import instantiate_all
from asd_lightning.errors import UserError
from asd_lightning.experiment.arguments import retest_configuration
from asd_lightning.experiment.retest import retest
from asd_lightning.training.averaging import WeightEMA
from asd_lightning.training.checkpoint import LastCheckpoint


def run_with(folder, *overrides):
    (folder / ".hydra").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(["experiment=fft", *overrides]), folder / ".hydra" / "overrides.yaml")
    return folder


@pytest.mark.parametrize("without", [[], ["~callbacks.ema"], ["callbacks.ema=null"]])
def test_callbacks_of_training_are_left_out_whatever_the_run_had(tmp_path, monkeypatch, without):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    config = retest_configuration(run_with(tmp_path / "run", *without), [], tmp_path / "results")
    callbacks = instantiate_all(config.callbacks)
    assert callbacks
    assert not any(isinstance(callback, WeightEMA | LastCheckpoint) for callback in callbacks)


@pytest.mark.parametrize("name", ["it's", "a,b", "[a]", "a=b c"])
def test_any_folder_will_do(tmp_path, monkeypatch, name):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    config = retest_configuration(run_with(tmp_path / name, "name=x"), [], tmp_path / name / "results")
    assert config.name == name
    assert config.callbacks.results.directory == str(tmp_path / name / "results")


@pytest.mark.parametrize(
    ("override", "message"),
    [("experiment=system1", "the system is the run's own"), ("seed=-1", "seed=-1: a whole number of at least 0")],
)
def test_what_a_test_cannot_change(tmp_path, monkeypatch, override, message):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    with pytest.raises(UserError, match=message):
        retest_configuration(run_with(tmp_path / "run"), [override], tmp_path)


def test_results_are_not_replaced(tmp_path):
    (tmp_path / "results_of_may").mkdir()
    (tmp_path / "results_of_may" / "scores.csv").write_text("of May")
    with pytest.raises(UserError, match="results_of_may: holds files already; give a new folder with out="):
        retest(run_with(tmp_path / "run"), out=tmp_path / "results_of_may")
    assert (tmp_path / "results_of_may" / "scores.csv").read_text() == "of May"


def test_where_the_training_ran_is_not_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    run = run_with(tmp_path / "run", "trainer=ddp", "devices=4", "trainer.num_nodes=2", "trainer.precision=bf16-mixed")
    config = retest_configuration(run, ["devices=2"], tmp_path)
    assert (config.trainer.devices, config.trainer.num_nodes, config.trainer.strategy) == (2, 1, "auto")
    assert config.trainer.precision == "bf16-mixed"
