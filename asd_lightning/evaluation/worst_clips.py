"""The clips that were judged most wrongly: the same ones on a page, on a dashboard and in a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from asd_lightning.scoring.clip_scores import ClipScore

Kind = Literal["alarm", "false alarm", "miss"]
KINDS: dict[Kind, str] = {"alarm": "unknown", "false alarm": "normal", "miss": "anomaly"}
"""What is wrong, and the condition of the clips that it can happen to; an alarm on an unlabelled clip may be right."""


@dataclass(frozen=True)
class Judgment:
    """What the run with the number ``run`` said of a clip; ``wrong`` of an unlabelled one: it raised an alarm."""

    run: int
    anomaly_score: float
    threshold: float
    wrong: bool
    margin: float


@dataclass(frozen=True)
class WorstClip:
    """A clip that at least one run judged wrongly.

    Attributes:
        kind: what is wrong.
        clip: as the first of the runs scored it.
        judgements: of all runs that have a threshold.
        margin: how far it lies on the wrong side, see ``worst_clips``.
    """

    kind: Kind
    clip: ClipScore
    judgments: tuple[Judgment, ...]
    margin: float


def worst_clips(runs: Sequence[Sequence[ClipScore]], count: int) -> list[WorstClip]:
    """At most ``count`` clips of each kind in ``KINDS``, the worst first.

    Clips are ordered by how far their scores lie on the wrong side of the threshold, on average over the runs, in
    units of the standard deviation of the run's scores of that machine: so machines and runs compare.  A clip that no
    run judges wrongly, or that has no threshold, is left out.

    Args:
        runs: the scores of each, of the same clips.
        count: of clips of each kind.
    """
    judged: dict[tuple[str, str, str], list[tuple[ClipScore, Judgment]]] = {}
    for number, scores in enumerate(runs):
        spreads = _spreads(scores)
        for score in scores:
            if not math.isnan(score.threshold):
                judgment = _judged(number, score, spreads[score.machine, score.section])
                judged.setdefault((score.machine, score.section, score.file), []).append((score, judgment))
    clips = [_worst(rows) for rows in judged.values() if any(judgment.wrong for _, judgment in rows)]
    clips.sort(key=lambda worst: (-worst.margin, worst.clip[:3]))
    return [worst for kind in KINDS for worst in [each for each in clips if each.kind == kind][:count]]


def _spreads(scores: Sequence[ClipScore]) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], list[float]] = {}
    for score in scores:
        values.setdefault((score.machine, score.section), []).append(score.anomaly_score)
    return {machine: float(np.std(own)) or 1.0 for machine, own in values.items()}


def _judged(run: int, score: ClipScore, spread: float) -> Judgment:
    above = (score.anomaly_score - score.threshold) / spread
    anomalous = score.condition == "anomaly"
    wrong = (score.decision == 1) != anomalous
    return Judgment(run, score.anomaly_score, score.threshold, wrong, -above if anomalous else above)


def _worst(rows: Sequence[tuple[ClipScore, Judgment]]) -> WorstClip:
    clip = rows[0][0]
    (kind,) = (kind for kind, condition in KINDS.items() if condition == clip.condition)
    judgments = tuple(judgment for _, judgment in rows)
    return WorstClip(kind, clip, judgments, float(np.mean([judgment.margin for judgment in judgments])))
