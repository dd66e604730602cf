"""Back-ends that are made of no others, from their kept state to modules: arrays and formulas, in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.exporting.neighbors import NearestOfBank, constant, directions, unit_length
from asd_lightning.scoring.matching import Matching
from asd_lightning.scoring.mixup import MemMixup, mixtures
from asd_lightning.scoring.protocol import ScorerState
from asd_lightning.scoring.rescaling import Rescaling
from asd_lightning.scoring.search import Weighing


class Prepared(nn.Module):
    """``(x - mean) / deviation``, times the whitening where there is one; of a state without any of them x itself."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.kept = nn.ParameterDict(
            {name: constant(state.arrays[name]) for name in ("mean", "deviation", "whitening") if name in state.arrays}
        )

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, "m dim"]:
        """Embeddings as they are compared."""
        if "mean" in self.kept:
            x = (x - self.kept["mean"]) / self.kept["deviation"]
        return x @ self.kept["whitening"] if "whitening" in self.kept else x


class Neighbors(nn.Module):
    """`asd_lightning.scoring.knn.KNNScorer`; of one domain's clips alone, that domain's."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.k, self.fusion = state.options["k"], state.options["fusion"]
        self.cosine = state.options["metric"] == "cosine"
        self.prepared = Prepared(state)
        known = [name for name in ("source", "target") if len(state.arrays[name])]
        rows = [("source", "target").index(name) for name in known]
        self.statistics = state.arrays["statistics"][rows].tolist()
        self.banks = nn.ModuleList(self._bank(state, name) for name in known)

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        queries = self.prepared(x)
        queries = unit_length(queries) if self.cosine else queries
        found = [bank(queries) for bank in self.banks]
        if self.fusion == "pooled":
            both = torch.cat(found, dim=1)
            return both.topk(min(self.k, both.shape[1]), dim=1, largest=False).values.mean(1)
        scores = [
            (own.mean(1) - mean) / deviation for own, (mean, deviation) in zip(found, self.statistics, strict=True)
        ]
        return lowest_of(scores)

    def _bank(self, state: ScorerState, name: str) -> NearestOfBank:
        items, weight = state.arrays[name], state.arrays.get(f"{name}_weight")
        weighing = None if weight is None else Weighing(False, weight, np.zeros(len(items)))
        return NearestOfBank(items, self.k, state.options["metric"], weighing)


class Centers(nn.Module):
    """`asd_lightning.scoring.centers.KMeansScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.cosine = state.options["metric"] == "cosine"
        self.bank = NearestOfBank(state.arrays["centers"], 1, state.options["metric"])

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        return self.bank(unit_length(x) if self.cosine else x).squeeze(1)  # type: ignore[no-any-return]


class Mahalanobis(nn.Module):
    """`asd_lightning.scoring.gaussian.MahalanobisScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.normalize = state.options["normalize"]
        self.mean, self.whitening = constant(state.arrays["mean"]), constant(state.arrays["whitening"])

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        queries = unit_length(x) if self.normalize else x
        pairs = zip(self.mean, self.whitening, strict=True)
        return lowest_of([length_of((queries - mean) @ whitening) for mean, whitening in pairs])


class Mixture(nn.Module):
    """One mixture of Gaussians, as scikit-learn keeps it: logarithm of the density."""

    def __init__(self, state: ScorerState, number: int) -> None:
        super().__init__()
        self.kind = state.options["covariance_type"]
        weights, means, precisions = (
            state.arrays[f"{number}_{name}"] for name in ("weights_", "means_", "precisions_cholesky_")
        )
        dim = means.shape[1]
        logs = _log_determinants(self.kind, precisions, dim)
        self.means, self.precisions = constant(means), constant(precisions)
        self.constant = constant(np.log(weights) + logs - dim / 2 * np.log(2 * np.pi))

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Logarithm of the density."""
        parts = [self._squares(x - mean, number) for number, mean in enumerate(self.means)]
        return (self.constant - torch.stack(parts, dim=1) / 2).logsumexp(1)

    def _squares(self, centered: Float[Tensor, "m dim"], number: int) -> Float[Tensor, " m"]:
        own = self.precisions if self.kind == "tied" else self.precisions[number]
        scaled = centered @ own if self.kind in ("full", "tied") else centered * own
        return scaled.square().sum(1)


class Mixtures(nn.Module):
    """`asd_lightning.scoring.gaussian.GaussianMixtureScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.normalize = state.options["normalize"]
        self.center = constant(state.arrays["center"])
        count = sum(name.endswith("_weights_") for name in state.arrays)
        self.mixtures = nn.ModuleList(Mixture(state, number) for number in range(count))

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        queries = (unit_length(x) if self.normalize else x) - self.center
        return lowest_of([-mixture(queries) for mixture in self.mixtures])


class Grid(nn.Module):
    """`asd_lightning.scoring.grid.GridScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        own = state.options
        self.matching = Matching(own["match"], own["bands"], own["band_order"])
        self.fusion = own["band_fusion"]
        self.prepared = Prepared(state) if own["standardize"] or own["whiten"] else nn.Identity()
        clips, is_target = state.arrays["clips"], state.arrays["is_target"] > 0
        made = mixtures(clips, is_target, None if own["mixup"] is None else MemMixup(**own["mixup"])).clips
        views = self.matching.views(np.concatenate([clips, made]), "the bank")
        rescaling = Rescaling(own["rescale"], own["alpha"], own["neighbors"], own["fewest"])
        fitted = zip(views, state.arrays["density"], state.arrays["alpha"], strict=True)
        self.banks = nn.ModuleList(
            NearestOfBank(
                view.vectors, 1, self.matching.measure, rescaling.weighing(density, float(alpha)), view.missing
            )
            for view, density, alpha in fitted
        )

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        queries = self.prepared(x)
        if self.matching.match == "euclidean":
            return self.banks[0](queries).squeeze(1)  # type: ignore[no-any-return]
        vectors, missing = directions(self._bands(queries))
        if self.matching.match == "beam":
            found = [bank(vectors[:, band], missing[:, band]) for band, bank in enumerate(self.banks)]
        else:
            joined = vectors.flatten(1) / vectors.shape[1] ** 0.5
            found = [self.banks[0](joined, missing.mean(1))]
        scores = torch.cat(found, dim=1)
        score = scores.mean(1) if self.fusion == "mean" else scores.amax(1)
        return torch.where(missing.amin(1) > 0, torch.nan, score)

    def _bands(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, "m bands _"]:
        bands = 1 if self.matching.match == "cosine" else self.matching.bands
        if self.matching.band_order == "first":
            return x.reshape(x.shape[0], bands, -1)
        return x.reshape(x.shape[0], -1, bands).transpose(1, 2)


class OneGaussian(nn.Module):
    """`asd_lightning.scoring.union.LedoitWolfScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.prepared = Prepared(state)

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        return length_of(self.prepared(x))


class Residual(nn.Module):
    """`asd_lightning.scoring.union.ResidualScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.prepared = Prepared(state)
        self.center, self.components = constant(state.arrays["center"]), constant(state.arrays["components"])

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        centered = self.prepared(x) - self.center
        return length_of(centered - centered @ self.components.T @ self.components)


SIMPLE: Mapping[str, Callable[[ScorerState], nn.Module]] = {
    "KNNScorer": Neighbors,
    "KMeansScorer": Centers,
    "MahalanobisScorer": Mahalanobis,
    "GaussianMixtureScorer": Mixtures,
    "GridScorer": Grid,
    "LedoitWolfScorer": OneGaussian,
    "ResidualScorer": Residual,
}
"""By the names that a detector's file has for back-ends."""


def lowest_of(scores: list[Tensor]) -> Float[Tensor, " m"]:
    """The smallest of several scores of each clip."""
    return torch.stack(scores, dim=1).amin(1)


def length_of(x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
    """Euclidean length of each row."""
    return x.square().sum(1).sqrt()


def _log_determinants(kind: str, precisions: Float[np.ndarray, "*shape"], dim: int) -> Float[np.ndarray, "*components"]:
    """Of the precisions' Cholesky factors; of a tied one a single number."""
    if kind == "spherical":
        return np.asarray(dim * np.log(precisions))
    diagonal = precisions if kind == "diag" else np.diagonal(precisions, axis1=-2, axis2=-1)
    return np.asarray(np.log(diagonal).sum(axis=-1))
