import jaxtyping
import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import ShrunkCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize

from asd_lightning.errors import UserError
from asd_lightning.scoring.gaussian import GaussianMixtureScorer, MahalanobisScorer
from tests.scoring.clips import machine


@pytest.mark.parametrize("normalized", [False, True])
def test_covariance_per_domain_agrees_with_scikit_learn(normalized):
    clips, is_target, queries = machine()
    scores = MahalanobisScorer("per_domain", 0.3, normalized).fit(clips, is_target).anomaly_score(queries)
    if normalized:
        clips, queries = normalize(clips), normalize(queries)
    squared = [
        ShrunkCovariance(shrinkage=0.3).fit(clips[flags]).mahalanobis(queries) for flags in (is_target, ~is_target)
    ]
    np.testing.assert_allclose(scores, np.sqrt(np.min(squared, axis=0)), rtol=1e-9)


def test_shared_covariance_agrees_with_scikit_learn():
    clips, is_target, queries = machine()
    scores = MahalanobisScorer("shared", 0.0, normalize=False).fit(clips, is_target).anomaly_score(queries)
    within = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(clips, is_target)
    inverse = np.linalg.inv(within.covariance_)
    differences = queries[:, None] - within.means_
    squared = np.einsum("qmi,ij,qmj->qm", differences, inverse, differences).min(axis=1)
    np.testing.assert_allclose(scores, np.sqrt(squared), rtol=1e-8)


def test_full_shrinkage_is_the_euclidean_distance_to_the_means():
    clips, is_target, queries = machine()
    scores = MahalanobisScorer(shrinkage=1.0, normalize=False).fit(clips, is_target).anomaly_score(queries)
    means = np.stack([clips[~is_target].mean(0), clips[is_target].mean(0)])
    distance = np.linalg.norm(queries[:, None] - means, axis=2).min(axis=1)
    np.testing.assert_allclose(scores / distance, scores[0] / distance[0], rtol=1e-9)


def test_a_covariance_without_inverse_says_what_to_do():
    clips, is_target, _ = machine(target=5)
    with pytest.raises(UserError, match="covariance of 5 clips in 12 dimensions has no inverse: raise shrinkage"):
        MahalanobisScorer("per_domain", shrinkage=0.0).fit(clips, is_target)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("per_domain", [False, True])
def test_mixture_agrees_with_scikit_learn(covariance_type, per_domain):
    clips, is_target, queries = machine()
    scorer = GaussianMixtureScorer(2, covariance_type, per_domain, seed=4)
    scores = scorer.fit(clips, is_target).anomaly_score(queries)
    clips, queries = normalize(clips), normalize(queries)
    likelihoods = [
        GaussianMixture(2, covariance_type=covariance_type, reg_covar=1e-4, random_state=4)
        .fit(some)
        .score_samples(queries)
        for some in ([clips[~is_target], clips[is_target]] if per_domain else [clips])
    ]
    np.testing.assert_allclose(scores, -np.max(likelihoods, axis=0), rtol=1e-4, atol=1e-4)


def test_one_component_is_the_normal_density():
    clips, is_target, queries = machine()
    scorer = GaussianMixtureScorer(1, "full", regularization=1e-3, normalize=False).fit(clips, is_target)
    covariance = np.cov(clips.T, bias=True) + 1e-3 * np.eye(12)
    expected = -multivariate_normal(clips.mean(0), covariance).logpdf(queries)
    np.testing.assert_allclose(scorer.anomaly_score(queries), expected, rtol=1e-8)


def test_a_single_target_clip():
    clips, is_target, queries = machine(target=1)
    for scorer in (MahalanobisScorer("per_domain"), GaussianMixtureScorer(per_domain=True)):
        scorer.fit(clips, is_target)
        assert np.isfinite(scorer.anomaly_score(queries)).all()
        assert np.isfinite(scorer.leave_one_out_scores()).all()


def test_leave_one_out_is_fitting_anew_with_as_many_folds_as_clips():
    clips, is_target, _ = machine(source=20, target=4)
    scores = MahalanobisScorer(folds=99).fit(clips, is_target).leave_one_out_scores()
    for i in range(24):
        rest = np.arange(24) != i
        one = MahalanobisScorer().fit(clips[rest], is_target[rest]).anomaly_score(clips[i : i + 1])[0]
        assert scores[i] == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize(
    ("back_end", "bad"),
    [
        (MahalanobisScorer, {"covariance": "none"}),
        (MahalanobisScorer, {"shrinkage": 1.5}),
        (MahalanobisScorer, {"folds": 1}),
        (GaussianMixtureScorer, {"components": 0}),
        (GaussianMixtureScorer, {"covariance_type": "round"}),
        (GaussianMixtureScorer, {"regularization": 0.0}),
    ],
)
def test_bad_settings_are_named(back_end, bad, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=next(iter(bad))):
        back_end(**bad)


@pytest.mark.parametrize("different", [1, 2, 3, 8])
def test_a_mixture_has_no_more_components_than_there_are_different_clips(different):
    """As numpy counts them: 0 and -0 are the same."""
    own = np.random.default_rng(3).normal(size=(different, 4)) * [0, 1, 1, 1] + [0, 5, 0, 0]
    clips = np.concatenate([own, own, own * [-1, 1, 1, 1]])
    scorer = GaussianMixtureScorer(components=5, normalize=False).fit(
        clips - clips.mean(axis=0), np.zeros(len(clips), bool)
    )
    assert len(scorer.state().arrays["0_weights_"]) == min(5, len(np.unique(clips, axis=0))) == min(5, different)
