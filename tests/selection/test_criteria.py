import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asd_lightning.selection.criteria import distribution_distance, pseudo_auc, separation_bound

INLIER, OUTLIER = np.array([0.1, 0.2, 0.4, 0.5]), np.array([0.3, 0.5, 0.9])


def test_golden_numbers():
    assert pseudo_auc(INLIER, OUTLIER) == pytest.approx(0.791667, abs=5e-7)
    assert separation_bound(INLIER, OUTLIER) == pytest.approx(0.449123, abs=5e-7)
    assert distribution_distance(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.5])) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_against_others(seed):
    """Rounded, so that there are ties."""
    rng = np.random.default_rng(seed)
    inlier, outlier = rng.normal(size=40).round(1), (rng.normal(size=25) + 0.5).round(1)
    truth = np.repeat([0, 1], [40, 25])
    assert pseudo_auc(inlier, outlier) == pytest.approx(roc_auc_score(truth, np.concatenate([inlier, outlier])), 1e-12)
    steps = np.concatenate([inlier, outlier])
    below = [np.mean(values[:, None] <= steps, axis=0) for values in (inlier, outlier)]
    assert distribution_distance(inlier, outlier) == pytest.approx(np.abs(below[0] - below[1]).max(), abs=1e-12)
    assert 0 < separation_bound(inlier, outlier) <= pseudo_auc(inlier, outlier)


def test_what_bounds_nothing():
    assert separation_bound(OUTLIER, INLIER) == 0.0
    assert np.isnan([pseudo_auc(INLIER, OUTLIER[:0]), separation_bound(INLIER[:0], OUTLIER)]).all()
