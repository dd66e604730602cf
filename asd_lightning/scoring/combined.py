"""Several back-ends as one, on the scale of their left-out training scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_choice
from asd_lightning.scoring.calls import fit_with, scores_of
from asd_lightning.scoring.contributions import Contributions, SummingScorer
from asd_lightning.scoring.domains import DacoScorer, DomainScorer
from asd_lightning.scoring.fusion import lowest, mean_of
from asd_lightning.scoring.held_out import left_out_scores
from asd_lightning.scoring.parts import SIMPLE, Kinds, again, checked, packed, unpacked
from asd_lightning.scoring.protocol import FittedByRecording, Scorer, ScorerState, kept_array
from asd_lightning.scoring.search import SMALLEST_DISTANCE

Combination = Literal["mean", "min"]
ScaleOf = Literal["identity", "log"]

PARTS: Kinds = {**SIMPLE, "DomainScorer": DomainScorer, "DacoScorer": DacoScorer}
"""What several back-ends may be made of."""


class CombinedScorer(FittedByRecording):
    """The mean or minimum of several back-ends' z-scores.

    The z-score of a clip by a back-end is its score minus the mean of the training clips' left-out scores, over their
    standard deviation; a back-end whose left-out scores have no spread is left out.  The minimum is Z-MIN (arXiv
    2606.19269).

    Args:
        scorers: by name; each makes an unfitted back-end.
        combination: ``mean`` or ``min``.
        scale: ``log`` takes the logarithm of every score first, for back-ends of scores above 0 with a long tail.

    Raises:
        UserError: no back-end, an unknown combination or scale, or a setting of a back-end outside its range.
    """

    part_kinds: ClassVar[Kinds] = PARTS

    def __init__(
        self,
        scorers: Mapping[str, Callable[[], Scorer]],
        combination: Combination = "mean",
        scale: ScaleOf = "identity",
    ) -> None:
        require_choice("combination", combination, Combination)
        require_choice("scale", scale, ScaleOf)
        if not scorers or any("/" in name for name in scorers):
            raise UserError("scorers: one or more back-ends by name are needed, without / in the names")
        self.combination: Combination = combination
        self.scale = scale
        self._make = {name: checked(make) for name, make in scorers.items()}

    def _fit(self) -> None:
        self.parts: dict[str, Scorer] = {}
        self._left_out: dict[str, Float[np.ndarray, " n"]] = {}
        for name, make in self._make.items():
            part = fit_with(make(), self._training, self._is_target, self._recording)
            scores = self._scaled(left_out_scores(part, make, self._training, self._is_target, self._recording))
            if np.ptp(scores) > 0:
                self.parts[name], self._left_out[name] = part, scores
        if not self.parts:
            raise UserError("the left-out training scores of no back-end have a spread: look for identical clips")
        self._z = {name: np.array([scores.mean(), scores.std()]) for name, scores in self._left_out.items()}

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous, 0 where the training clips are on average.

        Raises:
            UserError: embeddings that a back-end cannot score.
        """
        return self._fused({name: self._scaled(scores_of(part, embeddings)) for name, part in self.parts.items()})

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions | None:
        """What each dimension adds to the score of one clip; ``None`` where a part's score is no such sum."""
        found = []
        for name in sorted(self.parts):
            part, (mean, deviation) = self.parts[name], self._z[name]
            own = part.contributions(embedding) if isinstance(part, SummingScorer) else None
            if own is None or self.scale == "log":
                return None
            found.append(own.scaled(1 / deviation, -mean / deviation))
        if self.combination == "min":
            return min(found, key=lambda one: one.values.sum() + one.constant)
        values = np.mean([one.values for one in found], axis=0)
        return Contributions(values, float(np.mean([one.constant for one in found])))

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by back-ends without its recording.

        The means and deviations of the z-scores stay as fitted on all clips.
        """
        return self._fused(self._left_out)

    def state(self) -> ScorerState:
        """The back-ends' states, and mean and standard deviation of the left-out scores of each."""
        options, arrays = packed(self.parts)
        own = {"combination": self.combination, "scale": self.scale, "parts": options}
        return ScorerState(own, arrays | {f"z_{name}": z for name, z in self._z.items()})

    @classmethod
    def from_state(cls, state: ScorerState) -> CombinedScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        parts = unpacked(state.options["parts"], state.arrays, PARTS)
        makers = {name: again(part) for name, part in parts.items()}
        scorer = cls(makers, state.options["combination"], state.options["scale"])
        scorer.parts = parts
        scorer._z = {name: kept_array(state.arrays, f"z_{name}", 2) for name in parts}
        return scorer

    def _fused(self, scores: Mapping[str, Float[np.ndarray, " m"]]) -> Float[np.ndarray, " m"]:
        # In the order of the names, which a file keeps: sums are the same to the last bit.
        z = [(scores[name] - self._z[name][0]) / self._z[name][1] for name in sorted(scores)]
        return mean_of(z, [1.0] * len(z)) if self.combination == "mean" else lowest(z)

    def _scaled(self, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return np.log(np.maximum(scores, SMALLEST_DISTANCE)) if self.scale == "log" else scores
