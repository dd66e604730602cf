"""One distribution of all clips: against scikit-learn and against the formulas."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from asd_lightning.errors import UserError
from asd_lightning.scoring.gaussian import MahalanobisScorer
from asd_lightning.scoring.preparation import whitening_of
from asd_lightning.scoring.union import LedoitWolfScorer, ResidualScorer
from tests.scoring.clips import machine

CLIPS, QUERY = np.array([[0.0, 0], [1, 1], [2, 1], [3, 4], [4, 4]]), np.array([[1.0, 3.0]])
SOURCE = np.zeros(5, bool)


def by_formula(clips):
    """Covariance and delta, a clip at a time."""
    centered = clips - clips.mean(axis=0)
    n, p = centered.shape
    s = sum(np.outer(z, z) for z in centered) / n
    identity = np.trace(s) / p * np.eye(p)
    d = np.sum((s - identity) ** 2) / p
    b = (np.mean([(z @ z) ** 2 for z in centered]) - np.sum(s**2)) / (n * p)
    delta = min(b, d) / d if d > 0 else 0.0
    return (1 - delta) * s + delta * identity, delta


def test_worked_out():
    scorer = LedoitWolfScorer(standardize=False).fit(CLIPS, SOURCE)
    assert scorer.anomaly_score(QUERY)[0] == pytest.approx(1.797529, abs=1e-6)
    assert by_formula(CLIPS)[1] == pytest.approx(0.2016, abs=5e-5)
    unshrunk = MahalanobisScorer(shrinkage=0.0, normalize=False).fit(CLIPS, SOURCE)
    assert unshrunk.anomaly_score(QUERY)[0] == pytest.approx(3.479262, abs=1e-6)


@pytest.mark.parametrize("dim", [12, 90])
def test_agrees_with_the_formula_and_with_scikit_learn(dim):
    """Also with more dimensions than clips."""
    clips, is_target, queries = machine(dim=dim)
    scores = LedoitWolfScorer(standardize=False).fit(clips, is_target).anomaly_score(queries)
    inverse = np.linalg.inv(by_formula(clips)[0])
    by_hand = [np.sqrt(one @ inverse @ one) for one in queries - clips.mean(axis=0)]
    np.testing.assert_allclose(scores, by_hand, rtol=1e-7)
    np.testing.assert_allclose(scores, np.sqrt(LedoitWolf().fit(clips).mahalanobis(queries)), rtol=1e-7)
    mean, deviation = clips.mean(axis=0), clips.std(axis=0) + 1e-3
    model = LedoitWolf().fit((clips - mean) / deviation)
    standard = LedoitWolfScorer().fit(clips, is_target).anomaly_score(queries)
    np.testing.assert_allclose(standard, np.sqrt(model.mahalanobis((queries - mean) / deviation)), rtol=1e-7)


def test_a_round_cloud_is_not_shrunk():
    clips = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    np.testing.assert_allclose(whitening_of(clips) @ whitening_of(clips).T, 2 * np.eye(2), rtol=1e-12)


@pytest.mark.parametrize("make", [LedoitWolfScorer, ResidualScorer])
def test_left_out_scores_are_without_the_recording(make):
    clips, is_target, _ = machine(source=16, target=4)
    recording = np.arange(20) // 2
    left_out = make().fit_recordings(clips, is_target, recording).leave_one_out_scores()
    for number in range(10):
        own = recording == number
        alone = make().fit(clips[~own], is_target[~own]).anomaly_score(clips[own])
        np.testing.assert_allclose(left_out[own], alone, rtol=1e-9)


def test_one_clip_or_twins_have_no_covariance():
    with pytest.raises(UserError, match="a covariance needs at least two training clips"):
        LedoitWolfScorer().fit(CLIPS[:1], SOURCE[:1])
    with pytest.raises(UserError, match="the covariance of 5 clips in 2 dimensions has no inverse"):
        LedoitWolfScorer().fit(np.ones((5, 2)), SOURCE)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("dim", [12, 90])
def test_the_residual_agrees_with_scikit_learn(share, dim):
    clips, is_target, queries = machine(dim=dim)
    model = PCA(n_components=share, svd_solver="full").fit(clips)
    left = queries - model.inverse_transform(model.transform(queries))
    scores = ResidualScorer(share, standardize=False).fit(clips, is_target).anomaly_score(queries)
    np.testing.assert_allclose(scores, np.linalg.norm(left, axis=1), rtol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_the_residual_of_twins_is_the_distance_to_them(seed):
    """Their mean is rounded, and what is left of them is no direction in which they vary."""
    twin = np.random.default_rng(seed).normal(size=(1, 2))
    scorer = ResidualScorer(standardize=False).fit(np.repeat(twin, 5, axis=0), SOURCE)
    np.testing.assert_allclose(scorer.anomaly_score(QUERY), cdist(QUERY, twin)[0])


@pytest.mark.parametrize(
    ("make", "bad"),
    [(LedoitWolfScorer, {"folds": 1}), (ResidualScorer, {"folds": 1}), (ResidualScorer, {"share": 1.0})],
)
def test_bad_settings_are_named(make, bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        make(**bad)
