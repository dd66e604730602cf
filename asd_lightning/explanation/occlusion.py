"""How far a score falls when a stretch or a band of a recording sounds like something else.

Occlusion (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014), on waveforms, so that
it asks nothing of the embedder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from numpy import ndarray

from asd_lightning.explanation.layout import Bands

ScoreOf = Callable[[Sequence[Float32[ndarray, " samples"]]], Float[ndarray, " n"]]
"""From waveforms to their scores."""
StandIn = Callable[[int, int], Float32[ndarray, " part"]]
"""From first sample and end of a stretch to what stands in its place."""

_STEPS, _SHORTEST_STEP = 40, 0.1
_FADE = 0.01


def step_seconds(seconds: float) -> float:
    """Length of the steps in which a waveform of that length is looked at.

    >>> step_seconds(10.0), step_seconds(1.0)
    (0.25, 0.1)
    """
    return max(seconds / _STEPS, _SHORTEST_STEP)


def falls_over_time(
    waveform: Float32[ndarray, " samples"],
    stand_in: StandIn,
    score_of: ScoreOf,
    sample_rate: int,
    ranges: Sequence[tuple[float, float]] = (),
) -> tuple[Float64[ndarray, " edges"], Float64[ndarray, " steps"]]:
    """How far the score falls without each step of time.

    Stretches of two steps are replaced, each half over the next; a step has the mean of the two that it lies in.

    Args:
        waveform: to look at.
        stand_in: gives what stands in a stretch's place; it is faded in and out within 10 ms.
        score_of: scores waveforms.
        sample_rate: in Hz.
        ranges: frequencies in Hz, from and to, that are replaced alone; all where there is none.

    Returns:
        Where the steps begin, and where the last one ends, in s; and the fall of the score in each, below 0 where it
        rises.
    """
    step = round(step_seconds(len(waveform) / sample_rate) * sample_rate)
    starts = np.arange(0, len(waveform), step)
    if len(starts) > 1 and len(waveform) - starts[-1] < step / 2:
        starts = starts[:-1]
    edges = np.append(starts, len(waveform))
    places = [
        (int(edges[max(first, 0)]), int(edges[min(first + 2, len(edges) - 1)])) for first in range(-1, len(starts))
    ]
    fade = round(_FADE * sample_rate)
    inside = _inside(len(waveform), ranges, sample_rate)
    made = [_with_stretch(waveform, stand_in(*place), place, fade, inside) for place in places]
    scores = score_of([waveform, *made])
    falls = scores[0] - scores[1:]
    return edges / sample_rate, np.asarray((falls[:-1] + falls[1:]) / 2, np.float64)


def falls_over_bands(
    waveform: Float32[ndarray, " samples"],
    other: Float32[ndarray, " samples"],
    bands: Bands,
    score_of: ScoreOf,
    sample_rate: int,
) -> Float64[ndarray, " bands"]:
    """How far the score falls when each band is that of another waveform; below 0 where it rises."""
    cuts = zip(bands.low.tolist(), bands.high.tolist(), strict=True)
    scores = score_of([waveform, *(with_band(waveform, other, *cut, sample_rate) for cut in cuts)])
    return np.asarray(scores[0] - scores[1:], np.float64)


def with_band(
    waveform: Float32[ndarray, " samples"],
    other: Float32[ndarray, " samples"],
    low: float,
    high: float,
    sample_rate: int,
) -> Float32[ndarray, " samples"]:
    """A waveform whose frequencies from ``low`` to below ``high`` Hz are those of another of its length."""
    difference = other.astype(np.float64) - waveform
    return _limited(waveform, difference, _inside(len(waveform), [(low, high)], sample_rate))


def of_other(other: Float32[ndarray, " samples"]) -> StandIn:
    """The same stretch of another waveform."""
    return lambda start, stop: other[start:stop]


def of_its_own(waveform: Float32[ndarray, " samples"], decibels: Float[ndarray, "frames bands"]) -> StandIn:
    """The most ordinary stretch of the waveform itself: whose mean spectrum is nearest the median over time.

    Args:
        waveform: to look at.
        decibels: its log-mel spectrogram.
    """
    median = np.median(decibels, axis=0)
    sums = np.cumsum(np.concatenate([np.zeros((1, decibels.shape[1])), decibels]), axis=0)
    per_frame = len(waveform) / len(decibels)

    def stretch(start: int, stop: int) -> Float32[ndarray, " part"]:
        frames = max(round((stop - start) / per_frame), 1)
        means = (sums[frames:] - sums[:-frames]) / frames
        nearest = int(np.argmin(np.square(means - median).sum(axis=1)))
        first = min(round(nearest * per_frame), len(waveform) - (stop - start))
        return waveform[first : first + stop - start]

    return stretch


def _inside(samples: int, ranges: Sequence[tuple[float, float]], sample_rate: int) -> Bool[ndarray, " bins"]:
    """Which bins of a waveform's spectrum lie in one of the ranges; all where there is none."""
    frequency = np.fft.rfftfreq(samples, 1 / sample_rate)
    inside = np.full(len(frequency), not ranges)
    for low, high in ranges:
        inside |= (frequency >= low) & (frequency < high)
    return inside


def _limited(
    waveform: Float32[ndarray, " samples"], difference: Float64[ndarray, " samples"], inside: Bool[ndarray, " bins"]
) -> Float32[ndarray, " samples"]:
    """The waveform plus what of a difference lies in some frequencies."""
    if not inside.all():
        difference = np.fft.irfft(np.fft.rfft(difference) * inside, len(difference))
    return np.asarray(waveform + difference, np.float32)


def _with_stretch(
    waveform: Float32[ndarray, " samples"],
    part: Float32[ndarray, " part"],
    place: tuple[int, int],
    fade: int,
    inside: Bool[ndarray, " bins"],
) -> Float32[ndarray, " samples"]:
    """With ``part`` from first sample to end of ``place``, faded in and out but at the waveform's own ends."""
    start, stop = place
    weight = np.ones(stop - start)
    length = min(fade, len(weight) // 2)
    ramp = (np.arange(length) + 1) / (length + 1)
    if length and start > 0:
        weight[:length] = ramp
    if length and stop < len(waveform):
        weight[-length:] = ramp[::-1]
    difference = np.zeros(len(waveform))
    difference[start:stop] = weight * (part.astype(np.float64) - waveform[start:stop])
    return _limited(waveform, difference, inside)
