"""Areas under the ROC curve, against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from asd_lightning.evaluation.areas import auc, partial_auc


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of both kinds some, few or many, with scores apart or alike, all different, a few values or one."""
    draw = np.random.default_rng(seed)
    clips = int(draw.integers(2, 300)) if seed % 3 else int(draw.integers(2, 8))
    is_anomaly = draw.random(clips) < draw.uniform(0.05, 0.95)
    is_anomaly[:2] = (False, True)
    score = draw.normal(size=clips) + draw.uniform(-1, 3) * is_anomaly
    return is_anomaly, score if seed % 2 else np.round(score, int(draw.integers(-1, 3)))


@pytest.mark.parametrize("most", [0.01, 0.1, 0.5])
def test_they_are_scikit_learns_to_the_last_bit(most: float) -> None:
    for seed in range(200):
        is_anomaly, score = drawn(seed)
        assert auc(is_anomaly, score) == roc_auc_score(is_anomaly, score), seed
        assert partial_auc(is_anomaly, score, most) == roc_auc_score(is_anomaly, score, max_fpr=most), seed
