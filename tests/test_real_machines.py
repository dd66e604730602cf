"""Real recordings with real faults, from the files to the metrics table."""

import pytest

from asd_lightning.evaluation.metrics import read_metrics
from asd_lightning.experiment.retest import retest
from asd_lightning.experiment.train import train
from tests.experiment.runs import tiny_config
from tests.reference import needs_reference, shared_dir

pytestmark = needs_reference("machines")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machines")
    changes = ["data.clip_seconds=4.0", f"data.cache_dir={folder / 'cache'}"]
    config = tiny_config(folder, shared_dir() / "machines", "statistics", changes, updates=0)
    train(config, folder)
    (folder / ".hydra").mkdir()
    recorded = ["experiment=statistics", f"data.root={shared_dir() / 'machines'}", *changes, "data.num_workers=0"]
    (folder / ".hydra/overrides.yaml").write_text("".join(f"- {override}\n" for override in recorded))
    return folder


def pooled_auc(folder):
    return {row.machine: row.auc for row in read_metrics(folder / "metrics.csv")}


def test_log_mel_statistics_with_plain_cosine(run):
    assert pooled_auc(run / "results") == pytest.approx({"bldcmotor": 0.86, "mimii_pump": 0.60, "all": 0.71}, abs=0.02)


def test_log_mel_statistics_with_standardised_euclidean_distance(run):
    retest(run, ["model/scorer=knn_standardized", "trainer.accelerator=cpu", "~callbacks.progress"])
    assert pooled_auc(run / "results_2") == pytest.approx(
        {"bldcmotor": 0.95, "mimii_pump": 0.77, "all": 0.85}, abs=0.02
    )
