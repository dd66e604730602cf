"""Scores of training clips by back-ends that are too slow to fit once per clip."""

from __future__ import annotations

import copy

import numpy as np
from jaxtyping import Bool, Float

from asd_lightning.errors import UserError
from asd_lightning.scoring.protocol import Scorer


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
