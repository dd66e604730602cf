"""A comparison as a picture: one column for each machine, one dot for each system, bars of one standard deviation."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asd_lightning.comparison.published import CORRECTED
from asd_lightning.comparison.systems import Comparison, System
from asd_lightning.comparison.tables import published_row, shown_published
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.figures import save_figure, series_tint
from asd_lightning.plain_text import printable

# As many as colors have no factor in common with: no two of the first 88 look alike.
MARKERS = "osD^v<>PXph"
_LABEL_WIDTH = 70
"""Letters in a line of the legend: the narrowest picture holds so many."""
_LEGEND_HEIGHT = 0.9
"""Inches, within the picture's usual height."""


@dataclass(frozen=True)
class _Series:
    """One system: per cent at each machine (nan: none), and the spread (nan: one seed, or published)."""

    label: str
    mean: list[float]
    deviation: list[float]
    published: bool


def plot_comparison(comparison: Comparison, path: Path) -> list[str]:
    """Write ``hmean`` of every machine, and the official score; published systems are grey and hollow.

    Returns the names of the files: ``path`` with the endings ``.png`` and ``.svg``.

    An asterisk marks the published row that is corrected (``published.CORRECTED``).

    Raises ``ValueError`` where no machine has a number: there is nothing to draw.
    """
    machines = (*comparison.machines, ALL)
    series = [_own_series(system, machines) for system in comparison.systems if system.finished]
    if not comparison.machines:
        raise ValueError("comparison has no machine with a number: there is nothing to draw")
    series += [_published_series(name, machines, comparison) for name in shown_published(comparison)]
    figure = Figure(figsize=(min(18.0, max(7.0, 1.5 + 0.16 * (len(series) + 3) * len(machines))), 5.0))
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    _draw(axes, series, machines)
    _label(axes, (*map(printable, comparison.machines), "official\nscore"))
    _add_legend(figure, axes, series)
    return [save_figure(figure, path.with_suffix(suffix)).name for suffix in (".png", ".svg")]


def _own_series(system: System, machines: Sequence[str]) -> _Series:
    spreads = [system.spread.get((machine, "hmean")) for machine in machines]
    seeds = system.seeds
    # Matplotlib leaves out of its legends what begins with an underscore.
    name = f" {printable(system.name)}" if system.name.startswith("_") else printable(system.name)
    return _Series(
        f"{name} ({seeds} seed{'' if seeds == 1 else 's'})",
        [100 * spread.mean if spread else math.nan for spread in spreads],
        [100 * spread.deviation if spread else math.nan for spread in spreads],
        published=False,
    )


def _published_series(name: str, machines: Sequence[str], comparison: Comparison) -> _Series:
    rows = [published_row(name, machine, comparison.machines) for machine in machines]
    mean = [row.hmean if row else math.nan for row in rows]
    return _Series(f"{name} (published)", mean, [math.nan] * len(rows), published=True)


def _draw(axes: Axes, series: Sequence[_Series], machines: Sequence[str]) -> None:
    shown = ~np.isnan([one.mean for one in series])
    # Each column holds the systems that it has, side by side about its middle.
    offset = (np.cumsum(shown, axis=0) - 0.5 - shown.sum(axis=0) / 2) * 0.8 / len(series)
    for index, one in enumerate(series):
        place = np.arange(len(machines)) + offset[index]
        marker = MARKERS[index % len(MARKERS)]
        if one.published:
            axes.plot(place, one.mean, marker, color="0.45", markerfacecolor="none", markersize=5, label=one.label)
        else:
            color = series_tint(index).light
            axes.errorbar(
                place, one.mean, yerr=one.deviation, fmt=marker, color=color, markersize=5, capsize=3, label=one.label
            )
        if one.label.startswith(CORRECTED[0]) and one.published and CORRECTED[1] in machines:
            column = machines.index(CORRECTED[1])
            axes.annotate("*", (place[column], one.mean[column]), (2, 2), textcoords="offset points", color="0.3")


def _label(axes: Axes, names: Sequence[str]) -> None:
    last = len(names) - 1
    axes.axhline(50, color="0.6", linewidth=0.8, linestyle=":")
    axes.text(1.002, 50, "chance", transform=axes.get_yaxis_transform(), color="0.4", fontsize=8, va="center")
    for edge in range(last):
        axes.axvline(edge + 0.5, color="0.88", linewidth=0.8)
    axes.axvspan(last - 0.5, last + 0.5, color="0.95", zorder=0)
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_xticks(range(len(names)), names, rotation=0 if len(names) <= 10 else 30, parse_math=False)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("harmonic mean of AUC$_s$, AUC$_t$, pAUC  [%]")
    axes.set_title("Mean and standard deviation over seeds")
    axes.spines[["top", "right"]].set_visible(False)


def _add_legend(figure: Figure, axes: Axes, series: Sequence[_Series]) -> None:
    """Below the picture, in as many columns as fit beside each other; the picture grows by what is high."""
    by_label = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    handles = [by_label[one.label] for one in series]
    labels = [textwrap.fill(one.label, _LABEL_WIDTH) for one in series]
    for columns in range(min(4, len(series)), 0, -1):
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)
        extent = legend.get_window_extent()
        if extent.width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    height = extent.height / figure.dpi
    figure.set_figheight(figure.get_figheight() + max(0.0, height - _LEGEND_HEIGHT))
