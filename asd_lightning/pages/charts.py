"""The charts of the report, as inline SVG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from asd_lightning.data.layout import Clip
from asd_lightning.evaluation.metrics import MAX_FPR
from asd_lightning.figures import SERIES, UNKNOWN, group_tint, series_tint
from asd_lightning.pages.curves import LOWEST_RATE, Curve, det, deviate, embedding_map, histogram, machine_rows, roc
from asd_lightning.pages.svg import Axes, crosses, dots, frame, line, polyline, rectangle, round_ticks, svg, text
from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.scoring.embedding_cache import EmbeddingCache

_DET_TICKS = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
_RATE_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_ROW = 17
# Pixels of the margin of labels -> letters that it holds: the narrow one where all of them fit.
_NARROW, _WIDE = (136, 16), (216, 26)


class IntervalRow(NamedTuple):
    """A line of an interval chart, in per cent: one estimate with its interval, or several bare ``others``."""

    label: str
    css: str
    estimate: float = math.nan
    low: float = math.nan
    high: float = math.nan
    others: tuple[float, ...] = ()


def score_histogram(machine: str, scores: Sequence[ClipScore]) -> Markup:
    """Normal clips upwards, anomalous ones downwards, and the decision threshold."""
    found = histogram(scores)
    up = [group for group in sorted(found.counts) if group[0] != "anomaly"]
    down = [group for group in sorted(found.counts) if group[0] == "anomaly"]
    highest, lowest = (max([1.0, *sum((found.counts[g] for g in gs), np.zeros(1))]) for gs in (up, down))
    bottom = -lowest if down else 0.0
    axes = Axes.of((found.edges[0], found.edges[-1]), (bottom * 1.05, highest * 1.05))
    ticks = [tick for tick in round_ticks(bottom, highest, 4) if tick == int(tick)]
    parts = [
        frame(
            axes,
            round_ticks(axes.x.low, axes.x.high),
            ticks,
            f"anomaly score (last bar: {found.beyond} beyond)" if found.beyond else "anomaly score",
            "anomalies | normal clips" if down else "clips",
            y_name=lambda count: f"{abs(count):g}",
        )
    ]
    for groups, sign in ((up, 1), (down, -1)):
        base = np.zeros(len(found.edges) - 1)
        for group in groups:
            parts += _bars(axes, found.edges, base, sign * found.counts[group], group_tint(*group).css)
            base = base + sign * found.counts[group]
    parts.append(line(axes.x.start, axes.y(0), axes.x.end, axes.y(0), "axis"))
    threshold = scores[0].threshold
    if not math.isnan(threshold):
        x = axes.x(threshold)
        parts.append(line(x, axes.y.start, x, axes.y.end, "threshold"))
        before = x > (axes.x.start + axes.x.end) / 2
        parts.append(text(x - 4 if before else x + 4, axes.y.end + 9, "threshold", "end" if before else "start"))
    return svg(axes, f"Histogram of anomaly scores of {machine}: {_counted(scores)}", parts)


def roc_chart(machine: str, runs: Sequence[tuple[str, Sequence[ClipScore]]]) -> Markup:
    """ROC of every run: source (solid) and target (dashed) normal clips against all anomalies."""
    axes = Axes.of((0, 1), (0, 1), height=300)
    parts = [rectangle(axes.x(0), axes.y.end, axes.x(MAX_FPR) - axes.x(0), axes.y.start - axes.y.end, "partial")]
    parts.append(frame(axes, _RATE_TICKS, _RATE_TICKS, "false-alarm rate", "hit rate"))
    parts.append(polyline(axes, (0, 1), (0, 1), "chance"))
    for index, (_, scores) in enumerate(runs):
        for domain in ("source", "target"):
            curve = roc(scores, domain)
            if curve is not None:
                parts.append(polyline(axes, *curve, f"curve {series_tint(index).css} {domain}"))
    description = f"ROC curves of {machine}, by run and domain; the shaded part counts in pAUC"
    return svg(axes, description, parts)


def det_chart(machine: str, runs: Sequence[tuple[str, Sequence[ClipScore]]]) -> Markup:
    """Detection error trade-off of every run over the clips of both domains."""
    edge = -float(deviate(np.array([LOWEST_RATE]))[0])
    axes = Axes.of((-edge, edge), (-edge, edge), height=300)
    ticks = deviate(np.array(_DET_TICKS)).tolist()
    names = {tick: f"{100 * rate:g}" for tick, rate in zip(ticks, _DET_TICKS, strict=True)}
    parts = [frame(axes, ticks, ticks, "false alarms, %", "misses, %", names.__getitem__, names.__getitem__)]
    parts.append(polyline(axes, (-edge, edge), (edge, -edge), "chance"))
    for index, (_, scores) in enumerate(runs):
        curve: Curve | None = det(scores)
        if curve is not None:
            parts.append(polyline(axes, *curve, f"curve {series_tint(index).css}"))
    return svg(axes, f"Detection error trade-off of {machine}, by run, on normal-deviate axes", parts)


class MapCharts(NamedTuple):
    """The embedding map twice, and the attributes that have a colour of their own."""

    by_domain: Markup
    by_attribute: Markup
    attributes: tuple[str, ...]
    share: float


def map_charts(machine: str, section: str, cache: EmbeddingCache, scores: Sequence[ClipScore]) -> MapCharts | None:
    """Training and test embeddings of one machine by domain and condition, and by attribute; ``None``: none there."""
    reference, query = machine_rows(cache, machine, section)
    if not reference and not query:
        return None
    found = embedding_map(np.concatenate([cache.reference[reference], cache.query[query]]))
    low, high = found.points.min(axis=0), found.points.max(axis=0)
    margin = 0.04 * (high - low) + 1e-12
    (x0, y0), (x1, y1) = (low - margin).tolist(), (high + margin).tolist()
    axes = Axes.of((x0, x1), (y0, y1), height=260, left=6, right=6, bottom=6, top=6)
    place = [(axes.x(x), axes.y(y)) for x, y in found.points.tolist()]
    # The truth may have been joined to the scores after the test.
    truth = {score.file: score for score in scores}
    clips: list[Clip | ClipScore] = [cache.reference_clips[row] for row in reference]
    clips += [truth.get(cache.query_clips[row].file, cache.query_clips[row]) for row in query]
    border = rectangle(6, 6, axes.width - 12, axes.height - 12, "border")
    training = set(range(len(reference)))
    by_domain = [border, *_by_domain(clips, place, training)]
    attributes, by_attribute = _by_attribute(clips, place)
    counts = f"{len(reference)} training and {len(query)} test clips of {machine}, two principal components"
    return MapCharts(
        svg(axes, f"Embeddings of {counts}, by domain and condition", by_domain),
        svg(axes, f"Embeddings of {counts}, by attribute", [border, *by_attribute]),
        attributes,
        found.share,
    )


def interval_chart(description: str, rows: Sequence[IntervalRow]) -> Markup:
    """One line for each row: a dot at the estimate and a whisker over the interval."""
    label_width, letters = _NARROW if all(len(row.label) <= _NARROW[1] for row in rows) else _WIDE
    values = [v for row in rows for v in (row.estimate, row.low, row.high, *row.others) if not math.isnan(v)]
    low, high = (min([*values, 50.0]) - 2, max([*values, 50.0]) + 2)
    height = _ROW * len(rows) + 40
    axes = Axes.of((low, high), (len(rows), 0), width=440, height=height, left=label_width, bottom=32, top=4)
    parts = [frame(axes, round_ticks(low, high, 6), [], "per cent", "")]
    parts.append(line(axes.x(50), axes.y.start, axes.x(50), axes.y.end, "chance"))
    for index, row in enumerate(rows):
        y = axes.y(index + 0.5)
        parts.append(text(label_width - 8, y + 4, _shortened(row.label, letters), "end"))
        if not math.isnan(row.low):
            parts.append(line(axes.x(row.low), y, axes.x(row.high), y, f"whisker {row.css}"))
        if not math.isnan(row.estimate):
            parts.append(dots([(axes.x(row.estimate), y)], f"{row.css} big"))
        parts += [line(axes.x(value), y - 5, axes.x(value), y + 5, f"tick {row.css}") for value in row.others]
    return svg(axes, description, parts)


def _shortened(label: str, letters: int) -> str:
    """As much of a label as its margin holds; the legend has it whole."""
    return label if len(label) <= letters else f"{label[: letters - 1]}…"


def _bars(axes: Axes, edges: np.ndarray, base: np.ndarray, height: np.ndarray, css: str) -> list[Markup]:
    bars = []
    for left, right, start, size in zip(edges[:-1], edges[1:], base, height, strict=True):
        if size:
            top, bottom = sorted((axes.y(start), axes.y(start + size)))
            bars.append(rectangle(axes.x(left), top, axes.x(right) - axes.x(left) - 0.6, bottom - top, css))
    return bars


def _counted(scores: Sequence[ClipScore]) -> str:
    counts = Counter(f"{score.condition} {score.domain}" for score in scores)
    return ", ".join(f"{count} {group} clips" for group, count in sorted(counts.items()))


def _by_domain(
    clips: Sequence[Clip | ClipScore], place: Sequence[tuple[float, float]], training: set[int]
) -> list[Markup]:
    groups: dict[tuple[bool, bool, str], list[tuple[float, float]]] = {}
    for index, clip in enumerate(clips):
        anomaly = clip.condition == "anomaly"
        css = group_tint(clip.condition, clip.domain).css + (" train" if index in training else "")
        groups.setdefault((index not in training, anomaly, css), []).append(place[index])
    # Training clips first: the test clips lie on top of them.
    return [(crosses if anomaly else dots)(points, css) for (_, anomaly, css), points in sorted(groups.items())]


def _by_attribute(
    clips: Sequence[Clip | ClipScore], place: Sequence[tuple[float, float]]
) -> tuple[tuple[str, ...], list[Markup]]:
    counts = Counter(clip.attribute for clip in clips if clip.attribute)
    named = tuple(sorted(name for name, _ in counts.most_common(len(SERIES))))
    css = {name: series_tint(index).css for index, name in enumerate(named)}
    groups: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for clip, point in zip(clips, place, strict=True):
        groups.setdefault((css.get(clip.attribute, UNKNOWN.css), clip.condition == "anomaly"), []).append(point)
    marks = [(crosses if anomaly else dots)(points, name) for (name, anomaly), points in sorted(groups.items())]
    return named, marks
