"""The clips that were judged most wrongly, to be looked at and listened to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.layout import Clip
from asd_lightning.pages.recordings import data_folder, lies_below
from asd_lightning.pages.runs import MachineKey, ReportedRun
from asd_lightning.pages.sound import ClipMedia, clip_media
from asd_lightning.scoring.clip_scores import ClipScore

AUDIO_BUDGET = 6_000_000
"""Bytes of sound that a page carries; clips beyond it have a picture alone."""
_CARDS = 24
_MOST_PER_KIND = 3


@dataclass(frozen=True)
class Judgement:
    """What one run said of a clip; ``wrong`` of an unlabelled one: it raised an alarm."""

    run: int
    anomaly_score: float
    threshold: float
    wrong: bool


@dataclass(frozen=True)
class Mistake:
    """A clip that at least one run judged wrongly, or an unlabelled one that raised an alarm.

    ``media`` is ``None`` where the recording cannot be read.
    """

    kind: str
    clip: ClipScore
    judgements: tuple[Judgement, ...]
    media: ClipMedia | None
    with_audio: bool
    missing: str


def per_kind(machines: int) -> int:
    """How many false alarms, and how many misses, of each machine are shown."""
    return max(1, min(_MOST_PER_KIND, _CARDS // max(2 * machines, 1)))


def worst_clips(
    runs: Sequence[ReportedRun], key: MachineKey, count: int
) -> Iterator[tuple[str, ClipScore, tuple[Judgement, ...]]]:
    """The worst ``count`` false alarms and misses of a machine, worst first; of unlabelled clips the loudest alarms.

    Clips are ordered by how far they lie on the wrong side of the threshold, on average over the runs, in units of
    each run's standard deviation of scores; a clip that no run judges wrongly is no mistake.
    """
    judged: dict[str, list[tuple[float, ClipScore, Judgement]]] = {}
    for index, run in enumerate(runs):
        scores = run.clips_of(key)
        spread = float(np.std([score.anomaly_score for score in scores])) if scores else 1.0
        for score in scores:
            if math.isnan(score.threshold):
                continue
            above = score.anomaly_score - score.threshold
            margin = (-above if score.condition == "anomaly" else above) / (spread or 1.0)
            wrong = (score.decision == 1) == (score.condition != "anomaly")
            judgement = Judgement(index, score.anomaly_score, score.threshold, wrong)
            judged.setdefault(score.file, []).append((margin, score, judgement))
    for kind, condition in (("alarm", "unknown"), ("false alarm", "normal"), ("miss", "anomaly")):
        clips = [
            (float(np.mean([margin for margin, _, _ in rows])), file, rows)
            for file, rows in judged.items()
            if rows[0][1].condition == condition and any(judgement.wrong for _, _, judgement in rows)
        ]
        for _, _, rows in sorted(clips, key=lambda clip: (-clip[0], clip[1]))[:count]:
            yield kind, rows[0][1], tuple(judgement for _, _, judgement in rows)


class MediaBudget:
    """Reads clips' pictures and sound until the page carries as much sound as it may."""

    def __init__(self, runs: Sequence[ReportedRun], limit: int = AUDIO_BUDGET) -> None:
        self.left = limit
        self.missing: list[str] = []
        self.silent = 0
        self.folders: list[Path] = []
        """Where recordings were read from."""
        self._clips: dict[tuple[str, str, str], Clip] = {}
        self._folders: dict[tuple[str, str, str], Path | None] = {}
        self._channels: dict[tuple[str, str, str], int | str] = {}
        for run in runs:
            folder = data_folder(run)
            for clip in run.embeddings.query_clips if run.embeddings else ():
                name = (clip.machine, clip.section, clip.file)
                # Of a recording that was heard in windows the whole.
                self._clips.setdefault(name, replace(clip, start=0.0, seconds=None) if clip.cut else clip)
                self._folders.setdefault(name, folder)
                channel = run.embeddings.key.preprocessing.channel if run.embeddings else 0
                self._channels.setdefault(name, channel)

    def mistake(self, kind: str, score: ClipScore, judgements: tuple[Judgement, ...]) -> Mistake:
        """The clip with its picture and, while there is room, its sound."""
        name = (score.machine, score.section, score.file)
        clip = self._clips.get(name)
        if clip is None:
            return self._without(kind, score, judgements, "no run's table of clips says where its recording is")
        folder = self._folders[name]
        if folder is None or not lies_below(clip.path, folder):
            where = "which the run does not name" if folder is None else str(folder)
            return self._without(kind, score, judgements, f"its recording is not in the run's data folder, {where}")
        try:
            media = clip_media(clip, self._channels[name])
        except BadAudioError as error:
            return self._without(kind, score, judgements, str(error))
        if folder not in self.folders:
            self.folders.append(folder)
        fits = len(media.audio) <= self.left
        self.left -= len(media.audio) if fits else 0
        self.silent += not fits
        return Mistake(kind, score, judgements, media, fits, "")

    def _without(self, kind: str, score: ClipScore, judgements: tuple[Judgement, ...], reason: str) -> Mistake:
        self.missing.append(f"{score.machine}/{score.file}")
        return Mistake(kind, score, judgements, None, False, reason)
