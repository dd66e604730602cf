"""The examples in docstrings run, and the public functions do what the commands of the same names do."""

import doctest
import importlib
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.errors import UserError
from asd_lightning.run_folder import ResultSet
from tests.experiment.runs import tiny_overrides
from tests.scoring.runs import make_run

# The public functions, and one of each room.
MODULES = (
    *(
        "",
        "api",
        "experiment.text_options",
        "features.spectrum",
        "features.mn04_log_mel",
        "features.mel_table",
        "data.preprocessing",
        "data.file_names",
        "data.pseudo_classes",
    ),
    *(
        "features.two_microphones",
        "synthetic.draws",
        "synthetic.short_faults",
        "synthetic.planted",
        "download.records",
        "data.recordings",
        "scoring.arguments",
        "tables",
    ),
    *("evaluation.metrics", "comparison.over_seeds", "comparison.elsewhere", "submission.check", "pages.svg"),
    *("encoders.statistics", "encoders.mn04", "encoders.grid", "encoders.over_time", "encoders.pooling"),
    *("encoders.family", "encoders.mel_bands", "scoring.feature_store"),
    *("losses.arcface", "losses.soft_labels", "losses.sub_cluster_adacos", "losses.adaproj"),
    *("losses.feature_exchange", "embedder", "scoring.knn", "training.schedule"),
    *("scoring.grid", "scoring.rescaling", "scoring.union", "scoring.domains", "scoring.calibration", "scoring.fusion"),
    "scoring.normal_scores",
    *("detector.detector", "detector.constructors", "detector.evaluation", "detector.hearing"),
    *("detector.promise", "detector.health", "detector.drift", "detector.states"),
    *("selection.criteria", "selection.choice", "archive.listing"),
    *("scoring.contributions", "explanation.charts", "explanation.occlusion"),
    *("serving.settings", "serving.warned", "serving.rate", "serving.counts", "serving.bodies", "serving.files"),
    *("exporting.front_ends", "exporting.fusions", "exporting.agreement"),
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, unchecked):
    module = importlib.import_module(f"asd_lightning.{name}".rstrip("."))
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers(results: ResultSet) -> tuple[bytes, bytes]:
    return results.scores.read_bytes(), results.metrics.read_bytes()


def test_train_and_test_are_the_commands(tiny_data, place, monkeypatch):
    before = HydraConfig.instance().cfg
    overrides = tiny_overrides(tiny_data, "statistics", updates=0)
    by_function = asd_lightning.train(*overrides[:-3], "name=function")
    assert HydraConfig.instance().cfg is before
    monkeypatch.setattr(HydraConfig.instance(), "cfg", before)
    assert main(["train", *overrides, "name=command"]) == 0
    assert by_function.run == place / "runs/function"
    assert numbers(by_function) == numbers(ResultSet(Path("runs/command/results")))
    again = asd_lightning.test("runs/function", "model/scorer=knn_standardized", output="again")
    assert main(["test", "runs/command", "model/scorer=knn_standardized", "--output", "command"]) == 0
    assert numbers(again) == numbers(ResultSet(Path("command")))
    with pytest.raises(UserError, match="already holds a run"):
        asd_lightning.train(*overrides, "name=function")
    with pytest.raises(UserError, match="-m: an option of the command"):
        asd_lightning.train("-m", *overrides)
    with pytest.raises(UserError, match=r"data\.batch_sice: no such setting"):
        asd_lightning.train(*overrides, "data.batch_sice=1")
    with pytest.raises(UserError, match="no such truth"):
        asd_lightning.train(*overrides, "name=failed", "data.truth=nowhere")
    assert not (place / "runs/failed").exists()


def test_compare_report_and_submit_are_the_commands(place):
    make_run(place / "run", place / "data")
    found = asd_lightning.compare("run", output="function")
    assert [system.name for system in found.systems] == ["one"]
    assert main(["compare", "run", "-o", "command"]) == 0
    names = {path.name for path in Path("command").iterdir()}
    assert {path.name for path in Path("function").iterdir()} == names
    assert Path("function/comparison.csv").read_bytes() == Path("command/comparison.csv").read_bytes()
    assert asd_lightning.report("run", output="page.html").read_text().startswith("<!doctype html>")
    written = asd_lightning.submit("run", "Li_XJU_task2_1")
    assert main(["submit", "run", "--label", "Li_XJU_task2_1", "-o", "by_command"]) == 0
    for path in written.files:
        other = Path("by_command", Path(path).relative_to("task2/Li_XJU_task2_1"))
        assert Path(path).read_bytes() == other.read_bytes()


def test_what_runs_is_what_the_package_names():
    assert set(asd_lightning.__all__) >= {"train", "test", "compare", "report", "submit", "load_run"}
    for name in asd_lightning.__all__:
        assert getattr(asd_lightning, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        _ = asd_lightning.absent
