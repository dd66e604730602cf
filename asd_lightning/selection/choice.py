"""Candidates judged by normal training clips alone, and what follows: one of them, or that nothing can be told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.scoring.clip_scores import machine_name
from asd_lightning.selection.criteria import pseudo_auc, separation_bound
from asd_lightning.selection.normals import Normals, Score
from asd_lightning.selection.pseudo_outliers import FEATURE, KINDS, domain_balance, pseudo_scores

# Pseudo-AUCs no further apart than this, or all above that, tell nothing (arXiv 2606.19269 of the latter).
CLOSE, SATURATED = 0.01, 0.99
DIVERSE, BOUND = "pseudo-AUC", "bound"


@dataclass(frozen=True)
class Candidate:
    """One way to an embedding: an encoder, a layer, a pooling.

    Attributes:
        name: what it is called.
        embeddings: of normal training clips.
        clips: likewise, row for row.
        made_by: what tells embeddings apart that are not the same, such as the digest of a model.
    """

    name: str
    embeddings: Float[np.ndarray, "n dim"]
    clips: tuple[Clip, ...]
    made_by: str

    def without_embeddings(self) -> Candidate:
        """What is needed to compare others with it."""
        return replace(self, embeddings=self.embeddings[:0].copy())

    def machines(self) -> dict[str, Normals]:
        """The clips of each machine and section, by its name."""
        names = np.array([machine_name(clip.machine, clip.section) for clip in self.clips])
        return {
            str(name): Normals.of(
                self.embeddings[names == name], [clip for clip, of in zip(self.clips, names, strict=True) if of == name]
            )
            for name in np.unique(names)
        }


class Judged(NamedTuple):
    """What normal clips tell of a candidate: means over machines, from 0 to 1.

    Attributes:
        name: the candidate's.
        pseudo_auc: with all kinds of stand-ins together; higher is better.
        by_kind: with each kind alone; nan where there is none.
        bound: of shuffled features; higher is better.
        domain_balance: lower is better; nan where a domain has too few recordings.
        vetoed: among the worst tenth by pseudo-AUC, whose domain balance says nothing.
    """

    name: str
    pseudo_auc: float
    by_kind: dict[str, float]
    bound: float
    domain_balance: float
    vetoed: bool = False


@dataclass(frozen=True)
class Selection:
    """The candidates, the first of which is the fixed default, and what follows.

    Attributes:
        judged: in the order given.
        criterion: ``pseudo-AUC``, or ``bound`` where a machine is alone and has one condition.
        chosen: a candidate's name; None where nothing can be told.
        reason: one sentence.
    """

    judged: tuple[Judged, ...]
    criterion: str
    chosen: str | None
    reason: str

    @property
    def default(self) -> str:
        """What stays where nothing can be told, and what a choice has to be compared with."""
        return self.judged[0].name


def refuse_unlike(candidate: Candidate, before: Sequence[Candidate]) -> None:
    """Refuse what cannot be compared with the candidates before it.

    Raises:
        UserError: other clips, or the same embedding again.
    """
    for other in before:
        if candidate.made_by == other.made_by:
            raise UserError(
                f"{candidate.name}: the same embedding as {other.name}; back-ends are not chosen by this, as stand-ins "
                "for anomalies are far too easy for them"
            )
        if _recordings(candidate) != _recordings(other):
            raise UserError(
                f"{candidate.name}: other training recordings than {other.name}; give candidates of the same"
            )


def select_from(candidates: Sequence[Candidate], score: Score = "nearest", seed: int = 0) -> Selection:
    """Judge candidates, the first of which is the default, by normal training clips alone.

    Args:
        candidates: two or more, of the same clips.
        score: see ``normals.Bank``.
        seed: of the shuffled features.

    Raises:
        UserError: see ``refuse_unlike``, ``judge`` and ``conclude``.
    """
    for number, one in enumerate(candidates):
        refuse_unlike(one, candidates[:number])
    return conclude([judge(one, score, seed) for one in candidates])


def judge(candidate: Candidate, score: Score = "nearest", seed: int = 0) -> Judged:
    """What the clips of each machine tell of it, on average over the machines.

    Raises:
        UserError: a machine of a single recording, or a clip whose embedding is all zeros; both are named.
    """
    machines = candidate.machines()
    rows = []
    for name, own in machines.items():
        if own.recordings < 2:
            raise UserError(f"{candidate.name}: {name} has a single recording, and nothing to score it by")
        others = [each.embeddings for other, each in machines.items() if other != name]
        try:
            scores = pseudo_scores(own, np.concatenate(others or [own.embeddings[:0]]), score, seed)
            balance = domain_balance(own, score)
        except UserError as error:
            raise UserError(f"{candidate.name}: {name}: {error}") from error
        kinds = {kind: pseudo_auc(scores.inlier, found) for kind, found in scores.outlier.items()}
        bound = separation_bound(scores.inlier, scores.outlier[FEATURE])
        rows.append((pseudo_auc(scores.inlier, scores.diverse()), kinds, bound, balance))
    diverse, kinds_of, bounds, balances = zip(*rows, strict=True)
    by_kind = {kind: _mean(found.get(kind, math.nan) for found in kinds_of) for kind in KINDS}
    return Judged(candidate.name, _mean(diverse), by_kind, _mean(bounds), _mean(balances))


def conclude(judged: Sequence[Judged]) -> Selection:
    """The candidate that the criterion prefers, or none where it cannot tell.

    Raises:
        UserError: fewer than two.

    >>> rows = [Judged(name, value, {"cross-class": value}, 0.5, 0.2) for name, value in (("a", 0.8), ("b", 0.9))]
    >>> conclude(rows).chosen
    'b'
    >>> conclude([row._replace(pseudo_auc=0.995) for row in rows]).chosen is None
    True
    """
    if len(judged) < 2:
        raise UserError("give two candidates or more, the fixed default first")
    alone = all(math.isnan(value) for kind, value in judged[0].by_kind.items() if kind != FEATURE)
    criterion = BOUND if alone else DIVERSE
    values = [one.bound if alone else one.pseudo_auc for one in judged]
    worst = {one.name for one in sorted(judged, key=lambda one: one.pseudo_auc)[: math.ceil(len(judged) / 10)]}
    rows = tuple(one._replace(vetoed=one.name in worst) for one in judged)
    default = judged[0].name
    if max(values) - min(values) <= CLOSE:
        return Selection(
            rows, criterion, None, f"cannot tell: all within {100 * CLOSE:g} point of each other; keep {default}"
        )
    if min(values) > SATURATED:
        return Selection(rows, criterion, None, f"cannot tell: all above {100 * SATURATED:g} %; keep {default}")
    best = int(np.argmax(values))
    if values[best] - values[0] <= CLOSE:
        return Selection(
            rows, criterion, default, f"keep {default}: no other is more than {100 * CLOSE:g} point above it"
        )
    gain = f"{100 * (values[best] - values[0]):+.2f} points of {criterion} from the default, {default}"
    return Selection(rows, criterion, judged[best].name, f"{judged[best].name}: {gain}")


def _recordings(candidate: Candidate) -> set[tuple[str, str, str]]:
    return {(clip.machine, clip.section, clip.file) for clip in candidate.clips}


def _mean(values: Iterable[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
