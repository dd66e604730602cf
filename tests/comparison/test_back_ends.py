import dataclasses
import re
from functools import partial

import numpy as np
import pytest
from scipy import spatial
from threadpoolctl import threadpool_info, threadpool_limits

from asd_lightning.comparison import back_ends
from asd_lightning.comparison.back_ends import (
    BASELINE,
    OWN,
    Source,
    choose_back_ends,
    instantiated,
    known_back_ends,
    load_threshold,
    sweep,
)
from asd_lightning.errors import UserError
from asd_lightning.evaluation.intervals import bootstrap_difference
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.scoring import principal_axes
from asd_lightning.scoring.centers import KMeansScorer
from asd_lightning.scoring.machines import score_machines
from asd_lightning.scoring.shared_fits import shared_fits
from asd_lightning.scoring.thresholds import ConformalThreshold, GammaThreshold, QuantileThreshold
from asd_lightning.trust import read_part
from tests.scoring.runs import make_cache, make_clips


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    return make_cache([clip for machine in ("fan", "pump") for clip in make_clips(data, machine)])


@pytest.fixture(scope="module")
def swept(cache):
    return {one.name: one for one in sweep([Source(OWN, cache)], known_back_ends(), GammaThreshold(), resamples=50)}


def test_there_are_twenty_back_ends_and_each_scores_every_clip(swept, cache):
    assert len(swept) >= 20
    assert [name for name, one in swept.items() if one.failure] == []
    assert {len(one.scores) for one in swept.values()} == {len(cache.query)}


def test_every_back_end_is_another_one(swept):
    """No configuration is a copy of another; LDN leaves the order of two pooled banks of their own density alone."""
    scores = {name: tuple(score.anomaly_score for score in one.scores) for name, one in swept.items()}
    alike = {frozenset((a, b)) for a in scores for b in scores if a < b and scores[a] == scores[b]}
    assert alike <= {frozenset(("knn_no_smote", "knn_pooled")), frozenset(("ldn_per_domain", "ldn_pooled"))}


def test_a_back_end_scores_as_it_does_alone(swept, cache):
    """k-means by hand: one machine at a time, as the method says."""
    for machine in ("fan", "pump"):
        rows = [row for row, clip in enumerate(cache.reference_clips) if clip.machine == machine]
        is_target = np.array([cache.reference_clips[row].domain == "target" for row in rows])
        scorer = KMeansScorer(16).fit(cache.reference[rows], is_target)
        queries = [row for row, clip in enumerate(cache.query_clips) if clip.machine == machine]
        found = [score.anomaly_score for score in swept["kmeans"].scores if score.machine == machine]
        np.testing.assert_allclose(found, scorer.anomaly_score(cache.query[queries]), rtol=1e-12)


def test_machines_by_themselves_score_as_all_at_once(swept, cache):
    clips = [*cache.reference_clips, *cache.query_clips]
    ids = np.split(np.arange(len(clips)), [len(cache.reference)])
    for name, path in known_back_ends().items():
        make = instantiated(read_part(path, "model", 0))
        together = score_machines(clips, (ids[0], cache.reference), (ids[1], cache.query), make, GammaThreshold())
        assert list(swept[name].scores) == together


def test_what_back_ends_share_is_fitted_once_where_memory_holds_one_machine(cache, monkeypatch):
    fits = []

    def counted(*arguments):
        fits.append(1)
        return found(*arguments)

    found = principal_axes._found
    monkeypatch.setattr(principal_axes, "_found", counted)
    # Of one machine of two: axes, whitening and whitened clips of the whole and of ten folds, and left-out scores.
    dim, clips = cache.reference.shape[1], len(cache.reference) // 2
    one_machine = (11 * (3 * dim + 2 * dim**2) + 10 * clips * dim + 4 * clips) * 8
    monkeypatch.setattr(back_ends, "shared_fits", partial(shared_fits, one_machine))
    list(
        sweep(
            [Source(OWN, cache)], choose_back_ends("knn_whitened,ldn_whitened,residual"), GammaThreshold(), resamples=2
        )
    )
    assert len(fits) == 2 * 11


def test_estimates_are_the_official_ones_and_differences_are_paired(swept):
    one, baseline = swept["mahalanobis"], swept[BASELINE]
    official = next(row for row in one.intervals if (row.machine, row.metric) == ("all", "hmean"))
    assert official.estimate == evaluate(one.scores).official_score
    assert list(one.differences) == bootstrap_difference(one.scores, baseline.scores, 50)
    assert baseline.differences == ()


def test_a_back_end_that_fails_is_named_and_the_others_go_on(cache):
    zero = cache.query.copy()
    zero[0] = 0
    spoiled = dataclasses.replace(cache, query=zero)
    cosine, euclidean = sweep(
        [Source(OWN, spoiled)], choose_back_ends("knn,knn_euclidean"), GammaThreshold(), resamples=20
    )
    assert "all zeros" in cosine.failure
    assert cosine.scores == cosine.intervals == ()
    assert len(euclidean.scores) == len(cache.query)
    assert euclidean.differences == ()


def test_a_threshold_that_cannot_be_kept_leaves_scores_without_decisions(cache, caplog):
    (one,) = sweep([Source(OWN, cache)], choose_back_ends("knn"), ConformalThreshold(0.001), resamples=20)
    assert "no decisions: false_alarm_rate=0.001 cannot be promised" in caplog.text
    assert {score.decision for score in one.scores} == {None}
    values = {(row.machine, row.metric): row.estimate for row in one.intervals}
    assert np.isfinite(values["all", "hmean"])
    assert np.isnan(values["all", "f1_source"])


def test_bands_are_those_of_the_source(cache):
    """A vector of 4 bands one behind the other; the back-end's file says 8."""
    for name in ("beam", "coupled"):
        (four,) = sweep([Source("mean", cache, bands=4)], choose_back_ends(name), GammaThreshold(), resamples=10)
        rows = [row for row, clip in enumerate(cache.reference_clips) if clip.machine == "fan"]
        bank = cache.reference[rows].astype(np.float64).reshape(len(rows), 4, -1)
        fusion = (np.min, np.mean) if name == "beam" else (np.mean, np.min)
        queries = [row for row, clip in enumerate(cache.query_clips) if clip.machine == "fan"]
        expected = []
        for query in cache.query[queries].astype(np.float64).reshape(len(queries), 4, -1):
            distance = [[spatial.distance.cosine(a, b) / 2 for a, b in zip(query, clip, strict=True)] for clip in bank]
            expected.append(fusion[1](fusion[0](distance, axis=0 if name == "beam" else 1)))
        found = [score.anomaly_score for score in four.scores if score.machine == "fan"]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_clips_of_one_recording_are_left_out_together(cache):
    """The threshold of a pooling stands among scores without the clip's recording, as that of a run does."""
    number = {}
    grouped = tuple(
        dataclasses.replace(clip, recording=f"{clip.machine}{clip.domain}{number.setdefault(clip, len(number)) // 4}")
        for clip in cache.reference_clips
    )
    groups = dataclasses.replace(cache, reference_clips=grouped)
    clips, recordings = (
        sweep([Source("mean", one, 4)], choose_back_ends("knn_no_smote,beam"), QuantileThreshold(), resamples=10)
        for one in (cache, groups)
    )
    rows = [row for row, clip in enumerate(grouped) if clip.machine == "pump"]
    bank = cache.reference[rows].astype(np.float64)
    own = np.array([grouped[row].recording for row in rows])
    distance = 1 - bank @ bank.T / np.outer(*[np.linalg.norm(bank, axis=1)] * 2)
    distance[own[:, None] == own] = np.inf
    expected = np.percentile(distance.min(axis=1), 90)
    (threshold,) = {score.threshold for score in recordings[0].scores if score.machine == "pump"}
    assert threshold == pytest.approx(expected)
    for one, other in zip(clips, recordings, strict=True):
        assert one.scores[0].anomaly_score == other.scores[0].anomaly_score
        assert one.scores[0].threshold != other.scores[0].threshold


def test_choices():
    assert next(iter(choose_back_ends("all"))) == BASELINE
    assert list(choose_back_ends("ldn, knn,ldn")) == ["ldn", "knn"]
    with pytest.raises(
        UserError, match=r"unknown knm \(did you mean knn\?\); choose all, or from knn, beam.*--config-dir"
    ):
        choose_back_ends("knn,knm")
    with pytest.raises(UserError, match=r"unknown \(none named\)"):
        choose_back_ends("")


class Mean:
    """A back-end of one's own, with the mistake that its argument names."""

    def __init__(self, mistake):
        self.mistake = mistake
        if mistake == "made":
            raise ValueError("no such setting")

    def fit(self, embeddings, is_target):
        if self.mistake == "raises":
            raise ZeroDivisionError("in my code")
        self.bank = embeddings
        return None if self.mistake == "no self" else self

    def anomaly_score(self, embeddings):
        scores = np.linalg.norm(embeddings - self.bank.mean(0), axis=1)
        if self.mistake == "nan":
            scores[0] = np.nan
        return scores[:, None] if self.mistake == "column" else scores

    def leave_one_out_scores(self):
        return self.anomaly_score(self.bank)[(self.mistake == "too few") :]


class WithoutLeftOut:
    def __init__(self, mistake):
        pass

    fit = anomaly_score = Mean.fit


@pytest.mark.parametrize(
    ("mistake", "why"),
    [
        ("", ""),
        ("made", r"Mean\.__init__ has failed with ValueError: no such setting"),
        ("raises", r"Mean\.fit has failed with ZeroDivisionError: in my code"),
        ("no self", r"Mean\.fit gives NoneType, .*return self"),
        ("nan", r"Mean\.leave_one_out_scores gives NaN or infinity for 1 of \d+ clips"),
        ("column", r"Mean\.leave_one_out_scores gives shape \(\d+, 1\), .* is needed, shape \(\d+,\)"),
        ("too few", r"Mean\.leave_one_out_scores gives shape"),
        ("method", r"WithoutLeftOut has no leave_one_out_scores, which every back-end needs"),
    ],
)
def test_a_mistake_in_a_back_end_of_ones_own_is_named_and_the_others_go_on(mistake, why, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("ASD_TRUST", "tests")
    name = "WithoutLeftOut" if mistake == "method" else "Mean"
    own = tmp_path / "own.yaml"
    own.write_text(f"_target_: {__name__}.{name}\n_partial_: true\nmistake: {mistake!r}\n")
    both = {"own": own, "knn": known_back_ends()["knn"]}
    mine, knn = sweep([Source(OWN, cache)], both, GammaThreshold(), resamples=20)
    assert knn.scores
    assert bool(mine.scores) == (not why)
    assert re.search(why, mine.failure)
    assert not why or mine.failure.startswith(f"fan: back-end {__name__}.")


def test_a_back_end_that_cannot_be_imported_is_named_and_the_others_go_on(cache, tmp_path, monkeypatch):
    """A folder of one's own vouches for what it names, which need not be there."""
    own = tmp_path / "model/scorer/own.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("_target_: nowhere_to_be_found.Mean\n_partial_: true\n")
    monkeypatch.setenv("ASD_CONFIG_DIR", str(tmp_path))
    both = {"own": own, "knn": known_back_ends()["knn"]}
    mine, knn = sweep([Source(OWN, cache)], both, GammaThreshold(), resamples=20)
    assert knn.scores
    assert re.search(r"own\.yaml: .*nowhere_to_be_found", mine.failure)


def test_thresholds_by_name():
    assert isinstance(load_threshold("gamma"), GammaThreshold)
    assert isinstance(load_threshold("conformal"), ConformalThreshold)
    assert isinstance(load_threshold("quantile"), QuantileThreshold)
    with pytest.raises(UserError, match="choose from conformal, gamma, quantile"):
        load_threshold("best")


def test_side_by_side_they_score_as_one_after_another_and_libraries_have_their_threads_again(cache, swept):
    chosen = choose_back_ends("knn,kmeans,knn_whitened,ldn_whitened,whitened_pair,mahalanobis,gmm,residual,mem_mixup")

    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    with threadpool_limits(3):
        before = threads()
        together = sweep([Source(OWN, cache)], chosen, GammaThreshold(), resamples=50)
        assert threads() == before == {3}
    assert together == [swept[name] for name in chosen]


def test_warnings_of_one_back_end_are_heard_while_another_leaves_clips_out(cache, caplog):
    """Each warns by itself of what all have: no decisions for two machines."""
    names = "knn,kmeans,mahalanobis,gmm,residual"
    with threadpool_limits(5):
        sweep([Source(OWN, cache)], choose_back_ends(names), ConformalThreshold(0.001), resamples=20)
    assert len([line for line in caplog.messages if "no decisions: false_alarm_rate=0.001" in line]) == 5 * 2


def test_a_mistake_in_a_program_ends_the_sweep(cache):
    def spoiled(scores):
        raise RuntimeError("no truth")

    with pytest.raises(RuntimeError, match="no truth"):
        sweep([Source(OWN, cache)], choose_back_ends("knn,knn_5"), GammaThreshold(), label=spoiled)
