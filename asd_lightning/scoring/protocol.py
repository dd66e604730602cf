"""What every scoring back-end offers, and the checks they share.

Higher anomaly scores are more anomalous.  A back-end sees one machine's normal training clips and nothing else: what a
clip scores does not depend on which other clips are scored with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError


class ScorerState(NamedTuple):
    """All that a fitted back-end scores with, as plain data.

    Attributes:
        options: arguments of the constructor: scalars, text and dictionaries of them.
        arrays: float64.
    """

    options: dict[str, Any]
    arrays: dict[str, Float[np.ndarray, "*shape"]]


@runtime_checkable
class Scorer(Protocol):
    """A scoring back-end of one machine."""

    def fit(self, embeddings: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"]) -> Scorer:
        """Learn from the embeddings of one machine's normal training clips; ``is_target`` marks the target domain."""
        ...

    def anomaly_score(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
        """Score clips; higher is more anomalous."""
        ...

    def leave_one_out_scores(self) -> Float[np.ndarray, " n"]:
        """Scores of the training clips, in the order of ``fit``, each by a back-end that did not see that clip."""
        ...


@runtime_checkable
class RecordingScorer(Scorer, Protocol):
    """A back-end that compares training clips with each other, and so has to know which belong together.

    Its ``leave_one_out_scores`` leave out all that was cut from the same recording.
    """

    def fit_recordings(
        self,
        embeddings: Float[np.ndarray, "n dim"],
        is_target: Bool[np.ndarray, " n"],
        recording: Int[np.ndarray, " n"],
    ) -> Scorer:
        """``fit``, where ``recording`` is the number of the recording that each clip was cut from."""
        ...


class FittedByRecording(ABC):
    """Part of a ``RecordingScorer``: takes and checks what it is fitted to, and keeps it for the left-out scores."""

    _training: Float[np.ndarray, "n dim"]
    _is_target: Bool[np.ndarray, " n"]
    _recording: Int[np.ndarray, " n"]

    def fit(self, embeddings: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"]) -> Self:
        """Fit to one machine's normal training clips, each a recording of its own.

        Raises:
            UserError: no clips, NaN or infinite values, or clips that the back-end cannot be fitted to.
        """
        return self.fit_recordings(embeddings, is_target, np.arange(len(embeddings)))

    def fit_recordings(
        self,
        embeddings: Float[np.ndarray, "n dim"],
        is_target: Bool[np.ndarray, " n"],
        recording: Int[np.ndarray, " n"],
    ) -> Self:
        """``fit``, with several clips of one recording: the left-out scores are without all of them.

        Raises:
            UserError: see :meth:`fit`.
        """
        self._training, self._is_target = training_embeddings(embeddings, is_target), is_target.copy()
        self._recording = np.unique(recording, return_inverse=True)[1]
        self._fit()
        return self

    @abstractmethod
    def _fit(self) -> None:
        """Learn from the training clips, which have been checked."""


@runtime_checkable
class KeptScorer(Scorer, Protocol):
    """A back-end that can be kept: what it was fitted to need not be there for it to score again."""

    def state(self) -> ScorerState:
        """What the fitted back-end scores with."""
        ...

    @classmethod
    def from_state(cls, state: ScorerState) -> KeptScorer:
        """A back-end that scores as the one whose ``state()`` this is; it has no training clips to leave out.

        Raises:
            UserError: an option or an array is missing, of another shape, NaN or infinite.
        """
        ...


def kept_array(arrays: Mapping[str, Any], name: str, *shape: int | None) -> Float[np.ndarray, "*shape"]:
    """An array of a kept state; ``None`` in ``shape`` stands for any length.

    Raises:
        UserError: it is missing, of another shape, NaN or infinite.
    """
    array = arrays.get(name)
    if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.ndim != len(shape):
        raise UserError(f"array {name}: float64 of {len(shape)} dimensions is needed")
    if any(want is not None and have != want for have, want in zip(array.shape, shape, strict=True)):
        raise UserError(f"array {name}: its shape {array.shape} does not go with the others'")
    if not np.isfinite(array).all():
        raise UserError(f"array {name}: holds NaN or infinity")
    return array


def training_embeddings(
    embeddings: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "n dim"]:
    """The training embeddings as float64.

    Raises:
        UserError: no clips, another number of domain flags than of clips, or a value that is NaN or infinite.
    """
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise UserError(
            f"training embeddings have shape {embeddings.shape}: one row for each of at least one clip needed"
        )
    if is_target.shape != (len(embeddings),):
        raise UserError(
            f"is_target has shape {is_target.shape} for {len(embeddings)} training clips: one flag per clip"
        )
    return finite(embeddings, "training embeddings")


def query_embeddings(embeddings: Float[np.ndarray, "m dim"], dim: int) -> Float[np.ndarray, "m dim"]:
    """The embeddings to score as float64; there may be none.

    Raises:
        UserError: another embedding length than that of the training clips, or a value that is NaN or infinite.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != dim:
        raise UserError(
            f"embeddings to score have shape {embeddings.shape}, the training clips' have {dim} columns: "
            "embed both with the same model"
        )
    return finite(embeddings, "embeddings to score")


def finite(embeddings: Float[np.ndarray, "n dim"], name: str) -> Float[np.ndarray, "n dim"]:
    """A float64 array without NaN or infinity, or a :class:`UserError` that names the first row with one."""
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if bad.size:
        raise UserError(
            f"{name}: {bad.size} of {len(embeddings)} rows hold NaN or infinity, the first is row {bad[0]}; "
            "look for a damaged recording or a diverged model"
        )
    return embeddings.astype(np.float64)


def unit_length(embeddings: Float[np.ndarray, "n dim"], name: str) -> Float[np.ndarray, "n dim"]:
    """Each row divided by its length.

    Raises:
        UserError: a row is all zeros, and so has no direction.
    """
    # Dividing by the largest value first keeps the squares of tiny and huge rows within float64.
    largest = np.abs(embeddings).max(axis=1, keepdims=True)
    if not largest.all():
        row = int(np.argmin(largest))
        raise UserError(f"{name}: row {row} is all zeros and has no cosine distance; use the euclidean metric")
    scaled = embeddings / largest
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True))
