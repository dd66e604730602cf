"""The pictures of an explanation, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32
from markupsafe import Markup
from numpy import ndarray

from asd_lightning.detector.judging import JUDGED, Window
from asd_lightning.explanation.explanation import Range, Unlike
from asd_lightning.explanation.spectrogram import Spectrogram
from asd_lightning.figures import decision_tint
from asd_lightning.pages.sound import picture_uri
from asd_lightning.pages.svg import Axes, frame, line, rectangle, round_ticks, svg, text

RANGE_DB = 70.0
"""From the loudest cell of either spectrogram down."""
_HZ = (100.0, 300.0, 1000.0, 3000.0, 8000.0, 20_000.0)
_THINNEST = 5.0


class Marks(NamedTuple):
    """What is marked in a spectrogram: bands in Hz, moments in s."""

    bands: Sequence[Range] = ()
    moments: Sequence[Range] = ()


def spectrogram_chart(
    description: str, shown: Spectrogram, start: float, seconds: float, top: float, marks: Marks | None = None
) -> Markup:
    """A spectrogram over time and frequency (mel scale), with the bands and moments that are unlike.

    Args:
        description: for those who do not see it.
        shown: levels in dB.
        start: of the sound, in s of its recording.
        seconds: its length.
        top: dB of the brightest color; ``RANGE_DB`` lower is black.
        marks: bands (bars at the right) and moments (bars on top).
    """
    edges = _mel(shown.edges)
    axes = Axes.of((start, start + seconds), (edges[0], edges[-1]), width=480, height=270, left=44, top=14, right=14)
    left, right, high, low = axes.x.start, axes.x.end, axes.y.end, axes.y.start
    image = Markup('<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" href="{}"/>').format(
        left, high, right - left, low - high, picture_uri(shown.decibels.T, top - RANGE_DB, top)
    )
    parts = [_frame(axes, shown.edges, start, seconds), image]
    found = marks or Marks()
    for band in found.bands:
        first, last = axes.y(float(_mel(band.high))), axes.y(float(_mel(band.low)))
        parts.append(rectangle(right + 3, first, 6, max(last - first, _THINNEST), "as"))
        parts += [line(left, edge, right, edge, "found") for edge in (first - 2, last + 2)]
    for moment in found.moments:
        first, last = axes.x(moment.low), axes.x(moment.high)
        parts.append(rectangle(first, high - 9, max(last - first, _THINNEST), 6, "as"))
        parts += [line(edge, high, edge, low, "found") for edge in (first, last)]
    return svg(axes, description, parts)


def band_chart(description: str, unlike: Unlike, marked: Sequence[Range], label: str) -> Markup:
    """A bar for each band, those that are marked in another color."""
    places = _mel(np.append(unlike.low, unlike.high[-1]))
    axes = Axes.of((places[0], places[-1]), _range(unlike.values), width=480, height=220, left=52)
    names = _ticks(unlike.low[0], unlike.high[-1])
    parts = [
        frame(axes, list(names), round_ticks(axes.y.low, axes.y.high, 4), "frequency, Hz", label, names.__getitem__),
        *_bars(axes, places, unlike, marked),
    ]
    return svg(axes, description, parts)


def time_chart(description: str, unlike: Unlike, marked: Sequence[Range], label: str) -> Markup:
    """A bar for each step of time, those that are marked in another color."""
    places = np.append(unlike.low, unlike.high[-1])
    axes = Axes.of((float(places[0]), float(places[-1])), _range(unlike.values), width=480, height=220, left=52)
    parts = [
        frame(axes, round_ticks(axes.x.low, axes.x.high), round_ticks(axes.y.low, axes.y.high, 4), "time, s", label),
        *_bars(axes, places, unlike, marked),
    ]
    return svg(axes, description, parts)


def windows_chart(
    description: str, windows: Sequence[Window], warning: float, alarm: float, label: str = "score"
) -> Markup:
    """The score of each window over the recording, by decision, with both thresholds; ``label`` is of the scores."""
    judged = [one.decision in JUDGED and bool(np.isfinite(one.score)) for one in windows]
    scores = [one.score for one, is_judged in zip(windows, judged, strict=True) if is_judged]
    levels = [level for level in (warning, alarm) if np.isfinite(level)]
    high = max([*scores, *levels, 0.0]) * 1.05
    low = min([*scores, 0.0])
    axes = Axes.of(
        (windows[0].start, max(one.end for one in windows)), (low, high), width=720, height=240, left=52, right=66
    )
    parts = [frame(axes, round_ticks(axes.x.low, axes.x.high, 8), round_ticks(low, high, 4), "time, s", label)]
    for one, is_judged in zip(windows, judged, strict=True):
        x, width = axes.x(one.start), axes.x(one.end) - axes.x(one.start)
        y = axes.y(one.score) if is_judged else axes.y.end
        css = decision_tint(one.decision).css
        parts.append(rectangle(x, y, max(width - 0.6, 0.8), axes.y.start - y, css if is_judged else f"{css} faint"))
    # Beside the bars; below its line and above it: the two may be close together.
    for level, name, lift in ((warning, "warning", 12), (alarm, "alarm", -1)):
        if np.isfinite(level):
            y = axes.y(level)
            parts.append(line(axes.x.start, y, axes.x.end + 4, y, "threshold"))
            parts.append(text(axes.x.end + 7, y + lift, name, "start"))
    return svg(axes, description, parts)


def loudest(*shown: Spectrogram) -> float:
    """The highest level of some spectrograms, in dB."""
    return max(float(one.decibels.max()) for one in shown)


def hertz(value: float) -> str:
    """A frequency in words.

    >>> hertz(440.4), hertz(2870.0), hertz(12_000.0)
    ('440 Hz', '2.87 kHz', '12 kHz')
    """
    return f"{value:.0f} Hz" if value < 1000 else f"{value / 1000:.3g} kHz"


def level_difference(one: Spectrogram, other: Spectrogram, low: float, high: float) -> float:
    """By how many dB a band is louder in one than in another, on average over time; nan where no row lies in it."""
    peaks = one.edges[1:-1]
    rows = (peaks >= low) & (peaks < high)
    if not rows.any():
        return float("nan")
    means: list[Float32[ndarray, " bands"]] = [each.decibels.mean(axis=0) for each in (one, other)]
    return float((means[0][rows] - means[1][rows]).mean())


def _frame(axes: Axes, edges: ndarray, start: float, seconds: float) -> Markup:
    names = _ticks(edges[0], edges[-1])
    return frame(axes, round_ticks(start, start + seconds), list(names), "time, s", "Hz", y_name=names.__getitem__)


def _ticks(low: float, high: float) -> dict[float, str]:
    """Places on the mel scale, and what stands there."""
    inside = [hz for hz in _HZ if low <= hz <= 1.01 * high]
    return {float(_mel(hz)): f"{hz:g}" if hz < 1000 else f"{hz / 1000:g}k" for hz in inside}


def _bars(axes: Axes, places: ndarray, unlike: Unlike, marked: Sequence[Range]) -> list[Markup]:
    parts = []
    for first, last, low, high, value in zip(
        places[:-1], places[1:], unlike.low, unlike.high, unlike.values, strict=True
    ):
        inside = any(one.low <= low and high <= one.high for one in marked)
        x, width = axes.x(float(first)), axes.x(float(last)) - axes.x(float(first))
        top, bottom = sorted((axes.y(0.0), axes.y(float(value))))
        parts.append(rectangle(x, top, max(width - 0.4, 0.6), bottom - top, "as" if inside else "ns"))
    return [*parts, line(axes.x.start, axes.y(0.0), axes.x.end, axes.y(0.0), "axis")]


def _range(values: ndarray) -> tuple[float, float]:
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    return (low * 1.05, high * 1.05) if high > low else (0.0, 1.0)


def _mel(hz: float | ndarray) -> ndarray:
    return np.asarray(np.log1p(np.asarray(hz) / 700.0))
