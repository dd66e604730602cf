"""One bank for each machine: from embeddings of all clips to the score of every query clip."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.scoring.clip_scores import ClipScore, machine_name
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.thresholds import Threshold

logger = logging.getLogger(__name__)

# A training clip so many times the median distance away is worth a word.
_FAR_OUT = 20.0
_NAMED_AT_MOST = 3


def score_machines(
    clips: Sequence[Clip],
    reference: tuple[Int[ndarray, " n"], Float[ndarray, "n dim"]],
    query: tuple[Int[ndarray, " m"], Float[ndarray, "m dim"]],
    make_scorer: Callable[[], Scorer],
    threshold: Threshold,
) -> list[ClipScore]:
    """Score each machine's query clips against a scorer fitted to that machine's reference clips alone.

    The scorer is handed embeddings and domains of normal training clips; nothing of the test set reaches it but the
    one embedding to be scored.

    Args:
        clips: table of all clips; the ids below are places in it.
        reference: ids and embeddings of normal training clips.
        query: ids and embeddings of test clips.
        make_scorer: an unfitted scorer, one for each machine and section.
        threshold: turns a machine's leave-one-out training scores into its decision threshold.

    Raises:
        UserError: the scorer or the threshold cannot be fitted to a machine, which is named.
    """
    scores: list[ClipScore] = []
    reference_groups = _by_machine(clips, reference[0])
    for key, rows in _by_machine(clips, query[0]).items():
        bank = reference_groups.get(key)
        if bank is None:
            logger.warning(
                "%s section %s: no normal training clips of this section; its test clips are not scored", *key
            )
            continue
        # What the scorer and the threshold have to say follows; they do not know whose clips they see.
        logger.info("scoring %s", machine_name(*key))
        try:
            scores += _score_machine(
                [clips[clip_id] for clip_id in reference[0][bank]],
                reference[1][bank],
                [clips[clip_id] for clip_id in query[0][rows]],
                query[1][rows],
                make_scorer(),
                threshold,
            )
        except UserError as error:
            raise UserError(f"{machine_name(*key)}: {error}") from error
    return scores


def _score_machine(
    training: Sequence[Clip],
    training_embeddings: Float[ndarray, "n dim"],
    test: Sequence[Clip],
    test_embeddings: Float[ndarray, "m dim"],
    scorer: Scorer,
    threshold: Threshold,
) -> list[ClipScore]:
    is_target = np.array([clip.domain == "target" for clip in training])
    fitted = scorer.fit(training_embeddings.astype(np.float64), is_target)
    anomaly_scores = fitted.anomaly_score(test_embeddings.astype(np.float64))
    limit = math.nan
    if len(training) > 1:
        training_scores = fitted.leave_one_out_scores()
        limit = threshold.fit(training_scores, is_target)
        _name_outliers(training, training_scores)
    return [_clip_score(clip, float(value), limit) for clip, value in zip(test, anomaly_scores, strict=True)]


def _name_outliers(clips: Sequence[Clip], training_scores: Float[ndarray, " n"]) -> None:
    """Warn of training clips unlike all others: each pulls the threshold up and makes sounds like itself pass."""
    median = float(np.median(training_scores))
    far = np.flatnonzero(training_scores > _FAR_OUT * median) if median > 0 else np.empty(0, np.int64)
    if len(far):
        worst = far[np.argsort(-training_scores[far], kind="stable")][:_NAMED_AT_MOST]
        names = ", ".join(clips[row].name for row in worst)
        logger.warning(
            "%s: %d training clip(s) over %g times further from the others than is usual, such as %s; "
            "listen to them, they raise the threshold",
            *(clips[0].machine, len(far), _FAR_OUT, names),
        )


def _by_machine(clips: Sequence[Clip], clip_ids: Int[ndarray, " n"]) -> dict[tuple[str, str], Int[ndarray, " rows"]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for row, clip_id in enumerate(clip_ids):
        clip = clips[clip_id]
        groups.setdefault((clip.machine, clip.section), []).append(row)
    return {key: np.array(rows) for key, rows in groups.items()}


def _clip_score(clip: Clip, anomaly_score: float, threshold: float) -> ClipScore:
    return ClipScore(
        machine=clip.machine,
        section=clip.section,
        file=clip.name,
        domain=clip.domain,
        condition=clip.condition,
        attribute=clip.attribute,
        anomaly_score=anomaly_score,
        threshold=threshold,
        decision=int(anomaly_score > threshold),
    )
