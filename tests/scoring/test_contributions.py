"""What dimensions add to a score: they sum to it, and are those of the definitions."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from asd_lightning.scoring.combined import CombinedScorer
from asd_lightning.scoring.contributions import SummingScorer
from asd_lightning.scoring.gaussian import MahalanobisScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.union import LedoitWolfScorer, ResidualScorer
from tests.scoring.clips import machine
from tests.scoring.test_back_ends import BACK_ENDS

# Likelihoods, calibrated domains and logarithms are no sums.
NO_SUM = {
    *("mixture", "mixture_per_domain", "varmin_log", "density_whitened", "domain_ratio", "domain_z_beam"),
    *("daco_soft", "daco_hard", "z_mean_of_logs"),
}


@pytest.mark.parametrize("name", BACK_ENDS)
def test_they_sum_to_the_score(name):
    clips, is_target, queries = machine()
    scorer = BACK_ENDS[name]().fit(clips, is_target)
    for query in queries:
        found = scorer.contributions(query) if isinstance(scorer, SummingScorer) else None
        if found is None:
            assert name in NO_SUM
            return
        assert found.values.shape == query.shape
        (score,) = scorer.anomaly_score(query[None])
        assert found.values.sum() + found.constant == pytest.approx(score, rel=1e-9, abs=1e-9)
    assert name not in NO_SUM


def fitted(make):
    clips, is_target, queries = machine()
    return make().fit(clips, is_target), clips, queries[0]


def test_of_what_main_directions_leave_each_dimension_has_its_square():
    scorer, clips, query = fitted(ResidualScorer)
    standard = (clips - clips.mean(axis=0)) / (clips.std(axis=0) + 0.001)
    value, vector = np.linalg.eigh(np.cov(standard, rowvar=False))
    value, vector = value[::-1], vector[:, ::-1]
    kept = vector[:, : int(np.argmax(np.cumsum(value) >= 0.95 * value.sum())) + 1]
    there = (query - clips.mean(axis=0)) / (clips.std(axis=0) + 0.001)
    left = there - kept @ (kept.T @ there)
    np.testing.assert_allclose(scorer.contributions(query).values, left**2 / np.sqrt(left @ left), rtol=1e-6, atol=1e-9)


def test_of_a_mahalanobis_distance_each_dimension_has_its_product_with_the_precision():
    scorer, clips, query = fitted(LedoitWolfScorer)
    unit = clips.std(axis=0) + 0.001
    standard = (clips - clips.mean(axis=0)) / unit
    inverse = np.linalg.inv(ledoit_wolf(standard, assume_centered=True)[0])
    there = (query - clips.mean(axis=0)) / unit
    wanted = there * (inverse @ there) / np.sqrt(there @ inverse @ there)
    np.testing.assert_allclose(scorer.contributions(query).values, wanted, rtol=1e-7, atol=1e-9)
    # The nearest clip in the place of the mean.
    scorer, _, _ = fitted(lambda: GridScorer("euclidean", standardize=True, whiten=True))
    apart = [there - clip for clip in standard]
    near = min(apart, key=lambda one: one @ inverse @ one)
    wanted = near * (inverse @ near) / np.sqrt(near @ inverse @ near)
    np.testing.assert_allclose(scorer.contributions(query).values, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("order", ["first", "last"])
def test_of_bands_that_choose_for_themselves_each_has_its_own_distance(order):
    clips, is_target, queries = machine()
    dim = clips.shape[1] - clips.shape[1] % 2
    clips, query = clips[:, :dim], queries[0, :dim]
    found = GridScorer("beam", bands=2, band_order=order).fit(clips, is_target).contributions(query).values
    for band in range(2):
        own = slice(band * dim // 2, (band + 1) * dim // 2) if order == "first" else slice(band, dim, 2)
        unit = query[own] / np.linalg.norm(query[own])
        cosine = max(unit @ clip[own] / np.linalg.norm(clip[own]) for clip in clips)
        assert found[own].sum() == pytest.approx((1 - cosine) / 2 / 2, rel=1e-9, abs=1e-12)


def test_the_mean_over_neighbors_and_the_z_score_of_a_domain_are_sums_too():
    clips, is_target, queries = machine()
    scorer = KNNScorer(k=2, metric="euclidean", smote=None).fit(clips[~is_target], is_target[~is_target])
    distances = sorted((np.sum((queries[0] - clip) ** 2), row) for row, clip in enumerate(clips[~is_target]))[:2]
    wanted = np.mean(
        [(queries[0] - clips[~is_target][row]) ** 2 / np.sqrt(square) for square, row in distances], axis=0
    )
    np.testing.assert_allclose(scorer.contributions(queries[0]).values, wanted, rtol=1e-9)
    mixed = CombinedScorer({"a": MahalanobisScorer, "b": ResidualScorer}, "min").fit(clips, is_target)
    one = mixed.contributions(queries[0])
    assert one.values.sum() + one.constant == pytest.approx(mixed.anomaly_score(queries[:1])[0], rel=1e-9)
