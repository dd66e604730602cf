"""k-means back-end: distance to the nearest of a few centres per domain."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_at_least, require_choice
from asd_lightning.scoring.contributions import Contributions, of_length
from asd_lightning.scoring.held_out import held_out_scores
from asd_lightning.scoring.neighbors import Metric, nearest
from asd_lightning.scoring.protocol import (
    ScorerState,
    kept_array,
    query_embeddings,
    training_embeddings,
    unit_length,
)


class KMeansScorer:
    """Distance to the nearest centre of either domain.

    Each domain's clips are replaced by the centres of k-means; a domain of no more clips than that, such as ten target
    clips, keeps its clips (Wilkinghoff, "Design Choices for Learning Embeddings from Auxiliary Tasks for Domain
    Generalization in Anomalous Sound Detection", ICASSP 2023).  Under the cosine metric clips and centres have
    length 1.

    Args:
        clusters: centres per domain.
        metric: ``cosine`` (1 - cosine similarity) or ``euclidean``.
        folds: ``leave_one_out_scores`` fits this many times, each without one fold of the clips.
        seed: of k-means.

    Raises:
        UserError: an argument outside its range.
    """

    def __init__(self, clusters: int = 16, metric: Metric = "cosine", folds: int = 10, seed: int = 0) -> None:
        require_at_least("clusters", clusters, 1)
        require_at_least("folds", folds, 2)
        require_choice("metric", metric, Metric)
        self.clusters = clusters
        self.metric: Metric = metric
        self.folds = folds
        self.seed = seed

    def fit(self, embeddings: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"]) -> KMeansScorer:
        """Find the centres of one machine's normal training clips.

        Raises:
            UserError: no clips, NaN or infinite values, or an all-zero row under the cosine metric.
        """
        self._training, self._is_target = training_embeddings(embeddings, is_target), is_target.copy()
        clips = self._of_metric(self._training, "training embeddings")
        self._centers = np.concatenate([self._centers_of(clips[~is_target]), self._centers_of(clips[is_target])])
        return self

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous.

        Raises:
            UserError: another embedding length than in ``fit``, NaN or infinite values, or an all-zero row under the
                cosine metric.
        """
        queries = query_embeddings(embeddings, self._centers.shape[1])
        return nearest(self._of_metric(queries, "embeddings to score"), self._centers, 1, self.metric)[:, 0]

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions:
        """What each dimension adds to the score of one clip."""
        query = self._of_metric(query_embeddings(embedding[None], self._centers.shape[1]), "embeddings to score")
        squares = np.square(query - self._centers)
        own = squares[int(np.argmin(squares.sum(axis=1)))]
        return Contributions(own / 2 if self.metric == "cosine" else of_length(own))

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by centres of folds without it.

        Raises:
            UserError: there is a single clip.
        """
        return held_out_scores(self, self._training, self._is_target, self.folds)

    def state(self) -> ScorerState:
        """The centres of both domains."""
        names = ("clusters", "metric", "folds", "seed")
        return ScorerState({name: getattr(self, name) for name in names}, {"centers": self._centers})

    @classmethod
    def from_state(cls, state: ScorerState) -> KMeansScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        scorer = cls(**state.options)
        scorer._centers = kept_array(state.arrays, "centers", None, None)
        if len(scorer._centers) == 0:
            raise UserError("array centers: no centre in it")
        return scorer

    def _centers_of(self, clips: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "c dim"]:
        if len(clips) <= self.clusters:
            return clips
        # Imported where something is fitted alone: it takes a second, and scoring has no use for it.
        from sklearn.cluster import KMeans

        found = KMeans(self.clusters, n_init=3, random_state=self.seed).fit(clips).cluster_centers_
        return self._of_metric(found, "k-means centres")

    def _of_metric(self, embeddings: Float[np.ndarray, "n dim"], name: str) -> Float[np.ndarray, "n dim"]:
        return unit_length(embeddings, name) if self.metric == "cosine" else embeddings
