"""Gaussian back-ends: Mahalanobis distance, and the likelihood of a Gaussian mixture."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_at_least, require_between, require_choice
from asd_lightning.scoring.contributions import Contributions, before_whitening, of_length
from asd_lightning.scoring.held_out import held_out_scores
from asd_lightning.scoring.principal_axes import principal_axes
from asd_lightning.scoring.protocol import (
    ScorerState,
    kept_array,
    query_embeddings,
    training_embeddings,
    unit_length,
)

Covariance = Literal["shared", "per_domain"]
MixtureCovariance = Literal["full", "tied", "diag", "spherical"]

# What scikit-learn's mixture scores with.
_FITTED = ("weights_", "means_", "covariances_", "precisions_cholesky_")


class _Gaussian(NamedTuple):
    mean: Float[np.ndarray, " dim"]
    whitening: Float[np.ndarray, "dim dim"]


class MahalanobisScorer:
    """The smaller of the Mahalanobis distances to the two domains.

    ``d(x) = sqrt((x - mean)^T C^-1 (x - mean))`` per domain, with ``C = (1 - shrinkage) S + shrinkage tr(S) / dim I``.
    S is the covariance of the domain, or of both domains about their own means; a domain of a single clip always takes
    the latter.  The minimum over domains is that of the DCASE baseline (Harada et al., "First-Shot Anomaly Sound
    Detection for Machine Condition Monitoring: A Domain Generalization Baseline", EUSIPCO 2023).

    Args:
        covariance: ``shared`` by the domains or ``per_domain``.
        shrinkage: from 0 (none) to 1 (Euclidean distance in units of the mean variance).
        normalize: bring embeddings to length 1 first.
        folds: ``leave_one_out_scores`` fits this many times, each without one fold of the clips.

    Raises:
        UserError: an argument outside its range.
    """

    def __init__(
        self, covariance: Covariance = "shared", shrinkage: float = 0.1, normalize: bool = True, folds: int = 10
    ) -> None:
        require_choice("covariance", covariance, Covariance)
        require_at_least("folds", folds, 2)
        if not 0 <= shrinkage <= 1:
            raise UserError(f"shrinkage={shrinkage}: must be from 0 to 1")
        self.covariance: Covariance = covariance
        self.shrinkage = shrinkage
        self.normalize = normalize
        self.folds = folds

    def fit(self, embeddings: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"]) -> MahalanobisScorer:
        """Estimate means and covariances from one machine's normal training clips.

        Raises:
            UserError: no clips, NaN or infinite values, an all-zero row where ``normalize`` is set, or a covariance
                that has no inverse.
        """
        self._training, self._is_target = training_embeddings(embeddings, is_target), is_target.copy()
        clips = unit_length(self._training, "training embeddings") if self.normalize else self._training
        domains = [clips[flags] for flags in (~is_target, is_target) if flags.any()]
        centered = [domain - domain.mean(axis=0) for domain in domains]
        own = [self.covariance == "per_domain" and len(domain) > 1 for domain in domains]
        shared = None if all(own) else self._whitening(np.concatenate(centered))
        self._gaussians = [
            _Gaussian(domain.mean(axis=0), shared if shared is not None and not alone else self._whitening(about_mean))
            for domain, about_mean, alone in zip(domains, centered, own, strict=True)
        ]
        return self

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips, 0 or more; higher is more anomalous.

        Raises:
            UserError: another embedding length than in ``fit``, NaN or infinite values, or an all-zero row where
                ``normalize`` is set.
        """
        distances = [np.linalg.norm(difference, axis=1) for difference in self._differences(embeddings)]
        return np.asarray(np.min(distances, axis=0))

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions:
        """What each dimension adds to the score of one clip: exact, below 0 for some, see `Contributions`."""
        differences = [difference[0] for difference in self._differences(embedding[None])]
        nearest = int(np.argmin([np.linalg.norm(difference) for difference in differences]))
        return Contributions(of_length(before_whitening(self._gaussians[nearest].whitening, differences[nearest])))

    def _differences(self, embeddings: Float[np.ndarray, "m dim"]) -> list[Float[np.ndarray, "m dim"]]:
        """Clips less the mean of each domain, whitened."""
        queries = query_embeddings(embeddings, len(self._gaussians[0].mean))
        queries = unit_length(queries, "embeddings to score") if self.normalize else queries
        return [(queries - one.mean) @ one.whitening for one in self._gaussians]

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by Gaussians of folds without it.

        Raises:
            UserError: there is a single clip, or a fold leaves a covariance without inverse.
        """
        return held_out_scores(self, self._training, self._is_target, self.folds)

    def state(self) -> ScorerState:
        """Mean and whitening of each domain's Gaussian."""
        names = ("covariance", "shrinkage", "normalize", "folds")
        arrays = {name: np.stack([getattr(one, name) for one in self._gaussians]) for name in _Gaussian._fields}
        return ScorerState({name: getattr(self, name) for name in names}, arrays)

    @classmethod
    def from_state(cls, state: ScorerState) -> MahalanobisScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        scorer = cls(**state.options)
        means = kept_array(state.arrays, "mean", None, None)
        whitenings = kept_array(state.arrays, "whitening", len(means), means.shape[1], means.shape[1])
        if len(means) == 0:
            raise UserError("array mean: no domain in it")
        scorer._gaussians = [_Gaussian(mean, whitening) for mean, whitening in zip(means, whitenings, strict=True)]
        return scorer

    def _whitening(self, centered: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "dim dim"]:
        """W with ``W W^T`` the inverse of the shrunk covariance of clips whose mean is 0."""
        whitening = principal_axes(centered).whitening(self.shrinkage)
        if whitening is None:
            raise UserError(
                f"the covariance of {len(centered)} clips in {centered.shape[1]} dimensions has no inverse: "
                f"raise shrinkage (now {self.shrinkage}), or look for identical clips"
            )
        return whitening


class GaussianMixtureScorer:
    """Negative log-likelihood under a Gaussian mixture, in nats; negative where the density is above 1.

    Args:
        components: Gaussians of the mixture; at most one per clip is fitted.
        covariance_type: of scikit-learn's ``GaussianMixture``.
        per_domain: one mixture for each domain and the smaller score, instead of one over all clips.
        regularization: added to the variances.  Embeddings of length 1 have a mean variance of at most 1 / dim.
        normalize: bring embeddings to length 1 first.
        folds: ``leave_one_out_scores`` fits this many times, each without one fold of the clips.
        seed: of the fit's start.

    Raises:
        UserError: an argument outside its range.
    """

    def __init__(
        self,
        components: int = 2,
        covariance_type: MixtureCovariance = "diag",
        per_domain: bool = False,
        regularization: float = 1e-4,
        normalize: bool = True,
        folds: int = 10,
        seed: int = 0,
    ) -> None:
        require_at_least("components", components, 1)
        require_at_least("folds", folds, 2)
        require_between("regularization", regularization, 0, math.inf)
        require_choice("covariance_type", covariance_type, MixtureCovariance)
        self.components = components
        self.covariance_type: MixtureCovariance = covariance_type
        self.per_domain = per_domain
        self.regularization = regularization
        self.normalize = normalize
        self.folds = folds
        self.seed = seed

    def fit(self, embeddings: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"]) -> GaussianMixtureScorer:
        """Fit the mixture to one machine's normal training clips.

        Raises:
            UserError: no clips, NaN or infinite values, or an all-zero row where ``normalize`` is set.
        """
        self._training, self._is_target = training_embeddings(embeddings, is_target), is_target.copy()
        clips = unit_length(self._training, "training embeddings") if self.normalize else self._training
        # scikit-learn multiplies out the squares, which costs digits where the mean is large.
        self._center = clips.mean(axis=0)
        domains = [~is_target, is_target] if self.per_domain else [np.ones(len(clips), dtype=bool)]
        self._mixtures = [self._mixture(clips[flags] - self._center) for flags in domains if flags.any()]
        return self

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous.

        Raises:
            UserError: another embedding length than in ``fit``, NaN or infinite values, or an all-zero row where
                ``normalize`` is set.
        """
        queries = query_embeddings(embeddings, len(self._center))
        if len(queries) == 0:
            return np.empty(0)
        queries = unit_length(queries, "embeddings to score") if self.normalize else queries
        likelihoods = [mixture.score_samples(queries - self._center) for mixture in self._mixtures]
        return np.asarray(-np.max(likelihoods, axis=0))

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by mixtures of folds without it.

        Raises:
            UserError: there is a single clip.
        """
        return held_out_scores(self, self._training, self._is_target, self.folds)

    def state(self) -> ScorerState:
        """Weights, means and covariances of each mixture, as scikit-learn has them."""
        names = ("components", "covariance_type", "per_domain", "regularization", "normalize", "folds", "seed")
        arrays = {"center": self._center}
        for number, mixture in enumerate(self._mixtures):
            arrays |= {f"{number}_{name}": getattr(mixture, name) for name in _FITTED}
        return ScorerState({name: getattr(self, name) for name in names}, arrays)

    @classmethod
    def from_state(cls, state: ScorerState) -> GaussianMixtureScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        scorer = cls(**state.options)
        scorer._center = kept_array(state.arrays, "center", None)
        count = sum(name.endswith(_FITTED[0]) for name in state.arrays)
        if count not in (1, 2):
            raise UserError(f"{count} mixtures: one, or one for each domain, is needed")
        scorer._mixtures = [scorer._kept_mixture(state, number) for number in range(count)]
        return scorer

    def _kept_mixture(self, state: ScorerState, number: int) -> Any:
        from sklearn.mixture import GaussianMixture

        weights = kept_array(state.arrays, f"{number}_weights_", None)
        components, dim = len(weights), len(self._center)
        shapes: dict[str, tuple[int, ...]] = {
            "full": (components, dim, dim),
            "tied": (dim, dim),
            "diag": (components, dim),
            "spherical": (components,),
        }
        shape = shapes[self.covariance_type]
        mixture = GaussianMixture(components, covariance_type=self.covariance_type)
        mixture.weights_ = weights
        mixture.means_ = kept_array(state.arrays, f"{number}_means_", components, dim)
        mixture.covariances_ = kept_array(state.arrays, f"{number}_covariances_", *shape)
        mixture.precisions_cholesky_ = kept_array(state.arrays, f"{number}_precisions_cholesky_", *shape)
        return mixture

    def _mixture(self, clips: Float[np.ndarray, "n dim"]) -> Any:
        from sklearn.mixture import GaussianMixture

        if len(clips) == 1:  # scikit-learn fits nothing to one clip; two of it have the same mean and no spread either
            clips = np.repeat(clips, 2, axis=0)
        return GaussianMixture(
            _different(clips, self.components),
            covariance_type=self.covariance_type,
            reg_covar=self.regularization,
            random_state=self.seed,
        ).fit(clips)


def _different(clips: Float[np.ndarray, "n dim"], most: int) -> int:
    """How many different clips there are, counted up to ``most``: the first few are, as a rule, and tell enough."""
    seen: set[bytes] = set()
    for clip in clips + 0.0:  # -0.0 becomes the 0.0 that it is equal to
        seen.add(clip.tobytes())
        if len(seen) == most:
            break
    return len(seen)
