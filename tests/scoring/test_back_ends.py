"""What every back-end and threshold must keep, whatever it computes."""

from functools import partial

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asd_lightning.errors import UserError
from asd_lightning.scoring.centers import KMeansScorer
from asd_lightning.scoring.combined import CombinedScorer
from asd_lightning.scoring.compressed import CompressedScorer
from asd_lightning.scoring.domains import DacoScorer, DomainScorer
from asd_lightning.scoring.gaussian import GaussianMixtureScorer, MahalanobisScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.mixup import MemMixup
from asd_lightning.scoring.thresholds import ConformalThreshold, GammaThreshold, QuantileThreshold
from asd_lightning.scoring.union import LedoitWolfScorer, ResidualScorer
from tests.scoring.clips import machine

BACK_ENDS = {
    "knn": KNNScorer,
    "knn_euclidean": lambda: KNNScorer(k=3, metric="euclidean", standardize=True),
    "knn_pooled": lambda: KNNScorer(k=2, fusion="pooled"),
    "local_density": lambda: KNNScorer(local_density=1, smote=None),
    "domain_z": lambda: KNNScorer(fusion="domain_z"),
    "k_means": lambda: KMeansScorer(clusters=5),
    "k_means_euclidean": lambda: KMeansScorer(clusters=5, metric="euclidean"),
    "mahalanobis": MahalanobisScorer,
    "mahalanobis_per_domain": lambda: MahalanobisScorer("per_domain", normalize=False),
    "mixture": GaussianMixtureScorer,
    "mixture_per_domain": lambda: GaussianMixtureScorer(per_domain=True, covariance_type="full", normalize=False),
    "coupled": lambda: GridScorer("coupled", bands=4),
    "beam_varmin": lambda: GridScorer("beam", bands=2, alpha="fitted"),
    "density_ratio": lambda: GridScorer(rescale="ratio", alpha=1, neighbors=2),
    "varmin_log": lambda: GridScorer("euclidean", rescale="log", alpha="fitted", neighbors=1),
    "density_whitened": lambda: GridScorer("euclidean", rescale="log", alpha=1, standardize=True, whiten=True),
    "mem_mixup": lambda: GridScorer("euclidean", mixup=MemMixup(neighbors=20)),
    "ledoit_wolf": LedoitWolfScorer,
    "residual": ResidualScorer,
    "domain_ratio": lambda: DomainScorer(GridScorer, "domain_ratio"),
    "domain_z_beam": lambda: DomainScorer(partial(GridScorer, "beam", bands=4)),
    "daco_soft": lambda: DacoScorer(GridScorer),
    "daco_hard": lambda: DacoScorer(GridScorer, "zscore", "hard"),
    "compressed": lambda: CompressedScorer(GridScorer, 40),
    "z_min": lambda: CombinedScorer({"c": GridScorer, "b": MahalanobisScorer, "a": ResidualScorer}, "min"),
    "z_mean_of_logs": lambda: CombinedScorer(
        {"far": LedoitWolfScorer, "by": lambda: DomainScorer(GridScorer, "min")}, scale="log"
    ),
}
THRESHOLDS = {
    "gamma": GammaThreshold,
    "quantile": QuantileThreshold,
    "conformal": lambda: ConformalThreshold(0.1),
}
FITTED = {}
every_back_end = pytest.mark.parametrize("name", BACK_ENDS)


def fitted(name):
    """The back-end after ``fit``, 25 queries with each one's score when scored alone, and the leave-one-out scores."""
    if name not in FITTED:
        clips, is_target, queries = machine(dtype=np.float32)
        scorer = BACK_ENDS[name]().fit(clips, is_target)
        alone = np.array([scorer.anomaly_score(query[None])[0] for query in queries])
        FITTED[name] = scorer, queries, alone, scorer.leave_one_out_scores()
    return FITTED[name]


@every_back_end
@given(rows=st.lists(st.integers(0, 24), max_size=70))
@settings(max_examples=25, deadline=None)
def test_a_score_depends_on_no_other_test_clip(name, rows):
    """Permuted, split and with duplicates: what a clip scores alone, it scores in any company."""
    scorer, queries, alone, _ = fitted(name)
    scores = scorer.anomaly_score(queries[np.array(rows, dtype=int)])
    assert scores.shape == (len(rows),)
    np.testing.assert_allclose(scores, alone[np.array(rows, dtype=int)], rtol=0, atol=1e-6)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@every_back_end
def test_a_decision_depends_on_no_other_test_clip(name, threshold):
    scorer, queries, _, scores = fitted(name)
    _, is_target, _ = machine(dtype=np.float32)
    limit = THRESHOLDS[threshold]().fit(scores, is_target)
    scorer.anomaly_score(queries)
    if threshold == "quantile":  # scoring left no trace in the scorer
        np.testing.assert_allclose(scorer.leave_one_out_scores(), scores, rtol=0, atol=1e-9)
    order = np.random.default_rng(0).permutation(len(scores))
    assert THRESHOLDS[threshold]().fit(scores[order], is_target[order]) == pytest.approx(limit, rel=1e-6)
    assert 0.8 <= (scores <= limit).mean() <= 0.99


@every_back_end
def test_far_clips_score_above_training_clips(name):
    clips, _, _ = machine(dtype=np.float32)
    scorer, _, _, left_out = fitted(name)
    far = -10 * clips[:5]
    assert scorer.anomaly_score(far).min() > np.quantile(left_out, 0.95)


@every_back_end
def test_leave_one_out_scores_are_above_those_of_clips_in_the_bank(name):
    clips, _, _ = machine(dtype=np.float32)
    scorer, _, _, left_out = fitted(name)
    seen = scorer.anomaly_score(clips)
    assert left_out.shape == (len(clips),)
    assert left_out.mean() > seen.mean()


@every_back_end
def test_fitting_twice_gives_the_same_scores_and_keeps_the_input(name):
    clips, is_target, queries = machine(dtype=np.float32)
    kept = clips.copy()
    first = BACK_ENDS[name]().fit(clips, is_target)
    second = BACK_ENDS[name]().fit(clips, is_target)
    np.testing.assert_allclose(first.anomaly_score(queries), second.anomaly_score(queries), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(clips, kept)


@every_back_end
@pytest.mark.parametrize("domain", [False, True])
def test_one_domain_alone(name, domain):
    clips, _, queries = machine()
    scorer = BACK_ENDS[name]().fit(clips, np.full(len(clips), domain))
    assert np.isfinite(scorer.anomaly_score(queries)).all()
    assert np.isfinite(scorer.leave_one_out_scores()).all()


@every_back_end
def test_bad_embeddings_are_named(name, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    clips, is_target, queries = machine()
    scorer, _, _, _ = fitted(name)
    for value in (np.nan, np.inf):
        spoiled = clips.copy()
        spoiled[3, 1] = value
        with pytest.raises(UserError, match=r"training embeddings: 1 of 68 rows hold NaN or infinity, .* row 3"):
            BACK_ENDS[name]().fit(spoiled, is_target)
        with pytest.raises(UserError, match=r"embeddings to score: 1 of 68 rows hold NaN or infinity, .* row 3"):
            scorer.anomaly_score(spoiled)
    with pytest.raises(UserError, match="at least one clip"):
        BACK_ENDS[name]().fit(clips[:0], is_target[:0])
    with pytest.raises(UserError, match="one flag per clip"):
        BACK_ENDS[name]().fit(clips, is_target[1:])
    with pytest.raises(UserError, match="have 12 columns"):
        scorer.anomaly_score(queries[:, :5])


@pytest.mark.parametrize("name", ["knn", "k_means", "mahalanobis", "mixture", "coupled", "beam_varmin", "daco_soft"])
def test_an_all_zero_embedding_has_no_direction(name):
    _, _, queries = machine()
    queries[2] = 0
    with pytest.raises(UserError, match="row 2 is all zeros"):
        fitted(name)[0].anomaly_score(queries)


@pytest.mark.parametrize("value", [0.5, True, "2", None, [1], 1e300])
def test_numbers_that_are_none_are_refused_at_once(unchecked, value):
    """And not when the training has ended."""
    with pytest.raises(UserError, match=r"k=.*: must be a whole number"):
        KNNScorer(k=value)
    with pytest.raises(UserError, match=r"metric=.*: choose one of"):
        KNNScorer(metric=value)
    if not isinstance(value, float):
        with pytest.raises(UserError, match=r"percentile=.*: must be a number"):
            GammaThreshold(percentile=value)
