import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from asd_lightning.evaluation.intervals import (
    bootstrap_difference,
    bootstrap_intervals,
    bootstrap_many,
    weighted_auc,
    weighted_pauc,
)
from asd_lightning.evaluation.metrics import METRICS, evaluate
from asd_lightning.scoring.clip_scores import ClipScore
from tests.evaluation.official import EVALUATOR, labeled_scores, result_rows
from tests.reference import needs_reference


def drawn_clips(
    machine: str,
    rng: np.random.Generator,
    shift: float,
    each: int = 50,
    domains: tuple[str, ...] = ("source", "target"),
) -> list[ClipScore]:
    """Gaussian scores, anomalies ``shift`` standard deviations higher."""
    clips = []
    for domain in domains:
        for condition in ("normal", "anomaly"):
            for index in range(each):
                score = float(rng.normal() + shift * (condition == "anomaly"))
                name = f"section_00_{domain}_{condition}_{index:04d}.wav"
                clips.append(ClipScore(machine, "00", name, domain, condition, "", score, math.nan, int(score > 1)))
    return clips


@pytest.mark.parametrize("decimals", [0, 1, 8], ids=["many ties", "ties", "no ties"])
def test_vectorised_auc_and_pauc_agree_with_scikit_learn(decimals: int) -> None:
    rng = np.random.default_rng(decimals)
    is_anomaly = rng.random(60) < 0.4
    anomaly_score = (rng.normal(size=60) + 0.7 * is_anomaly).round(decimals)
    count = rng.integers(0, 4, size=(40, 60))
    auc = weighted_auc(anomaly_score, is_anomaly, count)
    pauc = weighted_pauc(anomaly_score, is_anomaly, count)
    for row, auc_of_row, pauc_of_row in zip(count, auc, pauc, strict=True):
        truth, score = np.repeat(is_anomaly, row), np.repeat(anomaly_score, row)
        assert auc_of_row == pytest.approx(roc_auc_score(truth, score), abs=1e-12)
        assert pauc_of_row == pytest.approx(roc_auc_score(truth, score, max_fpr=0.1), abs=1e-12)


def test_a_resample_without_a_condition_is_undefined() -> None:
    is_anomaly = np.array([True, False])
    count = np.array([[1, 0], [0, 1], [1, 1]])
    np.testing.assert_array_equal(weighted_auc(np.array([2.0, 1.0]), is_anomaly, count), [np.nan, np.nan, 1.0])


@needs_reference(EVALUATOR)
@pytest.mark.parametrize("system", ["system_a", "system_b"])
def test_leaving_one_clip_out_gives_the_official_jackknife(system: str) -> None:
    """The evaluator prints the mean of two jackknife half-widths over the pooled clips of all machines."""
    scores = labeled_scores(system)
    anomaly_score = np.array([clip.anomaly_score for clip in scores])
    is_anomaly = np.array([clip.condition == "anomaly" for clip in scores])
    n = len(scores)
    left_out = 1 - np.eye(n, dtype=np.int64)
    widths = []
    for metric in (weighted_auc, weighted_pauc):
        replicates = metric(anomaly_score, is_anomaly, left_out)
        deviation = np.sqrt(np.sum((replicates - replicates.mean()) ** 2) / (n * (n - 1)))
        widths.append(abs(stats.t.ppf(0.025, n - 1)) * deviation)
    label, _, official = result_rows(system)[-1]
    assert label == "official score ci95"
    assert np.mean(widths) == pytest.approx(float(official), rel=1e-6)


def test_every_number_has_an_interval_around_it() -> None:
    rng = np.random.default_rng(1)
    scores = [*drawn_clips("fan", rng, 1.0, each=100), *drawn_clips("pump", rng, 0.3, each=100)]
    result = evaluate(scores)
    rows = {
        (row.machine, metric): getattr(row, metric) for row in (*result.machines, result.overall) for metric in METRICS
    }
    intervals = bootstrap_intervals(scores, resamples=300)
    assert {(interval.machine, interval.metric): interval.estimate for interval in intervals} == rows
    for interval in intervals:
        assert interval.low < interval.estimate < interval.high
        assert interval.high - interval.low < 0.5


def test_the_official_score_is_steadier_than_a_machine() -> None:
    rng = np.random.default_rng(2)
    scores = [clip for machine in "abcdef" for clip in drawn_clips(machine, rng, 1.0)]
    width = {(i.machine, i.metric): i.high - i.low for i in bootstrap_intervals(scores, resamples=300)}
    assert width["all", "hmean"] < 0.7 * width["a", "hmean"]


def test_the_seed_decides() -> None:
    scores = drawn_clips("fan", np.random.default_rng(3), 1.0)
    once, again, other = (bootstrap_intervals(scores, resamples=50, seed=seed) for seed in (0, 0, 1))
    assert once == again
    assert once != other


def test_what_is_undefined_has_an_undefined_interval() -> None:
    scores = drawn_clips("pump", np.random.default_rng(4), 1.0, domains=("source",))
    unlabeled = [clip._replace(machine="fan", condition="unknown") for clip in scores]
    intervals = {(i.machine, i.metric): i for i in bootstrap_intervals([*scores, *unlabeled], resamples=50)}
    assert {machine for machine, _ in intervals} == {"pump", "all"}
    for metric in ("auc_target", "precision_target", "recall_target", "f1_target"):
        assert all(math.isnan(value) for value in astuple(intervals["pump", metric])[3:])
        assert all(math.isnan(value) for value in astuple(intervals["all", metric])[3:])
    assert intervals["all", "hmean"].low < intervals["all", "hmean"].estimate < intervals["all", "hmean"].high


def test_unlabeled_scores_have_no_number_and_no_interval() -> None:
    clips = [clip._replace(condition="unknown") for clip in drawn_clips("fan", np.random.default_rng(5), 1.0)]
    assert all(math.isnan(interval.low) for interval in bootstrap_intervals(clips, resamples=10))


def test_the_same_system_differs_by_nothing() -> None:
    scores = drawn_clips("fan", np.random.default_rng(6), 1.0)
    for interval in bootstrap_difference(scores, scores[::-1], resamples=50):
        assert (interval.estimate, interval.low, interval.high) == (0, 0, 0)


def test_pairing_makes_the_interval_of_a_difference_narrow() -> None:
    rng = np.random.default_rng(7)
    first = drawn_clips("fan", rng, 1.0)
    second = [clip._replace(anomaly_score=clip.anomaly_score + 0.2 * rng.normal()) for clip in first]
    difference = {i.metric: i for i in bootstrap_difference(first, second, resamples=300)}["auc"]
    alone = {i.metric: i for i in bootstrap_intervals(first, resamples=300)}["auc"]
    assert difference.estimate == pytest.approx(evaluate(first).overall.auc - evaluate(second).overall.auc)
    assert difference.low <= difference.estimate <= difference.high
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)


def test_many_systems_have_the_numbers_of_single_calls() -> None:
    """Whatever the order of their clips, and where scores are tied."""
    rng = np.random.default_rng(9)
    second = [clip for machine in ("fan", "pump") for clip in drawn_clips(machine, rng, 1.0, each=8)]
    other = [clip._replace(anomaly_score=clip.anomaly_score + rng.normal()) for clip in second]
    tied = [clip._replace(anomaly_score=float(round(clip.anomaly_score))) for clip in other]
    systems = [sorted(other), other[::-1], tied]
    with ThreadPoolExecutor(2) as pool:
        for each in (map, pool.map):
            found = bootstrap_many(systems, second, 40, each=each)
            for system, (intervals, differences) in zip(systems, found, strict=True):
                assert repr(intervals) == repr(bootstrap_intervals(system, 40))
                assert repr(differences) == repr(bootstrap_difference(system, second, 40))


def test_two_systems_on_other_clips_are_refused() -> None:
    first = drawn_clips("fan", np.random.default_rng(8), 1.0, each=3)
    other_truth = [first[0]._replace(condition="anomaly"), *first[1:]]
    with pytest.raises(ValueError, match="section_00_source_normal_0000"):
        bootstrap_difference(first, other_truth)
    with pytest.raises(ValueError, match="same clips"):
        bootstrap_difference(first, first[1:])


def test_intervals_cover_the_true_value_about_as_often_as_they_say() -> None:
    """Gaussian scores one deviation apart have AUC = Phi(1 / sqrt 2); 95 % of 200 is 190 +- 3.1."""
    truth = stats.norm.cdf(1 / np.sqrt(2))
    rng = np.random.default_rng(9)
    covered = 0
    for seed in range(200):
        scores = drawn_clips("fan", rng, 1.0)
        interval = {i.metric: i for i in bootstrap_intervals(scores, 200, seed=seed) if i.machine == "fan"}[
            "auc_target"
        ]
        covered += interval.low <= truth <= interval.high
    assert 178 <= covered <= 199
