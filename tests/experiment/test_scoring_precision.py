"""A test in a lower precision: recorded wherever its numbers go, and never taken for another."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from asd_lightning import low_precision
from asd_lightning.comparison.settings import settings_of
from asd_lightning.configuration import compose_train, hydra_as_before, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.detector.actions import enrol
from asd_lightning.errors import UserError
from asd_lightning.experiment.fitted_run import load_run
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.run_embeddings import embeddings_of_run, valid_embeddings
from asd_lightning.experiment.train import train
from asd_lightning.run_folder import CHECKPOINT, results_of
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.embedding_cache import CacheKey, read_embeddings
from asd_lightning.scoring.feature_store import read_features
from asd_lightning.scoring.fitted import read_fitted
from asd_lightning.training import module as training
from asd_lightning.training.build import build_module, load_module
from tests.experiment.runs import tiny_config

BF16 = "model.scoring_precision=bf16"


@pytest.fixture(scope="module", autouse=True)
def able():
    """A processor that can do everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(low_precision, "processor_features", lambda: {"avx512_bf16": True, "avx512_vnni": True})
        patch.setattr(low_precision, "bf16_is_faster", lambda: True)
        yield


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "frozen"
    folder.mkdir()
    changes = ["data.machines=[fan]", "store_features=[mean]"]
    train(tiny_config(folder, tiny_data, "beats_frozen", changes, updates=0), folder)
    return folder


@pytest.fixture(scope="module")
def warned():
    """What was said when ``low`` was made."""
    return []


@pytest.fixture(scope="module")
def low(run, warned):
    """A test of the run in bfloat16; float32's is its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "agrees", lambda _: False)
        patch.setattr(training.logger, "warning", lambda text, *values: warned.append(text % values))
        return retest(run, [BF16, "store_features=[mean]"])


def test_it_is_recorded(run, low):
    summary, before = low.read_summary(), results_of(run).read_summary()
    assert summary["scoring_precision"] == "bf16"
    assert summary["scoring_precision_of"] == ["beats"]
    assert (before["scoring_precision"], "agreement" in before) == ("float32", False)
    assert read_embeddings(low.embeddings).key.precision == "bf16"
    assert read_features(low.features("mean")).key.precision == "bf16"
    assert read_fitted(low.fitted)[1]["precision"] == "bf16"
    assert "scoring_precision: bf16" in low.config.read_text()
    exact, own = (read_fitted(results.fitted)[0]["fan", "00"].training_scores for results in (results_of(run), low))
    assert summary["agreement"] == {"fan": pytest.approx(spearmanr(exact, own).statistic, abs=1e-9)}
    assert not np.array_equal(exact, own)
    settings = [settings_of({"model": {"scoring_precision": each}}, summary) for each in ("float32", "bf16")]
    assert settings[0] != settings[1]
    assert settings[0] == settings_of({"model": {"scoring_precision": "float32"}, "name": "x"}, summary)
    assert "model.scoring_precision" not in settings[0]


def test_embeddings_of_one_are_not_those_of_the_other(run, low, monkeypatch):
    exact, own = read_embeddings(results_of(run).embeddings), read_embeddings(low.embeddings)
    assert exact.key != own.key
    assert not np.array_equal(exact.reference, own.reference)
    assert not np.array_equal(*(read_features(each.features("mean")).query for each in (results_of(run), low)))
    monkeypatch.setattr("asd_lightning.experiment.retest.retest", lambda *_: pytest.fail("tested again"))
    np.testing.assert_array_equal(embeddings_of_run(run).query, exact.query)
    reasons = []
    assert [results.folder for results, _ in valid_embeddings(run, reasons)] == [results_of(run).folder]
    assert reasons == [f"{low.embeddings}: made in bf16, and the run's configuration says float32"]


def test_keys_of_before_are_of_float32(run):
    key = read_embeddings(results_of(run).embeddings).key
    stored = json.loads(json.dumps(key.stored()))
    assert stored.pop("precision") == "float32"
    assert CacheKey.of_stored(stored) == key


def test_another_process_scores_as_the_test_did(run, low):
    clips = read_embeddings(low.embeddings).query_clips
    scored = {row.file: row.anomaly_score for row in load_run(low.folder).score_clips(clips)[0]}
    assert scored == {row.file: row.anomaly_score for row in read_scores(low.scores)}
    exact = {row.file: row.anomaly_score for row in load_run(run).score_clips(clips)[0]}
    assert exact == {row.file: row.anomaly_score for row in read_scores(results_of(run).scores)}
    assert exact != scored


def test_a_detector_of_such_a_test_has_its_precision(run, low, tmp_path, monkeypatch):
    agreement = low.read_summary()["agreement"]["fan"]
    made = enrol(low.folder, tmp_path / "fan.asd", sounds=0)
    assert made.hearing_.precision == "bf16"
    assert made.machines_["fan"].agreement == pytest.approx(agreement)
    clip = read_embeddings(low.embeddings).query_clips[0]
    wanted = next(row.anomaly_score for row in read_scores(low.scores) if row.file == clip.file)
    assert made.judge([clip.path])[0].score == pytest.approx(wanted, rel=1e-3)
    with pytest.raises(UserError, match=r"--precision bf16: a run's detector has the precision of its test; first asd"):
        enrol(run, tmp_path / "x.asd", precision="bf16")
    monkeypatch.setattr("asd_lightning.detector.enrolment.agrees", lambda _: False)
    with pytest.raises(UserError, match=r"fan: in bf16 .* rank otherwise than in float32 \(rank correlation"):
        enrol(low.folder, tmp_path / "x.asd")
    assert not (tmp_path / "x.asd").exists()


def test_the_module_itself_keeps_its_weights_and_float32(run, low):
    module = load_module(run / CHECKPOINT, {"scoring_precision": "int8"})
    names = [*module.state_dict()]
    assert module.tested_embedder() is module.tested_embedder()
    assert module.tested_embedder() is not module.scored_embedder()
    assert [*module.state_dict()] == names


def test_where_it_disagrees_a_warning_names_the_number(low, warned):
    number = low.read_summary()["agreement"]["fan"]
    assert warned == [
        f"fan: in bf16 its left-out training recordings rank otherwise than in float32 (rank correlation {number:.4f}, "
        "below 0.99): so may others; asd test with model.scoring_precision=float32 tells"
    ]


def test_refusals_come_before_a_folder(run, tmp_path, monkeypatch):
    out = tmp_path / "low"
    with pytest.raises(UserError, match=r"scoring_precision=bf16 and trainer\.precision=bf16-mixed: a test has one"):
        retest(run, [BF16, "trainer.precision=bf16-mixed"], out)
    with pytest.raises(UserError, match=r"model.scoring_precision=half: choose one of float32, bf16, int8"):
        retest(run, ["model.scoring_precision=half"], out)
    monkeypatch.setattr(low_precision, "processor_features", dict)
    with pytest.raises(UserError, match=r"^bf16: this processor has neither AVX512_BF16 nor AMX.*choose float32"):
        retest(run, [BF16], out)
    assert not out.exists()


def test_what_has_nothing_to_lower_is_refused():
    with hydra_as_before():
        config = plain(compose_train(["experiment=statistics", BF16]))
    with pytest.raises(UserError, match=r"^bf16: nothing in statistics computes in it; choose float32$"):
        build_module(config["model"], [ClassLabel("fan", True)])
