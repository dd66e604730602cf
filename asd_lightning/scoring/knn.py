"""k-nearest-neighbour back-end: distance to each domain's bank, SMOTE on target, minimum over the domains."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from asd_lightning.errors import UserError
from asd_lightning.older_names import fusion_of_today
from asd_lightning.scoring.arguments import require_at_least, require_choice
from asd_lightning.scoring.bank import Bank
from asd_lightning.scoring.contributions import Contributions
from asd_lightning.scoring.heard import logger_of
from asd_lightning.scoring.neighbors import Metric
from asd_lightning.scoring.protocol import (
    ScorerState,
    kept_array,
    query_embeddings,
    training_embeddings,
    unit_length,
)
from asd_lightning.scoring.smote import Smote, oversample

Fusion = Literal["min", "pooled", "domain_z"]

NOT_STANDARDIZED = (0.0, 1.0)
SMOTE_OF_REPORT = Smote(ratio=0.2, neighbors=3)

log = logger_of(__name__)


class KNNScorer:
    """Mean distance to the k nearest training clips.

    ``d_domain(x)`` is the mean distance of x to its k nearest in that domain's bank (all of a smaller bank).  The
    target bank also holds the clips that SMOTE makes of the target clips: under the cosine metric they are interpolated
    between embeddings of length 1 and brought back to length 1.  A domain without clips is left out.

    Fusion of the two:
        ``min``: the smaller of d_source and d_target.
        ``pooled``: mean of the k smallest distances to both banks together.
        ``domain_z``: the smaller of (d - mean) / standard deviation, with each domain's mean and standard deviation
            over its own training clips, each left out of its bank.  A domain with fewer than three clips, or without
            spread, borrows the other's.

    Args:
        k: number of neighbours.
        metric: ``cosine`` (1 - cosine similarity, 0 to 2) or ``euclidean``.
        fusion: of the two domains.
        standardize: first subtract the training clips' mean and divide by their standard deviation, per dimension.
        local_density: K of local density normalisation, or ``None`` for none.  The distance to a bank item is divided
            by that item's mean distance to its own K nearest in the bank of its domain.  The method of the literature
            has one bank for both: :class:`asd_lightning.scoring.grid.GridScorer`.  SMOTE's clips crowd their bank, so
            use ``smote=None`` with it.
        smote: settings of SMOTE on the target clips, or ``None`` for none.
        seed: of SMOTE.

    Raises:
        UserError: an argument outside its range.

    >>> bank, is_target = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), np.array([False, False, True])
    >>> KNNScorer().fit(bank, is_target).anomaly_score(np.array([[2.0, 0.0], [-1.0, 0.0]])).round(2).tolist()
    [0.0, 1.0]
    """

    def __init__(
        self,
        k: int = 1,
        metric: Metric = "cosine",
        fusion: Fusion = "min",
        standardize: bool = False,
        local_density: int | None = None,
        smote: Smote | None = SMOTE_OF_REPORT,
        seed: int = 0,
    ) -> None:
        require_at_least("k", k, 1)
        if local_density is not None:
            require_at_least("local_density", local_density, 1)
        require_choice("metric", metric, Metric)
        self.fusion = fusion_of_today(fusion)
        require_choice("fusion", self.fusion, Fusion)
        self.k = k
        self.metric: Metric = metric
        self.standardize = standardize
        self.local_density = local_density
        self.smote = smote
        self.seed = seed

    def fit(self, embeddings: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"]) -> KNNScorer:
        """Fill the banks with one machine's normal training clips.  SMOTE's clips depend on the order of the target's.

        Raises:
            UserError: no clips, NaN or infinite values, or an all-zero row under the cosine metric.
        """
        embeddings = training_embeddings(embeddings, is_target)
        self._mean = embeddings.mean(axis=0) if self.standardize else np.zeros(embeddings.shape[1])
        deviation = embeddings.std(axis=0) if self.standardize else np.ones(embeddings.shape[1])
        self._deviation = np.where(deviation > 0, deviation, 1.0)
        embeddings = self._prepared(embeddings, "training embeddings")
        self._is_target = is_target.copy()
        self._source, self._target = embeddings[~is_target], embeddings[is_target]
        real = self._source if len(self._source) > 1 else self._target
        self._lonely = 1.0
        if self.local_density is not None and len(real) > 1:
            self._lonely = float(Bank(real, self.metric, self.local_density).local_distance().mean())
        self._source_bank = Bank(self._source, self.metric, self.local_density, self._lonely)
        self._target_bank = self._oversampled(self._target, say=True)
        self._statistics = [NOT_STANDARDIZED, NOT_STANDARDIZED]
        if self.fusion == "domain_z":
            self._statistics = _statistics(*self._distances_of_others())
        return self

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous.

        Raises:
            UserError: another embedding length than in ``fit``, NaN or infinite values, or an all-zero row under the
                cosine metric.
        """
        queries = self._prepared(query_embeddings(embeddings, len(self._mean)), "embeddings to score")
        return self._fused(self._source_bank.distances(queries, self.k), self._target_bank.distances(queries, self.k))

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions:
        """What each dimension adds to the score of one clip: of the domain that decides, the mean over the nearest."""
        query = self._prepared(query_embeddings(embedding[None], len(self._mean)), "embeddings to score")[0]
        near = [bank.contributions(query, self.k) for bank in (self._source_bank, self._target_bank)]
        if self.fusion == "pooled":
            both = np.concatenate(near)
            return Contributions(both[np.argsort(both.sum(axis=1), kind="stable")[: self.k]].mean(axis=0))
        known = [
            Contributions(own.mean(axis=0)).scaled(1 / deviation, -mean / deviation)
            for own, (mean, deviation) in zip(near, self._statistics, strict=True)
            if len(own)
        ]
        return min(known, key=lambda one: one.values.sum() + one.constant)

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, against banks without it.

        For a target clip SMOTE is run again without it.  What stays as fitted on all clips: the standardisation of the
        embeddings, and the two statistics of each domain of ``domain_z``.

        Raises:
            UserError: there is a single clip.
        """
        if len(self._is_target) < 2:
            raise UserError("leave-one-out scores need at least two training clips, there is one")
        others_source, others_target = self._distances_of_others()
        scores = np.empty(len(self._is_target))
        scores[~self._is_target] = self._fused(others_source, self._target_bank.distances(self._source, self.k))
        scores[self._is_target] = self._fused(self._source_bank.distances(self._target, self.k), others_target)
        return scores

    def state(self) -> ScorerState:
        """Banks with SMOTE's clips, standardisation, and the statistics of ``domain_z``."""
        arrays = {
            "mean": self._mean,
            "deviation": self._deviation,
            "source": self._source_bank.items,
            "target": self._target_bank.items,
            "statistics": np.array(self._statistics),
        }
        for name, bank in (("source", self._source_bank), ("target", self._target_bank)):
            if bank.weight is not None:
                arrays[f"{name}_weight"] = bank.weight
        names = ("k", "metric", "fusion", "standardize", "local_density", "seed")
        smote = None if self.smote is None else asdict(self.smote)
        return ScorerState({name: getattr(self, name) for name in names} | {"smote": smote}, arrays)

    @classmethod
    def from_state(cls, state: ScorerState) -> KNNScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        smote = state.options.get("smote")
        scorer = cls(**state.options | {"smote": None if smote is None else Smote(**smote)})
        arrays = state.arrays
        scorer._mean = kept_array(arrays, "mean", None)
        scorer._deviation = kept_array(arrays, "deviation", len(scorer._mean))
        banks = []
        for name in ("source", "target"):
            items = kept_array(arrays, name, None, len(scorer._mean))
            weighted = scorer.local_density is not None
            weight = kept_array(arrays, f"{name}_weight", len(items)) if weighted else None
            banks.append(Bank.of(items, scorer.metric, weight))
        scorer._source_bank, scorer._target_bank = banks
        scorer._statistics = [(float(mean), float(spread)) for mean, spread in kept_array(arrays, "statistics", 2, 2)]
        return scorer

    def _prepared(self, embeddings: Float[np.ndarray, "n dim"], name: str) -> Float[np.ndarray, "n dim"]:
        embeddings = (embeddings - self._mean) / self._deviation
        return self._of_metric(embeddings, name)

    def _of_metric(self, embeddings: Float[np.ndarray, "n dim"], name: str) -> Float[np.ndarray, "n dim"]:
        return unit_length(embeddings, name) if self.metric == "cosine" else embeddings

    def _oversampled(self, target: Float[np.ndarray, "n dim"], say: bool) -> Bank:
        """The bank of target clips and what SMOTE makes of them, and a line in the log where ``say`` is set."""
        items, note = target, "no SMOTE"
        if self.smote is not None:
            made, note = oversample(target, len(self._source), self.smote, self.seed)
            items = np.concatenate([target, self._of_metric(made, "SMOTE's clips")])
        if say:
            for domain, clips in (("source", self._source), ("target", target)):
                if len(clips) == 0:
                    log.warning("no %s clips: scored against the other domain alone", domain)
            log.info("bank of %d source and %d target items (%s)", len(self._source), len(items), note)
            if self.k > min(len(bank) for bank in (self._source, items) if len(bank)):
                log.warning("k=%d is more than a bank holds: all items of that bank are averaged", self.k)
        return Bank(items, self.metric, self.local_density, self._lonely)

    def _distances_of_others(self) -> tuple[Float[np.ndarray, "s _"], Float[np.ndarray, "t _"]]:
        """Distances of each domain's own training clips to that domain's bank without the clip."""
        target = [
            self._oversampled(np.delete(self._target, row, axis=0), say=False).distances(clip[None], self.k)
            for row, clip in enumerate(self._target)
        ]
        return self._source_bank.distances_of_others(self.k), np.concatenate(target or [np.empty((0, 0))])

    def _fused(self, *domains: Float[np.ndarray, "m _"]) -> Float[np.ndarray, " m"]:
        if self.fusion == "pooled":
            return np.asarray(np.sort(np.concatenate(domains, axis=1), axis=1)[:, : self.k].mean(axis=1))
        scores = [
            (distance.mean(axis=1) - mean) / deviation
            for distance, (mean, deviation) in zip(domains, self._statistics, strict=True)
            if distance.shape[1]
        ]
        return np.asarray(np.min(scores, axis=0))


def _statistics(*domains: Float[np.ndarray, "_ _"]) -> list[tuple[float, float]]:
    """Mean and standard deviation of each domain's left-out distances; one that has no spread takes the other's."""
    known = []
    for distance in domains:
        scores = distance.mean(axis=1) if len(distance) > 2 else np.zeros(1)
        known.append((float(scores.mean()), float(scores.std())) if np.ptp(scores) > 0 else None)
    usable = [pair for pair in known if pair is not None]
    if len(usable) < len(known):
        log.warning(
            "domain_z: a domain has fewer than three clips or no spread of distances, so it is not standardised alone"
        )
    return [pair or (usable[0] if usable else NOT_STANDARDIZED) for pair in known]
