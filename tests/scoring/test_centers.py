import jaxtyping
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances
from sklearn.preprocessing import normalize

from asd_lightning.errors import UserError
from asd_lightning.scoring.centers import KMeansScorer
from tests.scoring.clips import machine


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_agrees_with_scikit_learn(metric):
    clips, is_target, queries = machine(target=12)
    scores = KMeansScorer(clusters=10, metric=metric, seed=3).fit(clips, is_target).anomaly_score(queries)
    on_sphere = normalize(clips) if metric == "cosine" else clips
    centers = [
        KMeans(10, n_init=3, random_state=3).fit(on_sphere[flags]).cluster_centers_ for flags in (~is_target, is_target)
    ]
    np.testing.assert_allclose(scores, pairwise_distances(queries, np.concatenate(centers), metric).min(1), rtol=1e-6)


def test_few_target_clips_are_kept():
    clips, is_target, _ = machine(target=8)
    scorer = KMeansScorer(clusters=8).fit(clips, is_target)
    scores = scorer.anomaly_score(clips)
    np.testing.assert_allclose(scores[is_target], 0, atol=1e-15)
    assert scores[~is_target].min() > 0


def test_leave_one_out_is_fitting_anew_with_as_many_folds_as_clips():
    clips, is_target, _ = machine(source=20, target=4)
    scores = KMeansScorer(clusters=4, folds=24).fit(clips, is_target).leave_one_out_scores()
    for i in range(24):
        rest = np.arange(24) != i
        one = KMeansScorer(clusters=4).fit(clips[rest], is_target[rest]).anomaly_score(clips[i : i + 1])[0]
        assert scores[i] == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("bad", [{"clusters": 0}, {"metric": "manhattan"}, {"folds": 1}])
def test_bad_settings_are_named(bad, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=next(iter(bad))):
        KMeansScorer(**bad)
