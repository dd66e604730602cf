"""The table of published results, with tiny encoders on tiny machines in the place of weights and recordings."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning.download.years import YEARS
from asd_lightning.evaluation.metrics import read_metrics

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def published(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    import published

    return published


def small(data):
    return [
        *(
            "encoders=tiny",
            "data.clip_seconds=1.0",
            f"data.cache_dir={data.parent / 'cache'}",
            "trainer.accelerator=cpu",
        ),
        *("~callbacks.progress", "~callbacks.model_summary", "logger=[]"),
    ]


def test_a_run_is_scored_over_the_sets_that_are_there_whole(published, tiny_data, tmp_path, monkeypatch):
    year = YEARS[2025]
    monkeypatch.setitem(YEARS, 2025, type(year)(**vars(year) | {"dev_machines": ("fan",), "eval_machines": ("Mill",)}))
    root, run = tmp_path / "dcase2025", tmp_path / "run"
    for name, machine in (("fan", "fan"), ("bearing", "Mill")):
        shutil.copytree(tiny_data / name, root / machine)
    system = published.SYSTEMS[0]
    measured = published.measure(system, root, run, small(tmp_path))
    rows = {row.machine: row.hmean for row in read_metrics(run / "results/metrics.csv")}
    assert measured == (pytest.approx(100 * rows["fan"]), pytest.approx(100 * rows["Mill"]), "")
    # A run that is there is read, and no training starts.
    monkeypatch.setattr(published, "train", lambda *_: pytest.fail("run again"))
    assert published.measure(system, root, run) == measured
    monkeypatch.setitem(YEARS, 2025, year)
    development, evaluation, reason = published.measure(system, root, run)
    assert math.isnan(development)
    assert math.isnan(evaluation)
    assert reason == (
        "development: no recordings or no truth of ToyCar, ToyTrain, bearing, gearbox, slider, valve; "
        "evaluation: no recordings of these machines"
    )


def test_what_is_absent_is_said_and_nothing_is_run(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASD_CACHE", str(tmp_path / "weights"))
    (tmp_path / "dcase2026").mkdir()
    monkeypatch.setattr(published, "train", lambda *_: pytest.fail("run"))
    monkeypatch.setattr(published, "REPOSITORY", tmp_path)
    words = [f"--data-{year}={tmp_path / f'dcase{year}'}" for year in (2025, 2026)]
    monkeypatch.setattr("sys.argv", ["published.py", *words, f"--runs={tmp_path / 'runs'}"])
    published.main()
    shown = capsys.readouterr().out
    rows = [line for line in shown.splitlines() if line.startswith("| 20")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[2:] for row in cells] == [
        *(["64.00", "", "62.40", ""], ["61.32", "", "62.84", ""], ["67.48", "", "66.83", ""]),
    ]
    assert "dcase2025 is not there (asd download dcase2025)" in shown
    assert shown.count("the weights beats_iter3 are not there (asd weights fetch beats_iter3)") == 2
    assert not (tmp_path / "benchmarks").exists()


def test_numbers_stand_beside_those_reported(published):
    found = [(published.SYSTEMS[0], published.Measured(63.987, math.nan, "evaluation: no recordings"))]
    made = published.table(found)
    assert made.rows[0].cells == ("2025", "rdp2603", "64.00", "63.99", "62.40", "")
    assert made.notes[1:] == ("2025 rdp2603: evaluation: no recordings.",)


def test_the_systems_are_those_reported(published):
    """BEATs as it is; bands merged of 2025, kept of 2026, with relative deviation pooling."""
    from asd_lightning.configuration import compose_train

    for system in published.SYSTEMS:
        config = compose_train([*system.overrides, "name=x"])
        branch = config.model.embedder.branches.beats
        assert (branch.encoder.weights, config.trainer.max_steps) == (published.WEIGHTS, 0)
        assert branch.pooling.bands == ("merge" if system.year == 2025 else "keep")
        scorer = config.model.scorer
        assert (scorer.match, scorer.alpha, scorer.neighbors) == (
            ("euclidean", "fitted", 1) if system.year == 2025 else ("beam", "fitted", 4)
        )
        expected = "reduced_per_clip" if "reduced" in system.name else 0
        assert config.data.channel == expected
