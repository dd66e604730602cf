"""Paired differences over seeds against scipy."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import hmean, ttest_rel
from sklearn.metrics import roc_auc_score

from asd_lightning.comparison.over_seeds import PairedDifference, _paired_t_test, paired_differences, resample_runs
from asd_lightning.comparison.systems import Run, compare_runs
from asd_lightning.comparison.tables import hmean_table, metrics_table, write_comparison_tables
from asd_lightning.evaluation.intervals import _draws, resampled
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.scoring.clip_scores import ClipScore, read_scores
from tests.comparison.runs import finished_run, shifted


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
    differences = list(paired_differences(comparison.systems, resample_runs(comparison.systems)))
    write_comparison_tables(comparison, folder / "out", differences)
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
    for name in ("p_value", "low", "high"):
        assert [repr(float(row[name])) for row in written] == [repr(getattr(row, name)) for row in differences]


def test_intervals_over_clips_by_a_slow_loop(tmp_path: Path) -> None:
    """Of the official score of two seeds: each resample evaluated by scikit-learn, clip by clip."""
    for seed in (1, 2):
        finished_run(tmp_path / f"a{seed}", "one", seed)
        shifted(tmp_path / f"b{seed}", "two", seed, 0.3)
    systems = compare_runs([tmp_path]).systems
    scores = {run.folder: sorted(read_scores(run.results.scores)) for each in systems for run in each.finished}
    count = 15
    found = {run: resampled(clips, count) for run, clips in scores.items()}
    rows = {(row.machine, row.metric): row for row in paired_differences(systems, found)}
    drawn = []
    for number in range(count):
        of_seeds = []
        for one, two in zip(*(system.finished for system in systems), strict=True):
            first, second = (official_score(scores[run.folder], number, count) for run in (one, two))
            of_seeds.append(second - first)
        drawn.append(np.mean(of_seeds))
    row = rows[ALL, "hmean"]
    np.testing.assert_allclose([row.low, row.high], np.quantile(drawn, [0.025, 0.975]), atol=1e-12)
    assert row.low < row.difference < row.high


def official_score(clips: list[ClipScore], number: int, count: int) -> float:
    """Of one resample, whose draws are those that single systems' intervals have."""
    values = []
    for draw in _draws(clips, count, 0).values():
        own = [clips[index] for index in draw.clips]
        often = draw.often[number]
        truth = np.array([clip.condition == "anomaly" for clip in own])
        score = np.array([clip.anomaly_score for clip in own])
        for domain in ("source", "target"):
            taken = often * np.array([clip.domain == domain or clip.condition == "anomaly" for clip in own])
            values.append(roc_auc_score(np.repeat(truth, taken), np.repeat(score, taken)))
        values.append(roc_auc_score(np.repeat(truth, often), np.repeat(score, often), max_fpr=0.1))
    return float(hmean(values))


def test_without_scores_or_of_other_clips_there_is_no_interval(tmp_path: Path) -> None:
    finished_run(tmp_path / "a", "one", 1)
    finished_run(tmp_path / "b", "two", 1, draw=1)
    finished_run(tmp_path / "c", "three", 1, machines=("fan",))
    (tmp_path / "b/results/scores.csv").unlink()
    systems = compare_runs([tmp_path]).systems
    rows = list(paired_differences(systems, resample_runs(systems)))
    assert rows
    assert all(math.isnan(row.low) and math.isnan(row.high) for row in rows)
    assert not any(row.within_noise for row in rows)
    assert all(row.clear is None for row in rows)


def test_what_is_within_noise_of_the_best_is_named(tmp_path: Path) -> None:
    shifted(tmp_path / "a", "best", 1, 1.0)
    shifted(tmp_path / "b", "near", 1, 0.99)
    finished_run(tmp_path / "c", "far", 1)
    comparison = compare_runs([tmp_path])
    differences = list(paired_differences(comparison.systems, resample_runs(comparison.systems)))
    notes = hmean_table(comparison, differences).notes
    (told,) = (note for note in notes if note.startswith("near against the highest official score, best"))
    (row,) = (row for row in differences if (*row[:2], *row[2:4]) == ("near", "best", ALL, "hmean"))
    assert told == (
        "near against the highest official score, best: "
        f"{100 * row.difference:+.2f} points ({100 * row.low:+.2f} to "
        f"{100 * row.high:+.2f} over clips): within noise over clips, "
        "and 1 seed is too few to tell of another training."
    )
    assert [note.partition(" against")[0] for note in notes if "clear over clips" in note] == ["far"]
    assert told in metrics_table(comparison, differences).notes
    one = row._replace(low=0.01, high=0.02, p_value=0.2, seeds=3)
    assert one.within_noise
    assert not one._replace(p_value=0.01).within_noise
    assert not one._replace(p_value=math.nan).within_noise
    assert one._replace(p_value=0.01, low=-0.01).within_noise
    assert [one.clear, one._replace(p_value=0.01).clear, one._replace(seeds=2).clear] == [False, True, True]
    # Seeds alone can tell, too, and two of them cannot.
    unseen = one._replace(p_value=0.01, low=math.nan, high=math.nan)
    assert [unseen.clear, unseen._replace(seeds=2).clear] == [True, None]


def test_identical_scores_are_called_identical_and_are_exactly_0_apart(tmp_path: Path) -> None:
    for name in ("one", "same"):
        for seed in (1, 2, 3):
            finished_run(tmp_path / f"{name}{seed}", name, seed)
    comparison = compare_runs([tmp_path])
    differences = list(paired_differences(comparison.systems, resample_runs(comparison.systems)))
    assert {value for row in differences for value in (row.difference, row.standard_deviation, row.low, row.high)} == {
        0
    }
    assert (
        "same against the highest official score, one: identical scores." in hmean_table(comparison, differences).notes
    )


def test_which_seeds_are_compared_is_told_where_the_table_is_over_more(folder: Path) -> None:
    def told() -> str:
        comparison = compare_runs([folder])
        return " ".join(hmean_table(comparison, list(paired_differences(comparison.systems))).notes)

    assert ", over seeds 2, 3: " in told()
    assert "Both are scores of means over seeds" in told()
    shifted(folder / "c", "best", 2, 3.0)
    assert "one against the highest official score, best, over seed 2 alone: -" in told()
    shutil.rmtree(folder / "c")
    shifted(folder / "d", "best", 9, 3.0)
    assert (
        "one against the highest official score, best: no seed or not the same machines in common, so not compared."
        in told()
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("apart", [[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [0.1, 0.1 + 1e-16, 0.1], [1e-31, -1e-31, 0.0]])
def test_differences_that_are_alike_are_not_tested(apart: list[float]) -> None:
    mean, deviation, p_value = _paired_t_test(apart)
    assert (mean, deviation) == (pytest.approx(np.mean(apart), abs=1e-15), 0)
    assert mean == 0 or abs(mean) > 0.05
    assert math.isnan(p_value)


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_t_test_of_two_seeds_calls_nothing_noise(tmp_path: Path, seeds: int) -> None:
    """Differences of 10 to 24 points: p is 0.26 of two, and the interval over clips decides alone."""
    apart = [0.10, 0.24, 0.0][:seeds]
    p_value = ttest_rel(apart, np.zeros(seeds)).pvalue
    assert p_value > 0.2
    far = PairedDifference("b", "a", ALL, "hmean", seeds, float(np.mean(apart)), 0.1, float(p_value), 0.08, 0.25)
    assert far.within_noise == (seeds == 3)
    assert far._replace(low=-0.01).within_noise
    finished_run(tmp_path / "a", "a", 1)
    shifted(tmp_path / "b", "b", 1, 1.0)
    comparison = compare_runs([tmp_path])
    (told,) = (
        note
        for note in hmean_table(comparison, [far._replace(low=-0.01)]).notes
        if note.startswith("a against the highest official score, b")
    )
    assert ("2 seeds are too few to tell" if seeds == 2 else f"p = {p_value:.2g} over 3 seeds") in told
