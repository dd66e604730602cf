import jaxtyping
import numpy as np
import pytest
from scipy import stats

from asd_lightning.errors import UserError
from asd_lightning.scoring.fusion import ScoreFusion


def systems():
    rng = np.random.default_rng(0)
    training = [rng.gamma(2, 0.1, 200), 50 + 10 * rng.normal(size=200), rng.integers(0, 4, 150).astype(float)]
    test = [rng.gamma(2, 0.2, 30), 60 + 10 * rng.normal(size=30), rng.integers(0, 6, 30).astype(float)]
    return training, test


@pytest.mark.parametrize(("combination", "combined"), [("mean", np.mean), ("min", np.min)])
def test_z_scores_agree_with_scipy(combination, combined):
    training, test = systems()
    expected = combined([stats.zmap(one, learnt) for one, learnt in zip(test, training, strict=True)], axis=0)
    fused = ScoreFusion("zscore", combination).fit(training).fuse(test)
    np.testing.assert_allclose(fused, expected, rtol=1e-12)


@pytest.mark.parametrize(("combination", "combined"), [("mean", np.mean), ("min", np.min)])
def test_ranks_agree_with_scipy(combination, combined):
    training, test = systems()
    expected = combined(
        [
            [stats.percentileofscore(learnt, score, kind="mean") / 100 for score in one]
            for one, learnt in zip(test, training, strict=True)
        ],
        axis=0,
    )
    np.testing.assert_allclose(ScoreFusion("rank", combination).fit(training).fuse(test), expected, rtol=1e-12)


def test_rank_is_untouched_by_a_monotone_change_of_a_system():
    training, test = systems()
    plain = ScoreFusion("rank").fit(training).fuse(test)
    bent = ScoreFusion("rank").fit([np.exp(training[0]), *training[1:]]).fuse([np.exp(test[0]), *test[1:]])
    np.testing.assert_array_equal(bent, plain)


def test_bad_input_is_named(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    training, test = systems()
    with pytest.raises(UserError, match="scale='softmax'"):
        ScoreFusion("softmax")
    with pytest.raises(UserError, match="combination='median'"):
        ScoreFusion("rank", "median")
    with pytest.raises(UserError, match="at least one system"):
        ScoreFusion().fit([])
    with pytest.raises(UserError, match="system 1: 5 training scores without spread"):
        ScoreFusion().fit([np.arange(5.0), np.ones(5)])
    with pytest.raises(UserError, match="system 0: scores must be one finite number"):
        ScoreFusion().fit([np.array([1.0, np.nan])])
    fusion = ScoreFusion().fit(training)
    with pytest.raises(UserError, match="3 systems and got 2"):
        fusion.fuse(test[:2])
    with pytest.raises(UserError, match="every system must score every clip"):
        fusion.fuse([test[0][1:], *test[1:]])
