"""Scores of training clips by back-ends fitted without them: without one fold, or without the clips' recording."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.protocol import Scorer

MOST_FITS = 100
"""Up to so many recordings each is left out alone; of more, several are left out together."""


def held_out_scores(
    scorer: Scorer,
    embeddings: Float[np.ndarray, "n dim"],
    is_target: Bool[np.ndarray, " n"],
    folds: int,
) -> Float[np.ndarray, " n"]:
    """Score of each training clip by a copy of ``scorer`` fitted on the other folds.

    Each domain is dealt out over the folds in turn, in the clips' order.  ``folds`` at or above n leaves out one clip
    at a time.

    Raises:
        UserError: there is a single clip.
    """
    count = len(embeddings)
    if count < 2:
        raise UserError("leave-one-out scores need at least two training clips, there is one")
    fold = np.empty(count, dtype=np.intp)
    fold[np.argsort(is_target, kind="stable")] = np.arange(count) % min(folds, count)
    scores = np.empty(count)
    for out in range(min(folds, count)):
        held = fold == out
        scores[held] = copy.copy(scorer).fit(embeddings[~held], is_target[~held]).anomaly_score(embeddings[held])
    return scores


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
    first = np.array([int(np.argmax(group == number)) for number in range(count)])
    fits = min(MOST_FITS, count)
    fold = np.empty(count, dtype=np.intp)
    fold[np.argsort(is_target[first], kind="stable")] = np.arange(count) % fits
    scores = np.empty(len(embeddings))
    with _unheard():
        for out in range(fits):
            held = fold[group] == out
            scorer = make_scorer().fit(embeddings[~held], is_target[~held])
            scores[held] = scorer.anomaly_score(embeddings[held])
    return scores


@contextmanager
def _unheard() -> Iterator[None]:
    """Silence warnings: those about the machine's clips were given when the back-end was fitted to all of them."""
    log = logging.getLogger("asd_lightning.scoring")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
