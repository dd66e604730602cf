"""Picture and sound of the clips that were judged most wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.layout import Clip
from asd_lightning.evaluation.worst_clips import WorstClip
from asd_lightning.pages.recordings import data_folder, lies_below
from asd_lightning.pages.runs import ReportedRun
from asd_lightning.pages.sound import ClipMedia, clip_media

AUDIO_BUDGET = 5_000_000
"""Bytes of sound that a page carries; clips beyond it have a picture alone.  A year's 15 machines stay below 8 MB."""
_CARDS = 24
_MOST_PER_KIND = 3


@dataclass(frozen=True)
class Mistake:
    """One of the worst clips, to be looked at and listened to; ``media`` is ``None`` where it cannot be read."""

    worst: WorstClip
    media: ClipMedia | None
    with_audio: bool
    missing: str


def per_kind(machines: int) -> int:
    """How many false alarms, and how many misses, of each machine are shown."""
    return max(1, min(_MOST_PER_KIND, _CARDS // max(2 * machines, 1)))


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

    def mistake(self, worst: WorstClip) -> Mistake:
        """The clip with its picture and, while there is room, its sound."""
        score = worst.clip
        name = (score.machine, score.section, score.file)
        clip = self._clips.get(name)
        if clip is None:
            return self._without(worst, "no run's table of clips says where its recording is")
        folder = self._folders[name]
        if folder is None or not lies_below(clip.path, folder):
            where = "which the run does not name" if folder is None else str(folder)
            return self._without(worst, f"its recording is not in the run's data folder, {where}")
        try:
            media = clip_media(clip, self._channels[name])
        except BadAudioError as error:
            return self._without(worst, str(error))
        if folder not in self.folders:
            self.folders.append(folder)
        fits = len(media.audio) <= self.left
        self.left -= len(media.audio) if fits else 0
        self.silent += not fits
        return Mistake(worst, media, fits, "")

    def _without(self, worst: WorstClip, reason: str) -> Mistake:
        self.missing.append(f"{worst.clip.machine}/{worst.clip.file}")
        return Mistake(worst, None, False, reason)
