"""Paired differences over seeds against scipy."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel

from asd_lightning.comparison.over_seeds import paired_differences
from asd_lightning.comparison.systems import Run, compare_runs
from asd_lightning.comparison.tables import write_comparison_tables
from tests.comparison.runs import finished_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two systems; seeds 1 to 4 of one, 2 to 5 of the other, and seed 4 of that twice."""
    for seed in (1, 2, 3, 4):
        finished_run(tmp_path / f"a{seed}", "one", seed)
    for number, seed in enumerate((2, 3, 4, 4, 5)):
        finished_run(tmp_path / f"b{number}", "two", seed, draw=1 + number)
    return tmp_path


def of_seeds(runs: tuple[Run, ...], seeds: tuple[int, ...], key: tuple[str, str]) -> list[float]:
    return [run.values[key] for seed in seeds for run in runs if run.seed == seed]


def test_a_paired_t_test_over_the_seeds_that_both_have_once(folder: Path) -> None:
    one, two = compare_runs([folder]).systems
    rows = {(row.machine, row.metric): row for row in paired_differences([one, two])}
    assert {row.seeds for row in rows.values()} == {2}
    for key, row in rows.items():
        first, second = (of_seeds(system.finished, (2, 3), key) for system in (two, one))
        difference = np.subtract(first, second)
        assert row.difference == pytest.approx(difference.mean(), abs=1e-15)
        assert row.standard_deviation == pytest.approx(difference.std(ddof=1), abs=1e-15)
        if row.standard_deviation > 0:
            assert row.p_value == pytest.approx(ttest_rel(first, second).pvalue, rel=1e-9)
        else:
            assert math.isnan(row.p_value)


def test_means_over_other_machines_do_not_compare(tmp_path: Path) -> None:
    for seed in (1, 2):
        finished_run(tmp_path / f"a{seed}", "one", seed)
        finished_run(tmp_path / f"b{seed}", "two", seed, machines=("fan",), draw=1)
    rows = list(paired_differences(compare_runs([tmp_path]).systems))
    assert {row.machine for row in rows} == {"fan"}


def test_the_values_of_each_run_and_the_differences_are_written(folder: Path) -> None:
    comparison = compare_runs([folder])
    write_comparison_tables(comparison, folder / "out")
    with (folder / "out/comparison_seeds.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    runs = {str(run.folder): run for system in comparison.systems for run in system.finished}
    assert len(rows) == sum(len(run.values) for run in runs.values())
    for row in rows:
        value = runs[row["run"]].values[row["machine"], row["metric"]]
        assert repr(float(row["value"])) == repr(value)
        assert row["seed"] == str(runs[row["run"]].seed)
    with (folder / "out/comparison_differences.csv").open(newline="") as lines:
        written = list(csv.DictReader(lines))
    assert [repr(float(row["p_value"])) for row in written] == [
        repr(row.p_value) for row in paired_differences(comparison.systems)
    ]
