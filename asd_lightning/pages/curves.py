"""The numbers behind the charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.special import ndtri
from sklearn.decomposition import PCA
from sklearn.metrics import det_curve, roc_curve

from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.scoring.embedding_cache import EmbeddingCache

BINS = 30
EXTREME = 3.0
LOWEST_RATE = 0.01
"""Error rates below are drawn here: the normal deviate of 0 is infinite."""


class Curve(NamedTuple):
    """Points of a curve, one array for each axis."""

    x: Float[ndarray, " points"]
    y: Float[ndarray, " points"]


def roc(scores: Sequence[ClipScore], domain: str) -> Curve | None:
    """False-alarm rate of one domain's normal clips against the hit rate of all anomalies, as AUC_domain has it.

    ``None`` where a condition is missing.
    """
    kept = [score for score in scores if score.condition == "anomaly" or _normal(score, domain)]
    truth = [score.condition == "anomaly" for score in kept]
    if len(set(truth)) < 2:
        return None
    false_alarms, hits, _ = roc_curve(truth, [score.anomaly_score for score in kept])
    return Curve(false_alarms, hits)


def det(scores: Sequence[ClipScore]) -> Curve | None:
    """Detection error trade-off over all clips: normal deviates of the false-alarm and the miss rate.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.  ``None`` where a
    condition is missing.
    """
    kept = [score for score in scores if score.condition != "unknown"]
    truth = [score.condition == "anomaly" for score in kept]
    if len(set(truth)) < 2:
        return None
    false_alarms, misses, _ = det_curve(truth, [score.anomaly_score for score in kept])
    return Curve(*(deviate(rate) for rate in (false_alarms, misses)))


def deviate(rate: Float[ndarray, " points"]) -> Float[ndarray, " points"]:
    """Normal deviate of a rate, cut at ``LOWEST_RATE`` from either end."""
    return np.asarray(ndtri(np.clip(rate, LOWEST_RATE, 1 - LOWEST_RATE)))


class Histogram(NamedTuple):
    """Clips per bin of each (condition, domain); ``edges`` has one more.  The last bin holds ``beyond`` further out."""

    edges: Float[ndarray, " edges"]
    counts: dict[tuple[str, str], Float[ndarray, " bins"]]
    beyond: int


def histogram(scores: Sequence[ClipScore]) -> Histogram:
    """Scores in ``BINS`` bins from the lowest to the highest score or threshold.

    One extreme score would press all others into a single bar: scores over three times what 95 % of them, or the
    threshold, stay under join the last bin.
    """
    values = np.array([score.anomaly_score for score in scores])
    thresholds = [score.threshold for score in scores if np.isfinite(score.threshold)]
    limit = EXTREME * max([float(np.percentile(values, 95)), *thresholds])
    beyond = int((values > limit).sum()) if limit > 0 else 0
    shown = np.minimum(values, limit) if beyond else values
    low, high = min([shown.min(), *thresholds]), max([shown.max(), *thresholds])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, BINS + 1)
    groups: dict[tuple[str, str], list[float]] = {}
    for score, value in zip(scores, shown.tolist(), strict=True):
        groups.setdefault((score.condition, score.domain), []).append(value)
    counts = {group: np.histogram(members, edges)[0].astype(np.float64) for group, members in groups.items()}
    return Histogram(edges, counts, beyond)


class EmbeddingMap(NamedTuple):
    """Two coordinates of every embedding given, and the share of the variance that they show."""

    points: Float[ndarray, "clips 2"]
    share: float


def embedding_map(embeddings: Float[ndarray, "clips dim"]) -> EmbeddingMap:
    """First two principal components of embeddings brought to length 1, as cosine distances see them."""
    length = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    directions = embeddings / np.maximum(length, np.finfo(np.float64).tiny)
    points = np.zeros((len(directions), 2))
    if not directions.std(axis=0).any():
        return EmbeddingMap(points, 0.0)
    components = min(2, *directions.shape)
    pca = PCA(components, svd_solver="covariance_eigh")
    points[:, :components] = pca.fit_transform(directions)
    return EmbeddingMap(points, float(pca.explained_variance_ratio_.sum()))


def machine_rows(cache: EmbeddingCache, machine: str, section: str) -> tuple[list[int], list[int]]:
    """Rows of one machine among the reference and among the query embeddings."""
    reference, query = (
        [row for row, clip in enumerate(clips) if (clip.machine, clip.section) == (machine, section)]
        for clips in (cache.reference_clips, cache.query_clips)
    )
    return reference, query


def _normal(score: ClipScore, domain: str) -> bool:
    return score.condition == "normal" and score.domain == domain
