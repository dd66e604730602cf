"""One back-end for each machine: from embeddings of normal training clips to the scores of clips and recordings.

Rows of embeddings are clips.  Several clips of one ``Clip.file`` are windows of that recording: its score is the
largest of theirs (a fault that sounds for a moment is a fault), or their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.scoring.calls import fit_with, made
from asd_lightning.scoring.clip_scores import ClipScore, WindowScore, machine_name
from asd_lightning.scoring.fitted import FittedMachine, MachineKey
from asd_lightning.scoring.heard import logger_of, said_of
from asd_lightning.scoring.held_out import left_out_scores
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.thresholds import RecordingThreshold, Threshold
from asd_lightning.scoring.windows import WindowReduction, numbered, reduced

logger = logger_of(__name__)

Embedded = tuple[Int[ndarray, " _"], Float[ndarray, "_ _"]]
"""Ids of clips, places in a table, and their embeddings."""

# Warn of a training clip whose score is this many times the median.
_FAR_OUT = 20.0
_NAMED_AT_MOST = 3


def warn_of_too_few(clips: Sequence[Clip], threshold: Threshold) -> None:
    """Warn, before anything is decoded, of machines with too few recordings for the threshold: no decisions.

    Args:
        clips: recordings as they are found; some may turn out to be unusable.
        threshold: with ``fewest_recordings`` (of the source domain), where it has such a number.
    """
    fewest: int = getattr(threshold, "fewest_recordings", 1)
    trained: dict[MachineKey, set[str]] = {}
    for clip in clips:
        if clip.split == "train" and clip.condition != "anomaly":
            own = trained.setdefault((clip.machine, clip.section), set())
            own |= {clip.recording} if clip.domain == "source" else set()
    for key, recordings in trained.items():
        if (count := len(recordings)) < fewest:
            logger.warning(
                "%s: %d source-domain training recordings, and this threshold needs %d: there will be scores and no "
                "decisions; record more, or choose a higher rate or another model/threshold",
                *(machine_name(*key), count, fewest),
            )


def fit_machines(
    clips: Sequence[Clip],
    reference: Embedded,
    make_scorer: Callable[[], Scorer],
    threshold: Threshold,
    reduction: WindowReduction = "max",
) -> dict[MachineKey, FittedMachine]:
    """Fit a back-end and a threshold to each machine and section.

    Both see embeddings, domains and recordings of that machine's normal training clips and nothing else.  The
    threshold is found among the scores of training recordings, each by a back-end fitted without all that was cut from
    the same recording (``Clip.recording``).

    Args:
        clips: table of all clips.
        reference: normal training clips.
        make_scorer: an unfitted back-end, one for each machine and section.
        threshold: turns a machine's left-out training scores into its decision threshold.
        reduction: from a recording's windows to its score.

    Raises:
        UserError: the back-end cannot be fitted to a machine, which is named.
    """
    fitted = {}
    for key, rows in _by_machine(clips, reference[0]).items():
        logger.info("fitting %s", machine_name(*key))
        own = [clips[clip_id] for clip_id in reference[0][rows]]
        try:
            with said_of(machine_name(*key)):
                fitted[key] = _fit_machine(
                    own, reference[1][rows].astype(np.float64), make_scorer, threshold, reduction
                )
        except UserError as error:
            raise UserError(f"{machine_name(*key)}: {error}") from error
        if fitted[key].undecided:
            logger.warning("%s: no decisions: %s", machine_name(*key), fitted[key].undecided)
    return fitted


def score_clips(
    clips: Sequence[Clip],
    query: Embedded,
    fitted: Mapping[MachineKey, FittedMachine],
    reduction: WindowReduction = "max",
) -> tuple[list[ClipScore], list[WindowScore]]:
    """Score each machine's query clips by what is fitted to that machine.

    Returns:
        A row for each recording (``Clip.file``), and one for each window of those that were cut into several.

    Raises:
        UserError: embeddings that the machine's back-end cannot score; the machine is named.
    """
    scores: list[ClipScore] = []
    windows: list[WindowScore] = []
    for key, rows in _by_machine(clips, query[0]).items():
        machine = fitted.get(key)
        if machine is None:
            logger.warning("%s: no normal training clips; its test clips are not scored", machine_name(*key))
            continue
        own = [clips[clip_id] for clip_id in query[0][rows]]
        try:
            values = machine.anomaly_score(query[1][rows])
        except UserError as error:
            raise UserError(f"{machine_name(*key)}: {error}") from error
        scores += _recording_scores(own, values, machine, reduction)
        windows += [_window_score(clip, float(value)) for clip, value in zip(own, values, strict=True) if clip.cut]
    return scores, windows


def score_machines(
    clips: Sequence[Clip],
    reference: Embedded,
    query: Embedded,
    make_scorer: Callable[[], Scorer],
    threshold: Threshold,
    reduction: WindowReduction = "max",
) -> list[ClipScore]:
    """``fit_machines`` to the reference, then ``score_clips`` of the query."""
    fitted = fit_machines(clips, reference, make_scorer, threshold, reduction)
    return score_clips(clips, query, fitted, reduction)[0]


def _fit_machine(
    clips: Sequence[Clip],
    embeddings: Float[ndarray, "n dim"],
    make_scorer: Callable[[], Scorer],
    threshold: Threshold,
    reduction: WindowReduction,
) -> FittedMachine:
    is_target = np.array([clip.domain == "target" for clip in clips])
    group = numbered([clip.recording for clip in clips])
    scorer = fit_with(made(make_scorer), embeddings, is_target, group)
    if group.max() == 0:
        why = "there is one training recording, and a threshold needs scores of recordings that were left out"
        return FittedMachine(scorer, math.nan, why, np.empty(0))
    left_out = left_out_scores(scorer, make_scorer, embeddings, is_target, group)
    files, scores = reduced([clip.file for clip in clips], left_out, reduction)
    _name_outliers(files, scores)
    first = np.unique(numbered([clip.file for clip in clips]), return_index=True)[1]
    return FittedMachine(scorer, *fit_threshold(threshold, scores, is_target[first], group[first]), scores)


def fit_threshold(
    threshold: Threshold, scores: Float[ndarray, " n"], is_target: Bool[ndarray, " n"], recording: Int[ndarray, " n"]
) -> tuple[float, str]:
    """The threshold among left-out training scores; where that fails nan, with the reason ("" for none)."""
    try:
        if isinstance(threshold, RecordingThreshold):
            limit = threshold.fit_recordings(scores, is_target, recording)
        else:
            limit = threshold.fit(scores, is_target)
    except UserError as error:
        return math.nan, str(error)
    return limit, "the rule gave no number" if math.isnan(limit) else ""


def _recording_scores(
    clips: Sequence[Clip], values: Float[ndarray, " n"], machine: FittedMachine, reduction: WindowReduction
) -> list[ClipScore]:
    files, scores = reduced([clip.file for clip in clips], values, reduction)
    first = {clip.file: clip for clip in reversed(clips)}
    return [_clip_score(first[file], float(score), machine) for file, score in zip(files, scores, strict=True)]


def _name_outliers(files: Sequence[str], training_scores: Float[ndarray, " n"]) -> None:
    """Warn of training clips unlike all others: each pulls the threshold up and makes sounds like itself pass."""
    median = float(np.median(training_scores))
    far = np.flatnonzero(training_scores > _FAR_OUT * median) if median > 0 else np.empty(0, np.int64)
    if len(far):
        worst = far[np.argsort(-training_scores[far], kind="stable")][:_NAMED_AT_MOST]
        names = ", ".join(files[row] for row in worst)
        logger.warning(
            "%d training clip(s) over %g times further from the others than is usual, such as %s; "
            "listen to them, they raise the threshold",
            *(len(far), _FAR_OUT, names),
        )


def _by_machine(clips: Sequence[Clip], clip_ids: Int[ndarray, " n"]) -> dict[MachineKey, Int[ndarray, " rows"]]:
    groups: dict[MachineKey, list[int]] = {}
    for row, clip_id in enumerate(clip_ids):
        clip = clips[clip_id]
        groups.setdefault((clip.machine, clip.section), []).append(row)
    return {key: np.array(rows) for key, rows in groups.items()}


def _clip_score(clip: Clip, anomaly_score: float, machine: FittedMachine) -> ClipScore:
    return ClipScore(
        machine=clip.machine,
        section=clip.section,
        file=clip.file,
        domain=clip.domain,
        condition=clip.condition,
        attribute=clip.attribute,
        anomaly_score=anomaly_score,
        threshold=machine.threshold,
        decision=machine.decision(anomaly_score),
    )


def _window_score(clip: Clip, anomaly_score: float) -> WindowScore:
    seconds = math.nan if clip.seconds is None else clip.seconds
    return WindowScore(clip.machine, clip.section, clip.file, clip.start, seconds, anomaly_score)
