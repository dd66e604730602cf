"""Stand-ins for anomalies, made of normal training clips alone (Wilkinghoff and Tan, 2026)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from asd_lightning.selection.criteria import distribution_distance
from asd_lightning.selection.normals import Bank, Normals, Score

FEATURE, CLASS, DOMAIN, ATTRIBUTE = KINDS = ("feature", "cross-class", "cross-domain", "cross-attribute")

_SPLITS = 10
_FEWEST_OF_A_DOMAIN = 4


class PseudoScores(NamedTuple):
    """Scores of a machine's normal clips, and of stand-ins for anomalies.

    Attributes:
        inlier: each clip's by those of other recordings.
        outlier: by kind; a kind that there is nothing to make of is not there.
    """

    inlier: Float[np.ndarray, " n"]
    outlier: dict[str, Float[np.ndarray, " _"]]

    def diverse(self) -> Float[np.ndarray, " _"]:
        """Those of all kinds together."""
        return np.concatenate(list(self.outlier.values()))


def pseudo_scores(
    own: Normals, others: Float[np.ndarray, "m dim"], score: Score = "nearest", seed: int = 0
) -> PseudoScores:
    """Score a machine's normal clips and four kinds of stand-ins.

    - ``feature``: as many vectors as there are clips, each number drawn from that of any clip, with replacement;
    - ``cross-class``: the normal clips of other machines;
    - ``cross-domain``, ``cross-attribute``: the clips of a domain or an operating condition, by a bank without it.  A
      group of more than half of the clips is not left out: what would stay is not the machine.

    Args:
        own: clips of one machine, of two recordings or more.
        others: normal clips of other machines; may be empty.
        score: see ``Bank``.
        seed: of what is drawn.
    """
    bank = Bank(own, score)
    outlier = {FEATURE: bank.score(_shuffled(own.embeddings, seed))}
    if len(others):
        outlier[CLASS] = bank.score(others)
    for kind, groups in ((DOMAIN, _domains(own)), (ATTRIBUTE, _attributes(own))):
        scores = [Bank(own.take(~group), score).score(own.embeddings[group]) for group in groups]
        if scores:
            outlier[kind] = np.concatenate(scores)
    return PseudoScores(bank.left_out(), outlier)


def domain_balance(own: Normals, score: Score = "nearest") -> float:
    """How differently normal clips of both domains are scored: 0 (alike) to 1 (arXiv 2607.04526).

    Half of the recordings of each domain are scored by the other half, ten times over; the mean of the distances of
    source to target scores.  nan below four recordings of either domain.  Scores that are all
    equal have 0 too: the worst by pseudo-AUC are no candidates for it.
    """
    domains = [np.unique(own.recording[own.is_target == target]) for target in (False, True)]
    if min(map(len, domains)) < _FEWEST_OF_A_DOMAIN:
        return float("nan")
    rng = np.random.default_rng(0)
    distances = []
    for _ in range(_SPLITS):
        held = np.concatenate([rng.permutation(numbers)[: len(numbers) // 2] for numbers in domains])
        scored = np.isin(own.recording, held)
        scores, is_target = Bank(own.take(~scored), score).score(own.embeddings[scored]), own.is_target[scored]
        distances.append(distribution_distance(scores[~is_target], scores[is_target]))
    return float(np.mean(distances))


def _shuffled(embeddings: Float[np.ndarray, "n dim"], seed: int) -> Float[np.ndarray, "n dim"]:
    rows = np.random.default_rng(seed).integers(len(embeddings), size=embeddings.shape)
    return np.take_along_axis(embeddings, rows, axis=0)


def _domains(own: Normals) -> Iterator[Bool[np.ndarray, " n"]]:
    return _left_out(own, [own.is_target, ~own.is_target])


def _attributes(own: Normals) -> Iterator[Bool[np.ndarray, " n"]]:
    names = np.array(own.attribute)
    return _left_out(own, [names == name for name in sorted(set(own.attribute) - {""})])


def _left_out(own: Normals, groups: list[Bool[np.ndarray, " n"]]) -> Iterator[Bool[np.ndarray, " n"]]:
    for group in groups:
        if 0 < group.sum() <= len(own) / 2 and own.take(~group).recordings > 1:
            yield group
