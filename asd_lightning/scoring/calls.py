"""Calls of back-ends, which may be a user's own: a mistake in one is told in a line that names its class.

What goes wrong within this package's own back-ends stays as it is, since that is a mistake of the package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.own_code import is_own, name_of, own_mistake
from asd_lightning.scoring.protocol import RecordingScorer, Scorer

_WHAT = "back-end"


def fit_with(
    scorer: Scorer,
    embeddings: Float[np.ndarray, "n dim"],
    is_target: Bool[np.ndarray, " n"],
    recording: Int[np.ndarray, " n"],
) -> Scorer:
    """Fit a back-end, which hears of the recordings where it wants to know them.

    Raises:
        UserError: it cannot be fitted; of a user's own, whatever it raised, or it does not return a back-end.
    """
    by_recording = isinstance(scorer, RecordingScorer)
    method = "fit_recordings" if by_recording else "fit"
    with _named(scorer, method):
        if isinstance(scorer, RecordingScorer):
            fitted = scorer.fit_recordings(embeddings, is_target, recording)
        else:
            fitted = scorer.fit(embeddings, is_target)
    if not isinstance(fitted, Scorer):
        raise UserError(
            f"{_name(scorer)}.{method} gives {type(fitted).__name__}, and the fitted back-end is needed: end it with "
            "return self; a back-end has fit, anomaly_score and leave_one_out_scores"
        )
    return fitted


def scores_of(scorer: Scorer, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, " m"]:
    """The score of each clip by a fitted back-end.

    Raises:
        UserError: they cannot be scored; of a user's own, whatever it raised, or it does not give a number for each.
    """
    with _named(scorer, "anomaly_score"):
        scores = scorer.anomaly_score(embeddings)
    return _one_for_each(scores, len(embeddings), scorer, "anomaly_score")


def leave_one_out_scores_of(scorer: Scorer, clips: int) -> Float[np.ndarray, " n"]:
    """The left-out score of each of so many training clips.

    Raises:
        UserError: see `scores_of`.
    """
    with _named(scorer, "leave_one_out_scores"):
        scores = scorer.leave_one_out_scores()
    return _one_for_each(scores, clips, scorer, "leave_one_out_scores")


def made(make_scorer: Callable[[], Scorer]) -> Scorer:
    """A back-end, unfitted.

    Raises:
        UserError: a user's own cannot be made, or lacks a method.
    """
    kind = getattr(make_scorer, "func", make_scorer)
    with _named(kind, "__init__") if isinstance(kind, type) else nullcontext():
        scorer = make_scorer()
    missing = [name for name in ("fit", "anomaly_score", "leave_one_out_scores") if not hasattr(scorer, name)]
    if missing:
        raise UserError(f"{_name(scorer)} has no {missing[0]}, which every back-end needs")
    return scorer


@contextmanager
def _named(scorer: object, method: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not is_own(scorer):
            raise
        raise own_mistake(scorer, _WHAT, method, error) from error


def _one_for_each(scores: object, clips: int, scorer: Scorer, method: str) -> Float[np.ndarray, " n"]:
    """Of a user's own back-end the scores are looked at; the package's are tested."""
    if is_own(scorer):
        what = f"{_name(scorer)}.{method} gives"
        if not isinstance(scores, np.ndarray) or scores.shape != (clips,) or scores.dtype.kind not in "fiu":
            shape = f"shape {scores.shape}" if isinstance(scores, np.ndarray) else type(scores).__name__
            raise UserError(f"{what} {shape}, and an array of {clips} numbers is needed, shape ({clips},)")
        if bad := np.count_nonzero(~np.isfinite(scores)):
            raise UserError(f"{what} NaN or infinity for {bad} of {clips} clips")
    return scores  # type: ignore[return-value]


def _name(scorer: object) -> str:
    return name_of(scorer, _WHAT)
