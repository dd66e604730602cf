"""Back-ends made of back-ends, from their kept state to modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from asd_lightning.errors import UserError
from asd_lightning.exporting.back_ends import SIMPLE, lowest_of
from asd_lightning.exporting.neighbors import constant
from asd_lightning.scoring.calibration import SMALLEST_DEVIATION, SMALLEST_TAIL
from asd_lightning.scoring.domains import DOMAINS
from asd_lightning.scoring.protocol import ScorerState
from asd_lightning.scoring.search import SMALLEST_DISTANCE


def back_end(kind: str, state: ScorerState) -> nn.Module:
    """A fitted back-end as a module: float64 embeddings (batch, dim) -> anomaly scores (batch).

    Args:
        kind: its class's name.
        state: as its ``state()`` gives it.

    Raises:
        UserError: of a kind that is not among those which can be exported.

    >>> from asd_lightning.scoring.union import ResidualScorer
    >>> clips = np.array([[-2.0, 0], [2, 0], [0, 1], [0, -1]])
    >>> scorer = ResidualScorer(share=0.5, standardize=False).fit(clips, np.zeros(4, bool))
    >>> back_end("ResidualScorer", scorer.state())(torch.tensor([[7.0, 3.0]], dtype=torch.float64)).tolist()
    [3.0]
    """
    kinds = {**SIMPLE, **_OF_OTHERS}
    if kind not in kinds:
        raise UserError(f"the back-end {kind:.60} cannot be exported; {', '.join(kinds)} can")
    return kinds[kind](state)


class Parts(nn.Module):
    """The back-ends that a state holds: their scores by name."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.names = list(state.options["parts"])
        self.of_name = nn.ModuleList(self._part(state, name) for name in self.names)

    def forward(self, x: Float[Tensor, "m dim"]) -> dict[str, Tensor]:
        """Anomaly scores of each."""
        return {name: module(x) for name, module in zip(self.names, self.of_name, strict=True)}

    @staticmethod
    def _part(state: ScorerState, name: str) -> nn.Module:
        told, prefix = state.options["parts"][name], f"{name}/"
        own = {key.removeprefix(prefix): array for key, array in state.arrays.items() if key.startswith(prefix)}
        return back_end(told["scorer"], ScorerState(told["options"], own))


class Smaller(nn.Module):
    """`asd_lightning.scoring.compressed.CompressedScorer`: a back-end that is fitted to fewer clips."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.parts = Parts(state)

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        return self.parts(x)["bank"]  # type: ignore[no-any-return]


class NearerDomain(nn.Module):
    """`asd_lightning.scoring.domains.DomainScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.parts = Parts(state)
        self.scale = dict(zip(DOMAINS, state.arrays["scale"].tolist(), strict=True))

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        pairs = [(score, *self.scale[name]) for name, score in self.parts(x).items()]
        return lowest_of([(score - middle) / unit for score, middle, unit in pairs])


class BothDomains(nn.Module):
    """`asd_lightning.scoring.domains.DacoScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.parts = Parts(state)
        self.weights = state.options["weights"]
        self.median = float(state.arrays["median"][0])
        kind = state.options["calibration"]
        self.maps = nn.ModuleDict({name: Map(kind, state.arrays[f"{name}_scores"]) for name in DOMAINS})

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        scores = self.parts(x)
        known = [name for name in DOMAINS if name in scores]
        calibrated = torch.stack([self.maps[name](scores["union"]) for name in known], dim=1)
        near = torch.stack([scores[name] for name in known], dim=1)
        return (self._shares(near) * calibrated).sum(1)

    def _shares(self, near: Float[Tensor, "m domains"]) -> Float[Tensor, "m domains"]:
        if self.weights == "soft":
            return (-near / self.median).softmax(1)
        # The first of equals, which is the source.
        first = near <= near.amin(1, keepdim=True)
        return (first & (first.long().cumsum(1) == 1)).to(near.dtype)


class Map(nn.Module):
    """`asd_lightning.scoring.calibration.Map`."""

    def __init__(self, calibration: str, scores: Float[np.ndarray, " n"]) -> None:
        super().__init__()
        self.calibration = calibration
        self.mean, self.deviation = float(scores.mean()), float(scores.std()) + SMALLEST_DEVIATION
        self.median, self.largest = float(np.median(scores)), float(scores.max())
        self.knots = constant(np.append(min(0.0, scores.min()), np.sort(scores)))

    def forward(self, scores: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Scores on the common scale."""
        if self.calibration == "zscore":
            return (scores - self.mean) / self.deviation
        return scores / self.median if self.calibration == "ratio" else self._share_below(scores)

    def _share_below(self, scores: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        count = len(self.knots) - 1
        # Number of the knot at or below each score; below the first there is none, and the first stands in.
        below = ((scores[:, None] >= self.knots).long().sum(1) - 1).clamp(0, count - 1)
        low, high = self.knots[below], self.knots[below + 1]
        step = torch.where(high > low, (scores - low) / (high - low), 0.0).clamp(0, 1)
        within = (below + step) / (count + 1)
        beyond = (scores - self.largest).clamp(min=0)
        tail = max(self.largest - self.median, SMALLEST_TAIL)
        top = count / (count + 1)
        return torch.where(scores >= self.largest, top + (1 - top) * beyond / (beyond + tail), within)


class Together(nn.Module):
    """`asd_lightning.scoring.combined.CombinedScorer`."""

    def __init__(self, state: ScorerState) -> None:
        super().__init__()
        self.parts = Parts(state)
        self.mean_of_all, self.log = state.options["combination"] == "mean", state.options["scale"] == "log"
        self.scale = {name: state.arrays[f"z_{name}"].tolist() for name in self.parts.names}

    def forward(self, x: Float[Tensor, "m dim"]) -> Float[Tensor, " m"]:
        """Anomaly scores."""
        z = [(self._scaled(score) - self.scale[name][0]) / self.scale[name][1] for name, score in self.parts(x).items()]
        return torch.stack(z, dim=1).mean(1) if self.mean_of_all else lowest_of(z)

    def _scaled(self, score: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        return score.clamp(min=SMALLEST_DISTANCE).log() if self.log else score


_OF_OTHERS: Mapping[str, Callable[[ScorerState], nn.Module]] = {
    "DomainScorer": NearerDomain,
    "DacoScorer": BothDomains,
    "CombinedScorer": Together,
    "CompressedScorer": Smaller,
}
