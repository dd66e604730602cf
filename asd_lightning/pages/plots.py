"""Plots of a test's scores."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asd_lightning.evaluation.metrics import MAX_FPR
from asd_lightning.figures import UNKNOWN, group_tint, save_figure
from asd_lightning.pages.curves import histogram, roc
from asd_lightning.plain_text import printable
from asd_lightning.scoring.clip_scores import ClipScore, by_machine

logger = logging.getLogger(__name__)

_COLUMNS = 4
MOST_PANELS = 120
"""Of more machines a picture would be too high to be looked at, and beyond some 700 to be drawn."""


def plot_scores(scores: Sequence[ClipScore], path: Path) -> None:
    """Draw a histogram of anomaly scores for each machine, by domain and condition, with the decision threshold."""
    _plot_machines(scores, path, _histogram, "anomaly score (higher = more anomalous)", "clips")


def plot_roc(scores: Sequence[ClipScore], path: Path) -> None:
    """Draw each machine's ROC curves: normal clips of either domain against all anomalies, as the official AUCs."""
    _plot_machines(scores, path, _roc, "false-alarm rate", "hit rate")


def _plot_machines(
    scores: Sequence[ClipScore],
    path: Path,
    draw: Callable[[Axes, Sequence[ClipScore]], None],
    x_label: str,
    y_label: str,
) -> None:
    """One panel for each machine and one legend for all; of very many machines the first."""
    machines = by_machine(scores)
    if len(machines) > MOST_PANELS:
        logger.info("%s: the first %d of %d machines are drawn", path, MOST_PANELS, len(machines))
        machines = dict(islice(machines.items(), MOST_PANELS))
    columns = min(_COLUMNS, len(machines))
    rows = math.ceil(len(machines) / columns)
    figure = Figure(figsize=(max(4.2 * columns, 8.0), 3.0 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (machine, own) in zip(axes, machines.items(), strict=False):
        draw(axis, own)
        axis.set_title(printable(machine), parse_math=False)
    for axis in axes[len(machines) :]:
        axis.set_axis_off()
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=5, frameon=False)
    figure.supxlabel(x_label)
    figure.supylabel(y_label)
    save_figure(figure, path, dpi=120)


def _roc(axis: Axes, scores: Sequence[ClipScore]) -> None:
    for domain, style in (("source", "-"), ("target", "--")):
        curve = roc(scores, domain)
        if curve is not None:
            axis.plot(
                curve.x, curve.y, style, color=group_tint("normal", domain).light, label=f"normal clips of {domain}"
            )
    axis.plot([0, 1], [0, 1], ":", color=UNKNOWN.light, linewidth=1, label="chance")
    axis.axvline(MAX_FPR, color=UNKNOWN.light, linewidth=0.7, label=f"pAUC: false alarms up to {MAX_FPR:g}")
    axis.set_aspect("equal")


def _histogram(axis: Axes, scores: Sequence[ClipScore]) -> None:
    found = histogram(scores)
    if found.beyond:
        axis.set_xlabel(f"last bar: {found.beyond} beyond", fontsize="small")
    base = np.zeros(len(found.edges) - 1)
    for condition, domain in sorted(found.counts, key=lambda group: (group[0] != "normal", group[1])):
        count = found.counts[condition, domain]
        color, label = group_tint(condition, domain).light, f"{condition}, {domain}"
        # One outline for all bars: a patch for each takes most of the time that a plot does.
        axis.stairs(base + count, found.edges, baseline=base, fill=True, color=color, label=label)
        base = base + count
    if not math.isnan(scores[0].threshold):
        axis.axvline(scores[0].threshold, color="black", linestyle="--", linewidth=1, label="threshold")
