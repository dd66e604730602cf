import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import auc

from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.pages.curves import BINS, det, embedding_map, histogram, roc
from asd_lightning.scoring.clip_scores import ClipScore
from tests.comparison.runs import development_clips, evaluation_clips


@pytest.fixture
def clips():
    return development_clips("fan", seed=3, each=40)


@pytest.mark.parametrize("domain", ["source", "target"])
def test_the_area_under_the_drawn_roc_is_the_official_auc(clips, domain):
    (row,) = evaluate(clips).machines
    assert auc(*roc(clips, domain)) == pytest.approx(getattr(row, f"auc_{domain}"), abs=1e-12)


def test_det_is_both_error_rates_at_every_threshold(clips):
    normal = np.array([clip.anomaly_score for clip in clips if clip.condition == "normal"])
    anomaly = np.array([clip.anomaly_score for clip in clips if clip.condition == "anomaly"])
    x, y = det(clips)
    expected = {((normal >= limit).mean(), (anomaly < limit).mean()) for limit in np.concatenate([normal, anomaly])}
    for false_alarms, misses in zip(norm.cdf(x), norm.cdf(y), strict=True):
        assert any(
            abs(false_alarms - np.clip(a, 0.01, 0.99)) < 1e-9 and abs(misses - np.clip(b, 0.01, 0.99)) < 1e-9
            for a, b in expected
        )
    assert len(x) > 20


def test_without_both_conditions_there_is_no_curve(clips):
    normal = [clip for clip in clips if clip.condition == "normal"]
    assert roc(normal, "source") is None
    assert det(normal) is None
    assert roc(evaluation_clips("fan", 0), "source") is None


def test_the_histogram_holds_every_clip_and_the_threshold(clips):
    far = [clip._replace(threshold=9.0) for clip in clips]
    found = histogram(far)
    assert sum(counts.sum() for counts in found.counts.values()) == len(clips)
    assert {group: counts.sum() for group, counts in found.counts.items()} == {
        (condition, domain): 40 for condition in ("normal", "anomaly") for domain in ("source", "target")
    }
    assert found.edges[-1] == 9.0
    assert len(found.edges) == BINS + 1


def test_one_extreme_score_does_not_press_the_others_together(clips):
    assert histogram(clips).beyond == 0
    found = histogram([clips[0]._replace(anomaly_score=1e6), *clips[1:]])
    assert found.beyond == 1
    assert found.edges[-1] < 20
    assert found.counts[clips[0].condition, clips[0].domain][-1] == 1
    assert sum(counts.sum() for counts in found.counts.values()) == len(clips)


def test_the_histogram_of_one_value_and_no_threshold():
    clip = ClipScore("fan", "00", "a.wav", "source", "normal", "", 0.5, float("nan"), 0)
    assert histogram([clip] * 3).counts["normal", "source"].sum() == 3


def test_the_map_is_the_plane_of_largest_variance():
    rng = np.random.default_rng(0)
    directions = np.eye(5)[0] + rng.normal(size=(200, 5)) * [0, 0.5, 0.3, 0.01, 0.01]
    embeddings = directions * rng.uniform(0.1, 10, size=(200, 1))  # lengths do not matter
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    _, singular, axes = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    expected = (unit - unit.mean(axis=0)) @ axes[:2].T
    found = embedding_map(embeddings)
    np.testing.assert_allclose(np.abs(found.points), np.abs(expected), atol=1e-8)
    assert found.share == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())


@pytest.mark.parametrize("shape", [(1, 4), (3, 1), (2, 2)])
def test_a_map_of_next_to_nothing(shape):
    found = embedding_map(np.ones(shape, dtype=np.float32))
    assert found.points.shape == (shape[0], 2)
    assert np.isfinite(found.points).all()
    assert 0 <= found.share <= 1
