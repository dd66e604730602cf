"""Scores of training clips by back-ends fitted without them: without one fold, or without the clips' recording."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.own_code import is_own
from asd_lightning.scoring.calls import fit_with, leave_one_out_scores_of, made, scores_of
from asd_lightning.scoring.heard import unheard
from asd_lightning.scoring.protocol import KeptScorer, RecordingScorer, Scorer
from asd_lightning.scoring.shared_fits import fitted_once

MOST_FITS = 100
"""Up to so many recordings each is left out alone; of more, several are left out together."""


def held_out_scores(
    scorer: Scorer,
    embeddings: Float[np.ndarray, "n dim"],
    is_target: Bool[np.ndarray, " n"],
    folds: int,
    recording: Int[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " n"]:
    """Score of each training clip by a copy of ``scorer`` fitted on the other folds.

    Each domain is dealt out over the folds in turn, in the clips' order.  ``folds`` at or above n leaves out one clip
    at a time.

    Args:
        scorer: a back-end; it stays as it is.
        embeddings: of one machine's normal training clips.
        is_target: marks the target domain.
        folds: how many fits.
        recording: number of each clip's recording, from 0: what was cut from one is left out together.  By default
            each clip is one.

    Raises:
        UserError: there is a single clip, or a single recording.
    """
    recording = np.arange(len(embeddings)) if recording is None else recording
    count = int(recording.max(initial=-1)) + 1
    if count < 2:
        raise UserError("leave-one-out scores need at least two training clips, there is one")
    fold = _dealt_out(is_target, recording, min(folds, count))
    scores = np.empty(len(embeddings))
    with unheard():
        for out in range(min(folds, count)):
            held = fold == out
            copied = fit_with(copy.copy(scorer), embeddings[~held], is_target[~held], recording[~held])
            scores[held] = scores_of(copied, embeddings[held])
    return scores


def left_out_scores(
    scorer: Scorer,
    make_scorer: Callable[[], Scorer],
    embeddings: Float[np.ndarray, "n dim"],
    is_target: Bool[np.ndarray, " n"],
    recording: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Score of each training clip, without all that was cut from the same recording.

    While many back-ends are compared, a part of one may be another back-end: their scores are found once.

    Args:
        scorer: fitted to the clips.
        make_scorer: the same back-end, unfitted.
        embeddings: of one machine's normal training clips.
        is_target: marks the target domain.
        recording: number of each clip's recording, from 0.

    Raises:
        UserError: there is a single recording.
    """

    def found() -> tuple[Float[np.ndarray, " n"]]:
        if isinstance(scorer, RecordingScorer) or len(embeddings) == recording.max() + 1:
            return (leave_one_out_scores_of(scorer, len(embeddings)),)
        return (scores_without_group(make_scorer, embeddings, is_target, recording),)

    # A back-end of one's own, or one with such a part, may be more than its state says.
    if is_own(scorer) or not isinstance(scorer, KeptScorer) or hasattr(scorer, "parts"):
        return found()[0]
    clips = f"{is_target.tobytes().hex()} {recording.tobytes().hex()}"
    what = f"left-out scores of {type(scorer).__name__} {scorer.state().options} {clips}"
    return fitted_once(what, embeddings.astype(np.float64), found)[0]


def _dealt_out(
    is_target: Bool[np.ndarray, " n"], recording: Int[np.ndarray, " n"], folds: int
) -> Int[np.ndarray, " n"]:
    """The fold of each clip: each domain's recordings in turn, in their order."""
    count = int(recording.max()) + 1
    first = np.unique(recording, return_index=True)[1]
    fold = np.empty(count, dtype=np.intp)
    fold[np.argsort(is_target[first], kind="stable")] = np.arange(count) % folds
    return np.asarray(fold[recording])


def scores_without_group(
    make_scorer: Callable[[], Scorer],
    embeddings: Float[np.ndarray, "n dim"],
    is_target: Bool[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Score of each training clip by a back-end fitted without all clips of its group.

    Clips cut from one recording are alike: with its neighbours in the bank a clip would score next to nothing, and a
    threshold on such scores would call every other recording anomalous.

    Args:
        make_scorer: an unfitted back-end.
        embeddings: of one machine's normal training clips.
        is_target: marks the target domain.
        group: number of each clip's recording, from 0.  Each domain's recordings are dealt out over at most
            ``MOST_FITS`` fits.

    Raises:
        UserError: there is a single group, or the back-end cannot be fitted without one.
    """
    count = int(group.max(initial=-1)) + 1
    if count < 2:
        raise UserError("scores of left-out recordings need at least two training recordings, there is one")
    fits = min(MOST_FITS, count)
    fold = _dealt_out(is_target, group, fits)
    scores = np.empty(len(embeddings))
    with unheard():
        for out in range(fits):
            held = fold == out
            scorer = fit_with(made(make_scorer), embeddings[~held], is_target[~held], group[~held])
            scores[held] = scores_of(scorer, embeddings[held])
    return scores
