"""A back-end with a bank of limited size: clips that lie near others of the bank are left out of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_at_least, require_choice
from asd_lightning.scoring.calls import fit_with, scores_of
from asd_lightning.scoring.combined import PARTS
from asd_lightning.scoring.contributions import Contributions, SummingScorer
from asd_lightning.scoring.heard import logger_of
from asd_lightning.scoring.held_out import held_out_scores
from asd_lightning.scoring.neighbors import Metric, nearest
from asd_lightning.scoring.parts import Kinds, again, checked, packed, unpacked
from asd_lightning.scoring.protocol import FittedByRecording, Scorer, ScorerState, unit_length

log = logger_of(__name__)

_PART = "bank"
_AT_A_TIME = 512
_CHOICES_AT_A_TIME = 128


class Kept(NamedTuple):
    """What is left of a bank.

    Attributes:
        rows: of the items that are kept, ascending.
        radius: distance of the item that is farthest from its nearest kept one.
    """

    rows: Int[np.ndarray, " size"]
    radius: float


class CompressedScorer(FittedByRecording):
    """A back-end that is fitted to at most ``size`` of the training clips, spread over all of them.

    The clips are chosen by :func:`k_center`.  Where the score is the Euclidean distance to the nearest clip, and
    nothing is standardised here or there, no score falls and none rises by more than the radius; of other scores the
    choice promises nothing.  Each domain may fill half of the bank; what one does not need is the other's, so that a
    few target clips are all kept.

    Args:
        scorer: makes an unfitted back-end.
        size: of the bank; with fewer clips all are kept and the back-end is as it is without.
        metric: of the choice: ``euclidean``, or ``cosine`` (between clips of length 1, 1 - cosine similarity).
        standardize: choose among clips less their mean, divided by their standard deviation, per dimension.
        folds: ``leave_one_out_scores`` chooses and fits this many times, each without one fold of the recordings.

    Raises:
        UserError: an argument outside its range.

    >>> from asd_lightning.scoring.knn import KNNScorer
    >>> clips = np.array([[0.0], [0.1], [0.2], [5.0], [5.1]])
    >>> scorer = CompressedScorer(lambda: KNNScorer(metric="euclidean", smote=None), 2, standardize=False)
    >>> scorer.fit(clips, np.zeros(5, bool)).anomaly_score(clips).round(2).tolist()
    [0.2, 0.1, 0.0, 0.1, 0.0]
    """

    part_kinds: ClassVar[Kinds] = PARTS

    def __init__(
        self,
        scorer: Callable[[], Scorer],
        size: int,
        metric: Metric = "euclidean",
        standardize: bool = True,
        folds: int = 10,
    ) -> None:
        require_at_least("size", size, 2)
        require_at_least("folds", folds, 2)
        require_choice("metric", metric, Metric)
        self.size = size
        self.metric: Metric = metric
        self.standardize = standardize
        self.folds = folds
        self._make = checked(scorer)

    def _fit(self) -> None:
        self.kept = self._choose()
        rows = self.kept.rows
        if len(rows) < len(self._training):
            log.info("bank of %d clips in the place of %d", len(rows), len(self._training))
        part = fit_with(self._make(), self._training[rows], self._is_target[rows], self._recording[rows])
        self.parts: dict[str, Scorer] = {_PART: part}

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips by the back-end of the smaller bank; higher is more anomalous.

        Raises:
            UserError: embeddings that the back-end cannot score.
        """
        return scores_of(self.parts[_PART], embeddings)

    def contributions(self, embedding: Float[np.ndarray, " dim"]) -> Contributions | None:
        """What each dimension adds to the score of one clip; ``None`` where the back-end's score is no such sum.

        Raises:
            UserError: an embedding that the back-end cannot score.
        """
        part = self.parts[_PART]
        return part.contributions(embedding) if isinstance(part, SummingScorer) else None

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Score of each training clip, in the order of ``fit``; the bank is chosen again without its recording.

        All clips are scored, those too that are not in the bank.

        Raises:
            UserError: there is a single recording.
        """
        return held_out_scores(self, self._training, self._is_target, self.folds, self._recording)

    def state(self) -> ScorerState:
        """The back-end's state; clips that are not in its bank are not kept."""
        options, arrays = packed(self.parts)
        names = ("size", "metric", "standardize", "folds")
        return ScorerState({name: getattr(self, name) for name in names} | {"parts": options}, arrays)

    @classmethod
    def from_state(cls, state: ScorerState) -> CompressedScorer:
        """The fitted scorer that gave ``state``.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        options = dict(state.options)
        parts = unpacked(options.pop("parts"), state.arrays, PARTS)
        if set(parts) != {_PART}:
            raise UserError("one back-end is needed")
        scorer = cls(again(parts[_PART]), **options)
        scorer.parts = parts
        return scorer

    def _choose(self) -> Kept:
        if len(self._training) <= self.size:
            return Kept(np.arange(len(self._training)), 0.0)
        items = self._training
        if self.standardize:
            deviation = items.std(axis=0)
            items = (items - items.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
        if self.metric == "cosine":
            items = unit_length(items, "training embeddings")
        source, target = (np.flatnonzero(flags) for flags in (~self._is_target, self._is_target))
        of_target = min(len(target), max(self.size // 2, self.size - len(source)))
        rows, radius = [], 0.0
        for own, size in ((source, self.size - of_target), (target, of_target)):
            if len(own):
                rows.append(own[k_center(items[own], size)])
                radius = max(radius, float(nearest(items[own], items[rows[-1]], 1, self.metric).max()))
        return Kept(np.sort(np.concatenate(rows)), radius)


def k_center(items: Float[np.ndarray, "n dim"], size: int) -> Int[np.ndarray, " size"]:
    """Rows of ``size`` items that all others are near to, by Euclidean distance, in the order of their choice.

    The first is the one nearest to the mean, each further one that which is farthest from those chosen: the largest
    distance to the nearest chosen is at most twice the smallest possible (Gonzalez, "Clustering to minimize the maximum
    intercluster distance", Theoretical Computer Science 38, 1985).  Items of length 1 are chosen alike by their cosine
    distance.

    The choice is that of the plain loop, which measures every item after every pick, and of equally far items takes the
    first; most items are measured much more seldom: see :class:`_Distances`.

    >>> k_center(np.array([[0.0], [1.0], [2.0], [10.0]]), 2).tolist()
    [2, 3]
    """
    size = min(size, len(items))
    distances = _Distances(items)
    while len(distances.chosen) < size:
        distances.choose_farthest(size)
    return np.array(distances.chosen)


class _Distances:
    """Of items to the nearest chosen one: squared, and brought up to date only for those that may be the farthest.

    An item comes nearer with each choice or stays where it is, so what is known of it is never too small, and an item
    whose known distance is below that of the farthest can wait.  While items wait, choices gather, with which they are
    compared in one matrix product.  It tells what a choice may be nearer to; that is measured by differences, so that
    rounding changes nothing.

    Attributes:
        chosen: rows, in the order of their choice.
    """

    def __init__(self, items: Float[np.ndarray, "n dim"]) -> None:
        # Bounds on rounding are those of this type.
        self._items = items.astype(np.float64, copy=False)
        self._centered = self._items - self._items.mean(axis=0)
        self._squares = np.square(self._centered).sum(axis=1)
        self._known = np.full(len(items), np.inf)
        self._seen = np.zeros(len(items), dtype=np.intp)
        self.chosen: list[int] = []
        self._choose(int(np.argmin(self._squares)))

    def choose_farthest(self, size: int) -> None:
        """Choose until there are ``size``, or until an item that has waited may be farther than all that have not."""
        waiting = max(len(self._items) - _AT_A_TIME, 0)
        level = np.partition(self._known, waiting)[waiting]
        # With all that are as far, so that of these the first is chosen.
        rows = np.flatnonzero(self._known >= level)
        self._catch_up(rows)
        while len(self.chosen) < size and (known := self._known[rows]).max() >= level:
            self._choose(int(rows[np.argmax(known)]))
            self._compare(rows, self.chosen[-1:])
        self._seen[rows] = len(self.chosen)

    def _choose(self, row: int) -> None:
        """Whatever is equal to it, the row itself is not chosen again."""
        self.chosen.append(row)
        self._known[row] = -np.inf

    def _catch_up(self, rows: Int[np.ndarray, " some"]) -> None:
        seen = self._seen[rows]
        for start in range(0, len(self.chosen), _CHOICES_AT_A_TIME):
            choices = self.chosen[start : start + _CHOICES_AT_A_TIME]
            self._compare(rows[seen < start + len(choices)], choices)

    def _compare(self, rows: Int[np.ndarray, " some"], choices: list[int]) -> None:
        known, squares = self._known[rows], self._squares[choices]
        rough = self._centered[rows] @ (-2 * self._centered[choices].T)
        rough += squares
        # What rounding can do to a sum of that many products, with room to spare.
        error = 4 * np.finfo(np.float64).eps * (self._items.shape[1] + 8) * (self._squares[rows] + squares.max())
        # Nothing is nearer than an exact twin.
        bound = np.where(known > 0, known + error - self._squares[rows], -np.inf)
        # Of a flat array several times as fast as of one with rows.
        row, choice = np.divmod(np.flatnonzero(rough < bound[:, None]), len(choices))
        difference = self._items[rows[row]] - self._items[choices][choice]
        np.minimum.at(known, row, np.square(difference).sum(axis=1))
        self._known[rows] = known
