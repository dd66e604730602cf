"""Back-ends with one distribution of all normal training clips, source and target together."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from asd_lightning.scoring.arguments import require_at_least, require_between
from asd_lightning.scoring.contributions import Contributions, before_whitening, of_length
from asd_lightning.scoring.held_out import held_out_scores
from asd_lightning.scoring.preparation import Preparation
from asd_lightning.scoring.principal_axes import principal_axes
from asd_lightning.scoring.protocol import (
    FittedByRecording,
    ScorerState,
    kept_array,
    query_embeddings,
)
from asd_lightning.scoring.shared_fits import fitted_once


class LedoitWolfScorer(FittedByRecording):
    """Mahalanobis distance to the mean of one bank, with the covariance of Ledoit and Wolf.

    ``sqrt((x - mean)^T C^-1 (x - mean))``, ``C = (1 - delta) S + delta tr(S) / dim I``, delta from the clips
    themselves: see :meth:`asd_lightning.scoring.preparation.Preparation.fit`.

    Args:
        standardize: first subtract the training clips' mean and divide by their standard deviation + 0.001.
        folds: ``leave_one_out_scores`` fits this many times, each without one fold of the recordings.

    Raises:
        UserError: an argument outside its range.

    >>> clips = np.array([[0.0, 0], [1, 1], [2, 1], [3, 4], [4, 4]])
    >>> scorer = LedoitWolfScorer(standardize=False).fit(clips, np.zeros(5, bool))
    >>> scorer.anomaly_score(np.array([[1.0, 3.0]])).round(6).tolist()
    [1.797529]
    """

    def __init__(self, standardize: bool = True, folds: int = 10) -> None:
        require_at_least("folds", folds, 2)
        self.standardize = standardize
        self.folds = folds

    def _fit(self) -> None:
        self._preparation = Preparation.fit(self._training, self.standardize, whiten=True)

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips, 0 or more; higher is more anomalous.

        Raises:
            UserError: another embedding length than in ``fit``, or NaN or infinite values.
        """
        queries = query_embeddings(embeddings, len(self._preparation.mean))
        return np.asarray(np.linalg.norm(self._preparation(queries), axis=1))

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions:
        """What each dimension adds to the score of one clip: exact, below 0 for some, see `Contributions`."""
        query = query_embeddings(embedding[None], len(self._preparation.mean))
        return Contributions(of_length(before_whitening(self._preparation.whitening, self._preparation(query)[0])))

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by a covariance of folds without its recording.

        Raises:
            UserError: there is a single recording, or a fold leaves one clip.
        """
        return held_out_scores(self, self._training, self._is_target, self.folds, self._recording)

    def state(self) -> ScorerState:
        """Mean, deviation and whitening."""
        return ScorerState({"standardize": self.standardize, "folds": self.folds}, self._preparation.arrays())

    @classmethod
    def from_state(cls, state: ScorerState) -> LedoitWolfScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        scorer = cls(**state.options)
        scorer._preparation = Preparation.kept(state, whiten=True)
        return scorer


class ResidualScorer(FittedByRecording):
    """How much of a clip lies outside the directions in which the normal training clips vary most.

    The Euclidean length of what is left after the projection on the first principal components, as few as hold
    ``share`` of the variance.

    Args:
        share: of the variance, above 0 and below 1.
        standardize: first subtract the training clips' mean and divide by their standard deviation + 0.001; else the
            mean alone is subtracted.
        folds: ``leave_one_out_scores`` fits this many times, each without one fold of the recordings.

    Raises:
        UserError: an argument outside its range.

    >>> clips = np.array([[-2.0, 0], [2, 0], [0, 1], [0, -1]])
    >>> scorer = ResidualScorer(share=0.5, standardize=False).fit(clips, np.zeros(4, bool))
    >>> scorer.anomaly_score(np.array([[7.0, 0.0], [7.0, 3.0]])).tolist()
    [0.0, 3.0]
    """

    def __init__(self, share: float = 0.95, standardize: bool = True, folds: int = 10) -> None:
        require_between("share", share, 0, 1)
        require_at_least("folds", folds, 2)
        self.share = share
        self.standardize = standardize
        self.folds = folds

    def _fit(self) -> None:
        self._preparation = Preparation.fit(self._training, self.standardize, whiten=False)
        standard = self._preparation(self._training)
        # The mean of standardised clips is 0 already.
        self._center = np.zeros(standard.shape[1]) if self.standardize else standard.mean(axis=0)
        variance, direction = _directions(standard - self._center)
        held = np.cumsum(variance)
        # At least one direction; of clips that do not differ, none holds anything but rounding.
        differ = held[-1] > 0 and (self._training != self._training[0]).any()
        count = int(np.searchsorted(held, self.share * held[-1])) + 1 if differ else 0
        # A copy: the rest of the directions need not stay.
        self._components = direction[:count].copy()

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips, 0 or more; higher is more anomalous.

        Raises:
            UserError: another embedding length than in ``fit``, or NaN or infinite values.
        """
        return np.asarray(np.linalg.norm(self._left(embeddings), axis=1))

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions:
        """What each dimension adds to the score of one clip: its share of the squared length that is left."""
        return Contributions(of_length(np.square(self._left(embedding[None])[0])))

    def _left(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, "m dim"]:
        """What the components do not explain."""
        queries = query_embeddings(embeddings, len(self._center))
        centered = self._preparation(queries) - self._center
        return np.asarray(centered - centered @ self._components.T @ self._components)

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by components of folds without its recording.

        Raises:
            UserError: there is a single recording.
        """
        return held_out_scores(self, self._training, self._is_target, self.folds, self._recording)

    def state(self) -> ScorerState:
        """Mean, deviation, centre and components."""
        options = {name: getattr(self, name) for name in ("share", "standardize", "folds")}
        arrays = self._preparation.arrays() | {"center": self._center, "components": self._components}
        return ScorerState(options, arrays)

    @classmethod
    def from_state(cls, state: ScorerState) -> ResidualScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        scorer = cls(**state.options)
        scorer._preparation = Preparation.kept(state, whiten=False)
        scorer._center = kept_array(state.arrays, "center", len(scorer._preparation.mean))
        scorer._components = kept_array(state.arrays, "components", None, len(scorer._center))
        return scorer


def _directions(
    centered: Float[np.ndarray, "n dim"],
) -> tuple[Float[np.ndarray, " rank"], Float[np.ndarray, "rank dim"]]:
    """Variances (of few clips, times their number), descending, and the directions that they belong to.

    A covariance loses digits of small singular values.  Those of the directions that are kept are not small: each holds
    at least ``(1 - share) / dim`` of all variance.
    """
    if len(centered) < centered.shape[1]:
        _, length, direction = fitted_once(
            "singular values", centered, lambda: np.linalg.svd(centered, full_matrices=False)
        )
        return np.square(length), direction
    axes = principal_axes(centered)
    return np.maximum(axes.variance[::-1], 0), axes.direction.T[::-1]
