"""The grid of nearest-neighbour back-ends with one bank: how to compare, and how to rescale what is compared."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_at_least, require_choice
from asd_lightning.scoring.contributions import Contributions, before_whitening
from asd_lightning.scoring.heard import logger_of
from asd_lightning.scoring.held_out import held_out_scores
from asd_lightning.scoring.matching import BandOrder, Match, Matching
from asd_lightning.scoring.mixup import MemMixup, Mixtures, mixtures
from asd_lightning.scoring.preparation import Preparation
from asd_lightning.scoring.protocol import (
    FittedByRecording,
    ScorerState,
    kept_array,
    query_embeddings,
)
from asd_lightning.scoring.rescaling import Alpha, DensityBank, Form, Rescaling, say_of_bank
from asd_lightning.scoring.search import Kin, View
from asd_lightning.scoring.shared_fits import fitted_once

BandFusion = Literal["mean", "max"]

log = logger_of(__name__)


class GridScorer(FittedByRecording):
    """Lowest rescaled distance to one bank of all normal training clips, source and target together.

    The cosine distance here is ``(1 - cosine) / 2``, from 0 to 1, as in the literature of these methods: half of what
    ``KNNScorer`` calls it.

    Densities and alpha compare clips of different recordings alone: else they would measure how much the windows of a
    recording overlap.

    Args:
        match: ``cosine`` or ``euclidean`` distance of whole embeddings, ``coupled`` or ``beam``: see
            :class:`asd_lightning.scoring.matching.Matching`.  ``beam`` (arXiv 2603.13749) looks for the nearest clip of
            each band and takes the mean of their distances.
        bands: of frequency that the embedding holds; for ``coupled`` and ``beam``.
        band_order: ``first`` for embeddings of bands x dim, ``last`` for dim x bands.
        band_fusion: ``mean`` or ``max`` over the bands of ``beam``.
        rescale: ``identity``, ``log`` or ``ratio``: see :mod:`asd_lightning.scoring.rescaling`.
        alpha: a number from 0, or ``fitted``: then one for each band.
        neighbors: K of the local densities.
        fewest: recordings that a fitted alpha needs; with fewer it is 0.
        standardize: first subtract the training clips' mean and divide by their standard deviation + 0.001.
        whiten: bring the covariance to the unit matrix first, shrunk by Ledoit and Wolf's rule.
        mixup: settings of mixtures of target and source clips that are added to the bank, or ``None`` for none.  They
            crowd it, so no density is taken then.
        folds: where something is fitted to all clips before they are compared, ``leave_one_out_scores`` fits this many
            times, each without one fold of the recordings.

    Raises:
        UserError: an argument outside its range, or a density with ``mixup``.

    Each band finds its own clip: the two bands of this query are those of different training clips.

    >>> bank = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    >>> query, is_target = np.array([[1.0, 0.0, 0.0, 1.0]]), np.array([False, True])
    >>> for match in ("beam", "coupled"):
    ...     print(GridScorer(match, bands=2).fit(bank, is_target).anomaly_score(query).round(9).tolist())
    [0.0]
    [0.25]
    """

    def __init__(  # noqa: PLR0913 - the switches of the grid
        self,
        match: Match = "cosine",
        bands: int = 1,
        band_order: BandOrder = "first",
        band_fusion: BandFusion = "mean",
        rescale: Form = "identity",
        alpha: Alpha = 0.0,
        neighbors: int = 4,
        fewest: int = 20,
        standardize: bool = False,
        whiten: bool = False,
        mixup: MemMixup | None = None,
        folds: int = 10,
    ) -> None:
        require_choice("band_fusion", band_fusion, BandFusion)
        require_at_least("folds", folds, 2)
        self.matching = Matching(match, bands, band_order)
        self.rescaling = Rescaling(rescale, alpha, neighbors, fewest)
        if mixup is not None and not self.rescaling.is_plain:
            raise UserError("mixup with alpha above 0: mixtures crowd the bank, so a local density means nothing there")
        self.band_fusion: BandFusion = band_fusion
        self.standardize = standardize
        self.whiten = whiten
        self.mixup = mixup
        self.folds = folds

    def _fit(self) -> None:
        say_of_bank(self.rescaling, int(self._recording.max()) + 1, len(self._training))
        self._preparation = Preparation.fit(self._training, self.standardize, self.whiten)
        self._clips = self._prepared_training()
        made = mixtures(self._clips, self._is_target, self.mixup)
        own = np.repeat(np.arange(len(self._clips))[:, None], 2, axis=1)
        self._parents = np.concatenate([own, made.parents])
        views = self._views(made)
        self._say_of_silence(views)
        self._banks = [DensityBank.fit(view, self.matching.measure, self.rescaling, self._recording) for view in views]

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous.  Below 0 where a difference or a logarithm is.

        Raises:
            UserError: another embedding length than in ``fit``, NaN or infinite values, or a clip without direction
                where there are cosines.
        """
        queries = self._prepared(query_embeddings(embeddings, len(self._preparation.mean)))
        return self._fused(self.matching.views(queries, "embeddings to score"), None)

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions | None:
        """What each dimension adds to the score of one clip; ``None`` where distances are compared as logarithms."""
        dim = len(self._preparation.mean)
        query = self._prepared(query_embeddings(embedding[None], dim))
        views = self.matching.views(query, "embeddings to score")
        found = []
        for bank, view, places in zip(self._banks, views, self.matching.places(dim), strict=True):
            one = bank.contributions(view, partial(self._squares, places))
            if one is None:
                return None
            found.append(one)
        if self.band_fusion == "max":
            return max(found, key=lambda one: one.values.sum() + one.constant)
        values = np.mean([one.values for one in found], axis=0)
        return Contributions(values, float(np.mean([one.constant for one in found])))

    def _squares(
        self, places: Int[np.ndarray, " part"], difference: Float[np.ndarray, " part"]
    ) -> Float[np.ndarray, " dim"]:
        """What each dimension of an embedding adds to a difference between views."""
        whole = np.zeros(len(self._preparation.mean))
        whole[places] = difference
        return before_whitening(self._preparation.whitening, whole)

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, against the bank without its recording.

        Mixtures made of the recording are left out too.  Densities and alpha stay as fitted on all clips; the
        standardisation and the covariance do not: they are fitted anew without each fold.

        Raises:
            UserError: there is a single recording.
        """
        if self._recording.max() == 0:
            raise UserError("leave-one-out scores need at least two training clips, there is one")
        if self.standardize or self.whiten:
            return held_out_scores(self, self._training, self._is_target, self.folds, self._recording)
        kin = Kin(self._recording, self._recording[self._parents])
        return self._fused(self.matching.views(self._clips, "training embeddings"), kin)

    def state(self) -> ScorerState:
        """The prepared clips, their densities, and alpha of each band."""
        options = {**asdict(self.matching), **asdict(self.rescaling)}
        options["rescale"] = options.pop("form")
        options |= {name: getattr(self, name) for name in ("band_fusion", "standardize", "whiten", "folds")}
        options["mixup"] = None if self.mixup is None else asdict(self.mixup)
        arrays = self._preparation.arrays() | {
            "clips": self._clips,
            "is_target": self._is_target.astype(np.float64),
            "density": np.stack([bank.density for bank in self._banks]),
            "alpha": np.array([bank.alpha for bank in self._banks]),
        }
        return ScorerState(options, arrays)

    @classmethod
    def from_state(cls, state: ScorerState) -> GridScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        mixup = state.options.get("mixup")
        scorer = cls(**state.options | {"mixup": None if mixup is None else MemMixup(**mixup)})
        scorer._preparation = Preparation.kept(state, scorer.whiten)
        scorer._clips = kept_array(state.arrays, "clips", None, len(scorer._preparation.mean))
        if len(scorer._clips) == 0:
            raise UserError("array clips: no clip in it")
        scorer._is_target = kept_array(state.arrays, "is_target", len(scorer._clips)) > 0
        views = scorer._views(mixtures(scorer._clips, scorer._is_target, scorer.mixup))
        density = kept_array(state.arrays, "density", len(views), len(views[0].vectors))
        alpha = kept_array(state.arrays, "alpha", len(views))
        measure = scorer.matching.measure
        scorer._banks = [
            DensityBank(view, measure, scorer.rescaling, one, float(slope))
            for view, one, slope in zip(views, density, alpha, strict=True)
        ]
        return scorer

    def _prepared(self, embeddings: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "n dim"]:
        # No copy where there is nothing to do: kept bands are large.
        return self._preparation(embeddings) if self.standardize or self.whiten else embeddings

    def _prepared_training(self) -> Float[np.ndarray, "n dim"]:
        if not self.whiten:
            return self._prepared(self._training)
        what = f"whitened clips, standardize={self.standardize}"
        return fitted_once(what, self._training, lambda: (self._prepared(self._training),))[0]

    def _views(self, made: Mixtures) -> list[View]:
        """Of the bank: the training clips, then what is mixed of them."""
        items = np.concatenate([self._clips, made.clips]) if len(made.clips) else self._clips
        return self.matching.views(items, "training embeddings")

    def _fused(self, views: list[View], kin: Kin | None) -> Float[np.ndarray, " m"]:
        scores = [bank.score(view, kin) for bank, view in zip(self._banks, views, strict=True)]
        return np.asarray(np.mean(scores, axis=0) if self.band_fusion == "mean" else np.max(scores, axis=0))

    def _say_of_silence(self, views: list[View]) -> None:
        silent = sum(int((view.missing > 0).sum()) for view in views)
        if silent:
            log.warning("%d bands of training clips are all zeros: their cosine to everything counts as 0", silent)
