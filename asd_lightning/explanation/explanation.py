"""What of a recording decides: its score in bands of frequency and steps of time, and the normal sound beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from asd_lightning.data.audio import BadAudioError
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.excerpts import excerpt_waveform
from asd_lightning.detector.hearing import Hearing, Sound
from asd_lightning.detector.judging import Judgment, Place, Window, scores_of
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.progress import shown
from asd_lightning.errors import UserError
from asd_lightning.explanation.layout import layout_of, occluded_bands
from asd_lightning.explanation.occlusion import (
    ScoreOf,
    falls_over_bands,
    falls_over_time,
    of_its_own,
    of_other,
)
from asd_lightning.explanation.spectrogram import spectrogram
from asd_lightning.scoring.contributions import SummingScorer

_MOST_RANGES = 5
# Bands that hold so much of all that is unlike are marked.
_HALF = 0.5
# Steps of time so much as unlike as the most unlike one are marked; those beside a short sound have half of it.
_NEARLY = 0.6
# A fall of the score that is less than this share of the way from normal sound to warnings is none to speak of.
_CLEAR = 0.05


class Range(NamedTuple):
    """From ``low`` to ``high`` (Hz, or s), and how much of the score lies there."""

    low: float
    high: float
    value: float


@dataclass(frozen=True)
class Unlike:
    """How unlike normal sound each band, or each step of time, is.

    Attributes:
        low: where each begins, in Hz or in s of the recording.
        high: where each ends.
        values: what each adds to the score (``exact``), or how much it matters by trial: how far the score falls where
            normal sound stands in its place, and how far the score of the normal sound rises where it stands in that;
            the mean of both.
        exact: whether the values and ``constant`` add up to the score of the window.
        constant: what is nobody's.
        least: what matters less than this does not stand out.
    """

    low: Float[ndarray, " n"]
    high: Float[ndarray, " n"]
    values: Float[ndarray, " n"]
    exact: bool = False
    constant: float = 0.0
    least: float = 0.0


@dataclass(frozen=True)
class Counterpart:
    """Normal sound of which the detector keeps an excerpt.

    Attributes:
        place: where it is from.
        waveform: of the excerpt.
        is_nearest: whether it is the piece of the bank that the recording is most like; otherwise it is the most alike
            of those that are kept.
    """

    place: Place
    waveform: Float32[ndarray, " samples"]
    is_nearest: bool


@dataclass(frozen=True)
class Explanation:
    """Why a recording is judged as it is.

    Attributes:
        judgment: of the whole recording, as ``asd score`` gives it.
        sample_rate: of the waveforms, in Hz.
        window: that decides: the loudest of those that could be judged, in the state that decided; ``None`` where none
            could.
        waveform: of that window, or of the recording's first where none could be judged; ``None`` where it cannot be
            read.
        bands: how unlike each band of the window is, or ``None``.
        moments: likewise each step of time.
        own_sound: whether, for want of an excerpt, the recording itself stood in the place of each step; then it is how
            far the score falls that counts, alone.
        counterpart: normal sound to compare with, or ``None``.
    """

    judgment: Judgment
    sample_rate: int
    window: Window | None = None
    waveform: Float32[ndarray, " samples"] | None = None
    bands: Unlike | None = None
    moments: Unlike | None = None
    own_sound: bool = False
    counterpart: Counterpart | None = None

    def marked_bands(self) -> list[Range]:
        """The bands that hold half of what is unlike, neighbors together; the most unlike first."""
        return marked_bands(self.bands)

    def marked_moments(self) -> list[Range]:
        """The steps nearly as unlike as the most unlike one, neighbors together; the most unlike first.

        None where no exchange lowers the score clearly: by as much as others raise it, which is the exchange's own
        doing, and by `Unlike.least`.
        """
        if self.moments is None:
            return []
        values, least = self.moments.values, self.moments.least
        highest = float(values.max())
        if highest <= 0 or highest < -float(values.min()) or highest < least:
            return []
        return _ranges(self.moments, values >= _NEARLY * highest)


def marked_bands(bands: Unlike | None) -> list[Range]:
    """See `Explanation.marked_bands`."""
    if bands is None:
        return []
    above = np.maximum(bands.values, 0.0)
    order = np.argsort(-above, kind="stable")
    count = int(np.searchsorted(np.cumsum(above[order]), _HALF * above.sum())) + 1
    wanted = np.zeros(len(above), dtype=bool)
    wanted[order[:count]] = above[order[:count]] > 0
    return _ranges(bands, wanted)


def explained(detector: Detector, recording: Path, machine: str | None = None, batch_size: int = 32) -> Explanation:
    """Judge a recording, and say what of it decides.

    Args:
        detector: fitted.
        recording: one file.
        machine: whose; by default the only one, or the one whose name is that of a folder above the recording.
        batch_size: windows at a time.

    Raises:
        UserError: a folder, or an unknown machine.
    """
    if recording.is_dir():
        raise UserError(f"{recording}: is a folder; one recording is explained at a time, give a file in it")
    sounds = detector.sounds_given([recording], machine)
    return explained_judgment(detector, detector.judge([recording], machine, batch_size)[0], sounds, batch_size)


def explained_judgment(
    detector: Detector, judgment: Judgment, sounds: Sequence[Sound], batch_size: int = 32
) -> Explanation:
    """What of a recording decides that was judged already.

    Args:
        detector: fitted.
        judgment: of the recording.
        sounds: the pieces of it.
        batch_size: windows at a time.
    """
    rate = detector.hearing_.preprocessing.sample_rate
    window = judgment.loudest()
    try:
        first = sounds[0] if window is None else next(one for one in sounds if one.clip.start == window.start)
        waveform = detector.hearing_.waveform(first)
    except BadAudioError:
        return Explanation(judgment, rate)
    if window is None:
        return Explanation(judgment, rate, waveform=waveform)
    return _of_window(detector, judgment, window, Sound(first.clip, waveform), batch_size)


def _of_window(detector: Detector, judgment: Judgment, window: Window, sound: Sound, batch_size: int) -> Explanation:
    hearing, machine = detector.hearing_, detector.machines_[judgment.machine]
    rate, waveform = hearing.preprocessing.sample_rate, hearing.waveform(sound)
    score_of = _score_of(hearing, machine, sound, batch_size)
    embedding = hearing.embed([sound], _nothing).embeddings
    counterpart = _counterpart(detector, machine, embedding)
    other = None if counterpart is None else np.resize(counterpart.waveform, len(waveform))
    bands = _summed(hearing, machine, embedding[0].astype(np.float64))
    if bands is None and other is not None:
        cut = occluded_bands(rate)
        falls = falls_over_bands(waveform, other, cut, score_of, rate)
        falls_back = falls_over_bands(other, waveform, cut, score_of, rate)
        bands = Unlike(*cut, (falls - falls_back) / 2)
    edges, values = _over_time(waveform, other, score_of, rate, [(one.low, one.high) for one in marked_bands(bands)])
    edges = edges + window.start
    moments = Unlike(edges[:-1], edges[1:], values, least=_CLEAR * machine.unit(judgment.state))
    return Explanation(judgment, rate, window, waveform, bands, moments, other is None, counterpart)


def _over_time(
    waveform: Float32[ndarray, " samples"],
    other: Float32[ndarray, " samples"] | None,
    score_of: ScoreOf,
    sample_rate: int,
    ranges: Sequence[tuple[float, float]],
) -> tuple[Float[ndarray, " edges"], Float[ndarray, " steps"]]:
    """What each step matters; see `Unlike`.

    Of the most unlike bands alone, where bands are known: the rest is not what makes the recording unlike, and
    exchanging it would tell of the exchange.  What lasts is still there when one stretch is left out, and what is short
    is nothing beside a normal rest: the mean of both ways sees both.
    """
    if other is None:
        stand_in = of_its_own(waveform, spectrogram(waveform, sample_rate).decibels)
        return falls_over_time(waveform, stand_in, score_of, sample_rate, ranges)
    edges, falls = falls_over_time(waveform, of_other(other), score_of, sample_rate, ranges)
    _, falls_back = falls_over_time(other, of_other(waveform), score_of, sample_rate, ranges)
    return edges, (falls - falls_back) / 2


def _score_of(hearing: Hearing, machine: Machine, sound: Sound, batch_size: int) -> ScoreOf:
    def score_of(waveforms: Sequence[Float32[ndarray, " samples"]]) -> Float[ndarray, " n"]:
        pieces = [Sound(sound.clip, waveform) for waveform in waveforms]
        heard = hearing.embed(shown(pieces, "leaving parts out"), _nothing, batch_size)
        return scores_of(machine, heard.embeddings)

    return score_of


def _nothing(sound: Sound, waveform: Float32[ndarray, " samples"]) -> None:
    """Nothing more is to be known of a piece."""


def _summed(hearing: Hearing, machine: Machine, embedding: Float[ndarray, " dim"]) -> Unlike | None:
    """What each band adds to the score, where the score is such a sum and the embedding has bands."""
    layout = layout_of(hearing)
    if layout is None or not isinstance(machine.scorer, SummingScorer):
        return None
    found = machine.scorer.contributions(embedding)
    if found is None:
        return None
    values = np.bincount(layout.of_dimension, found.values, len(layout.bands.low))
    return Unlike(*layout.bands, values, exact=True, constant=found.constant)


def _counterpart(detector: Detector, machine: Machine, embedding: Float32[ndarray, "1 dim"]) -> Counterpart | None:
    """The nearest piece of the bank where its sound is kept; else the nearest of those whose sound is."""
    kept = detector.sounds_of(machine.name)
    items = machine.bank.items
    rows = [row for row in map(int, filter(str.isdecimal, kept)) if row < len(items) and items[row].role == "bank"]
    if not rows:
        return None
    nearest = int(machine.nearest(embedding)[0])
    row = nearest if nearest in rows else int(machine.nearest(embedding, np.array(rows))[0])
    waveform = excerpt_waveform(kept[str(row)].tobytes(), detector.hearing_)
    return None if waveform is None else Counterpart(Place(items[row].file, items[row].start), waveform, row == nearest)


def _ranges(unlike: Unlike, wanted: ndarray) -> list[Range]:
    """Neighbors that are wanted as one, over gaps of one; the largest first, and no more than can be looked at."""
    wanted = wanted.copy()
    wanted[1:-1] |= wanted[:-2] & wanted[2:]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(int)))
    found = [
        Range(float(unlike.low[first]), float(unlike.high[stop - 1]), float(unlike.values[first:stop].sum()))
        for first, stop in zip(edges[::2], edges[1::2], strict=True)
    ]
    return sorted(found, key=lambda one: -one.value)[:_MOST_RANGES]
