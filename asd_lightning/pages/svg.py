"""Inline SVG: axes and marks.  Colours are CSS classes of the page, so that charts follow light, dark and print.

Everything that may come from a file name passes through ``Markup.format``, which escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

Real = float | int
"""A run-time checker tells the two apart."""


@dataclass(frozen=True)
class Scale:
    """Linear map from data ``low..high`` to pixels ``start..end``."""

    low: Real
    high: Real
    start: Real
    end: Real

    def __call__(self, value: Real) -> float:
        """Pixel of ``value``, to a tenth; the middle where the data have a single value."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.5
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Axes:
    """The plotting area of a chart of ``width`` x ``height`` pixels, with margins for labels."""

    width: int
    height: int
    x: Scale
    y: Scale

    @staticmethod
    def of(
        x: tuple[Real, Real],
        y: tuple[Real, Real],
        width: int = 360,
        height: int = 240,
        left: int = 40,
        bottom: int = 36,
        top: int = 8,
        right: int = 10,
    ) -> Axes:
        """Axes for data from ``x[0]`` to ``x[1]`` and ``y[0]`` to ``y[1]``; sizes and margins in pixels."""
        return Axes(width, height, Scale(*x, left, width - right), Scale(*y, height - bottom, top))


def svg(axes: Axes, description: str, parts: Iterable[Markup]) -> Markup:
    """The chart; ``description`` is what those who do not see it are told."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        axes.width, axes.height, description, Markup("").join(parts)
    )


def text(x: Real, y: Real, content: str, anchor: str = "middle", css: str = "") -> Markup:
    """Text at a pixel position."""
    return Markup('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>').format(x, y, anchor, css, content)


def line(x1: Real, y1: Real, x2: Real, y2: Real, css: str) -> Markup:
    """A straight line between two pixel positions."""
    return Markup('<path d="M{} {}L{} {}" class="{}"/>').format(x1, y1, x2, y2, css)


def rectangle(x: Real, y: Real, width: Real, height: Real, css: str) -> Markup:
    """A rectangle whose upper left corner is at (x, y), in pixels."""
    return Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
        round(x, 1), round(y, 1), round(width, 1), round(height, 1), css
    )


def polyline(axes: Axes, x: Iterable[Real], y: Iterable[Real], css: str) -> Markup:
    """A line through data points."""
    points = " ".join(f"{axes.x(a):g},{axes.y(b):g}" for a, b in zip(x, y, strict=True))
    return Markup('<polyline points="{}" class="{}"/>').format(points, css)


def dots(points: Iterable[tuple[Real, Real]], css: str) -> Markup:
    """Round marks at pixel positions, as one path: the page's CSS gives their size as a stroke's width."""
    return _marks(points, "h0", css + " dot")


def crosses(points: Iterable[tuple[Real, Real]], css: str) -> Markup:
    """Diagonal crosses at pixel positions."""
    return _marks(points, "m-2.5-2.5l5 5m0-5l-5 5", css + " cross")


def _marks(points: Iterable[tuple[Real, Real]], shape: str, css: str) -> Markup:
    path = "".join(f"M{x:g} {y:g}{shape}" for x, y in points)
    return Markup('<path d="{}" class="{}"/>').format(path, css) if path else Markup("")


def frame(
    axes: Axes,
    x_ticks: Sequence[Real],
    y_ticks: Sequence[Real],
    x_label: str,
    y_label: str,
    x_name: Callable[[Real], str] = "{:g}".format,
    y_name: Callable[[Real], str] = "{:g}".format,
) -> Markup:
    """Grid lines with their numbers, and what the axes show."""
    left, right, bottom, top = axes.x.start, axes.x.end, axes.y.start, axes.y.end
    parts = []
    for tick in x_ticks:
        x = axes.x(tick)
        parts += [line(x, bottom, x, top, "grid"), text(x, bottom + 13, x_name(tick))]
    for tick in y_ticks:
        y = axes.y(tick)
        parts += [line(left, y, right, y, "grid"), text(left - 5, y + 4, y_name(tick), "end")]
    middle = round((top + bottom) / 2, 1)
    parts.append(text(round((left + right) / 2, 1), axes.height - 6, x_label, css="label"))
    parts.append(
        Markup('<text transform="translate(11 {})rotate(-90)" text-anchor="middle" class="label">{}</text>').format(
            middle, y_label
        )
    )
    return Markup("").join(parts)


def round_ticks(low: Real, high: Real, count: int = 5) -> list[float]:
    """At most about ``count`` + 1 multiples of 1, 2 or 5 times a power of ten within ``low..high``.

    >>> round_ticks(0.0, 1.0)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    span = high - low
    if not span > 0:
        return [low]
    rough = span / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = np.ceil(low / step - 1e-9)
    # Plus 0: a tick at minus zero would say so.  Within: of a large number the nearest others may lie beyond the ends.
    ticks = [round(float(i * step), 12) + 0.0 for i in np.arange(first, np.floor(high / step + 1e-9) + 1)]
    return [min(max(tick, float(low)), float(high)) for tick in ticks]
