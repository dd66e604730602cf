"""A back-end for each domain, on one scale: the nearer domain decides, or both calibrate one score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_choice
from asd_lightning.scoring.calibration import Calibration, Map
from asd_lightning.scoring.calls import fit_with, scores_of
from asd_lightning.scoring.heard import logger_of
from asd_lightning.scoring.held_out import left_out_scores, scores_without_group
from asd_lightning.scoring.parts import SIMPLE, Kinds, again, checked, packed, unpacked
from asd_lightning.scoring.protocol import FittedByRecording, Scorer, ScorerState, kept_array

DomainFusion = Literal["min", "domain_z", "domain_ratio"]
Weights = Literal["soft", "hard"]
DOMAINS = ("source", "target")

FEWEST = 3
"""A domain with fewer left-out scores borrows the other's scale."""

log = logger_of(__name__)

Parts = Mapping[str, Scorer]
T = TypeVar("T")
Scores = Float[np.ndarray, "m 2"]
"""Of source and target, in this order; inf for a domain without clips."""


class DomainScorer(FittedByRecording):
    """The smaller of the scores by the two domains' back-ends, each on the scale of its own training clips.

    ``domain_z`` subtracts the mean of the domain's left-out scores and divides by their standard deviation,
    ``domain_ratio`` divides by their median, ``min`` does neither.  A domain with fewer than three left-out scores, or
    without spread, borrows the other's numbers.

    Args:
        scorer: makes an unfitted back-end of one bank.
        fusion: of the two.

    Raises:
        UserError: an unknown fusion, or a setting of the back-end outside its range.
    """

    part_kinds: ClassVar[Kinds] = SIMPLE

    def __init__(self, scorer: Callable[[], Scorer], fusion: DomainFusion = "domain_z") -> None:
        require_choice("fusion", fusion, DomainFusion)
        self.fusion = fusion
        self._make = checked(scorer)

    def _fit(self) -> None:
        self.parts: Parts = _fitted_by_domain(self._make, self._training, self._is_target, self._recording)
        self._own = _own_left_out(self.parts, self._make, self._training, self._is_target, self._recording)
        self._scale = np.tile([0.0, 1.0], (2, 1))
        if self.fusion != "min":
            of = _z if self.fusion == "domain_z" else _ratio
            self._scale = np.array(
                _borrowed([of(self._own[self._is_target == flag]) for flag in (False, True)], (0.0, 1.0))
            )

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous.

        Raises:
            UserError: embeddings that a domain's back-end cannot score.
        """
        return self._fused(_by_domain(self.parts, embeddings))

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by back-ends without its recording.

        The two domains' scales stay as fitted on all clips.

        Raises:
            UserError: there is a single recording.
        """
        _require_two(self._recording)
        if _crosses(self._recording, self._is_target):
            remade = partial(DomainScorer, self._make, self.fusion)
            return scores_without_group(remade, self._training, self._is_target, self._recording)
        scores = _by_domain(self.parts, self._training)
        scores[np.arange(len(scores)), self._is_target.astype(int)] = self._own
        return self._fused(scores)

    def state(self) -> ScorerState:
        """The back-ends' states and the two scales."""
        options, arrays = packed(self.parts)
        return ScorerState({"fusion": self.fusion, "parts": options}, arrays | {"scale": self._scale})

    @classmethod
    def from_state(cls, state: ScorerState) -> DomainScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        parts = unpacked(state.options["parts"], state.arrays, SIMPLE)
        _require_domains(parts)
        scorer = cls(again(next(iter(parts.values()))), state.options["fusion"])
        scorer.parts = parts
        scorer._scale = kept_array(state.arrays, "scale", 2, 2)
        return scorer

    def _fused(self, scores: Scores) -> Float[np.ndarray, " m"]:
        return np.asarray(((scores - self._scale[:, 0]) / self._scale[:, 1]).min(axis=1))


class DacoScorer(FittedByRecording):
    """One score over both domains, calibrated by each domain and weighed by how near the domains are.

    ``w_s g_s(score) + w_t g_t(score)``: g of a domain is a map fitted to its clips' left-out scores (see
    :class:`asd_lightning.scoring.calibration.Map`).  ``soft`` weights are a softmax over the domains of minus the score
    by the domain's own back-end, in units of the median of all left-out scores; ``hard`` ones are 1 for the lower of
    the two, the source where they are equal (DACo, arXiv 2607.04526).

    Args:
        scorer: makes an unfitted back-end of one bank, whose scores are positive.
        calibration: ``zscore``, ``ratio`` or ``conformal``.
        weights: ``soft`` or ``hard``.

    Raises:
        UserError: an unknown calibration or weights, or a setting of the back-end outside its range.
    """

    part_kinds: ClassVar[Kinds] = SIMPLE

    def __init__(
        self, scorer: Callable[[], Scorer], calibration: Calibration = "conformal", weights: Weights = "soft"
    ) -> None:
        require_choice("calibration", calibration, Calibration)
        require_choice("weights", weights, Weights)
        self.calibration: Calibration = calibration
        self.weights = weights
        self._make = checked(scorer)

    def _fit(self) -> None:
        _require_two(self._recording)
        union = fit_with(self._make(), self._training, self._is_target, self._recording)
        domains = _fitted_by_domain(self._make, self._training, self._is_target, self._recording)
        self.parts: Parts = {"union": union, **domains}
        self._left_out = left_out_scores(union, self._make, self._training, self._is_target, self._recording)
        self._median = _positive_median(self._left_out)
        own = [self._left_out[self._is_target == flag] for flag in (False, True)]
        known = [Map.fit(self.calibration, scores) if len(scores) >= FEWEST else None for scores in own]
        self._maps = _borrowed(known, Map.fit(self.calibration, self._left_out))

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous.

        Raises:
            UserError: embeddings that a back-end cannot score.
        """
        return self._calibrated(scores_of(self.parts["union"], embeddings), _by_domain(self.parts, embeddings))

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``, by back-ends without its recording.

        The domains' maps stay as fitted on all clips.
        """
        if _crosses(self._recording, self._is_target):
            remade = partial(DacoScorer, self._make, self.calibration, self.weights)
            return scores_without_group(remade, self._training, self._is_target, self._recording)
        near = _by_domain(self.parts, self._training)
        own = _own_left_out(self.parts, self._make, self._training, self._is_target, self._recording)
        near[np.arange(len(near)), self._is_target.astype(int)] = own
        return self._calibrated(self._left_out, near)

    def state(self) -> ScorerState:
        """The back-ends' states, the two maps' numbers, and the median of all left-out scores."""
        options, arrays = packed(self.parts)
        for domain, one in zip(DOMAINS, self._maps, strict=True):
            arrays[f"{domain}_scores"] = one.scores
        own = {"calibration": self.calibration, "weights": self.weights, "parts": options}
        return ScorerState(own, arrays | {"median": np.array([self._median])})

    @classmethod
    def from_state(cls, state: ScorerState) -> DacoScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        parts = dict(unpacked(state.options["parts"], state.arrays, SIMPLE))
        union = parts.pop("union", None)
        if union is None:
            raise UserError("the back-end of both domains is missing")
        _require_domains(parts)
        scorer = cls(again(union), state.options["calibration"], state.options["weights"])
        scorer.parts = {"union": union, **parts}
        own = [kept_array(state.arrays, f"{domain}_scores", None) for domain in DOMAINS]
        scorer._maps = [Map.fit(scorer.calibration, scores) for scores in own]
        scorer._median = _positive_median(kept_array(state.arrays, "median", 1))
        return scorer

    def _calibrated(self, scores: Float[np.ndarray, " m"], near: Scores) -> Float[np.ndarray, " m"]:
        calibrated = np.stack([one(scores) for one in self._maps], axis=1)
        return np.asarray((domain_weights(near, self._median, self.weights) * calibrated).sum(axis=1))


def domain_weights(near: Scores, median: float, weights: Weights) -> Scores:
    """How much each domain has a say, summing to 1: more for the one that is nearer.

    >>> domain_weights(np.array([[0.35, 0.6]]), 0.4, "soft").round(3).tolist()
    [[0.651, 0.349]]
    >>> domain_weights(np.array([[0.5, 0.5]]), 0.4, "hard").tolist()
    [[1.0, 0.0]]
    """
    if weights == "hard":
        return np.asarray(np.eye(2)[np.argmin(near, axis=1)])
    share = np.exp((near.min(axis=1, keepdims=True) - near) / median)
    return np.asarray(share / share.sum(axis=1, keepdims=True))


def _fitted_by_domain(
    make: Callable[[], Scorer],
    embeddings: Float[np.ndarray, "n dim"],
    is_target: Bool[np.ndarray, " n"],
    recording: Int[np.ndarray, " n"],
) -> dict[str, Scorer]:
    parts = {}
    for domain, flags in zip(DOMAINS, (~is_target, is_target), strict=True):
        if flags.any():
            parts[domain] = fit_with(make(), embeddings[flags], is_target[flags], recording[flags])
        else:
            log.warning("no %s clips: scored against the other domain alone", domain)
    return parts


def _by_domain(parts: Parts, embeddings: Float[np.ndarray, "m dim"]) -> Scores:
    scores = np.full((len(embeddings), 2), np.inf)
    for column, domain in enumerate(DOMAINS):
        if domain in parts:
            scores[:, column] = scores_of(parts[domain], embeddings)
    return scores


def _own_left_out(
    parts: Parts,
    make: Callable[[], Scorer],
    embeddings: Float[np.ndarray, "n dim"],
    is_target: Bool[np.ndarray, " n"],
    recording: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Score of each clip by its own domain without its recording; inf where that leaves none."""
    scores = np.full(len(embeddings), np.inf)
    for domain, flags in zip(DOMAINS, (~is_target, is_target), strict=True):
        number = np.unique(recording[flags], return_inverse=True)[1]
        if number.max(initial=0) > 0:
            scores[flags] = left_out_scores(parts[domain], make, embeddings[flags], is_target[flags], number)
    return scores


def _z(scores: Float[np.ndarray, " n"]) -> tuple[float, float] | None:
    if len(scores) < FEWEST or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return None
    return float(scores.mean()), float(scores.std())


def _ratio(scores: Float[np.ndarray, " n"]) -> tuple[float, float] | None:
    if len(scores) < FEWEST or not np.isfinite(scores).all() or np.ptp(scores) == 0:
        return None
    return 0.0, _positive_median(scores)


def _positive_median(scores: Float[np.ndarray, " n"]) -> float:
    median = float(np.median(scores))
    if not median > 0:
        raise UserError(
            f"the left-out training scores have the median {median:g}: ratios need scores above 0 (use rescale=ratio)"
        )
    return median


def _borrowed(known: list[T | None], otherwise: T) -> list[T]:
    """What is known of each domain; of one that is not known, the other's."""
    usable = [one for one in known if one is not None]
    if len(usable) == 1:
        log.warning("a domain has fewer than %d recordings or no spread: it is on the other's scale", FEWEST)
    return [one or (usable[0] if usable else otherwise) for one in known]


def _crosses(recording: Int[np.ndarray, " n"], is_target: Bool[np.ndarray, " n"]) -> bool:
    """Whether clips of one recording are in both domains: the other domain's back-end has then heard it."""
    return bool(np.intersect1d(recording[is_target], recording[~is_target]).size)


def _require_two(recording: Int[np.ndarray, " n"]) -> None:
    if recording.max() == 0:
        raise UserError("leave-one-out scores need at least two training clips, there is one")


def _require_domains(parts: Parts) -> None:
    if not parts or set(parts) - set(DOMAINS):
        raise UserError("a back-end for source, target or both is needed")
