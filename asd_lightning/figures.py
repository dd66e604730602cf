"""The colors of all that is drawn, on pages and in plots, and how a plot is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asd_lightning.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Tint(NamedTuple):
    """A color: its CSS class, and its value on light and on dark paper."""

    css: str
    light: str
    dark: str


_GROUPS = {
    ("normal", "source"): Tint("ns", "#3a6ea5", "#5b93cf"),
    ("normal", "target"): Tint("nt", "#6db6e0", "#a6d8f5"),
    ("anomaly", "source"): Tint("as", "#b5361c", "#e0694e"),
    ("anomaly", "target"): Tint("at", "#ef9a4a", "#f7bd84"),
}
UNKNOWN = Tint("un", "#8b8f94", "#8f959c")
SERIES = (
    Tint("s0", "#0b6fb5", "#5cb0ee"),
    Tint("s1", "#c4500a", "#f08a4b"),
    Tint("s2", "#0c8562", "#45c79e"),
    Tint("s3", "#a8457f", "#e28bbd"),
    Tint("s4", "#8a6d00", "#d9b53a"),
    Tint("s5", "#4b49ac", "#9c9af2"),
    Tint("s6", "#5f6b1e", "#b3c25a"),
    Tint("s7", "#6b4a36", "#c69f86"),
)
"""Of runs, systems and attributes, in turn."""
TINTS = (*_GROUPS.values(), UNKNOWN, *SERIES)


def group_tint(condition: str, domain: str) -> Tint:
    """The color of clips of one condition and domain; of an unknown domain as of source."""
    return _GROUPS.get((condition, domain)) or _GROUPS.get((condition, "source"), UNKNOWN)


def series_tint(index: int) -> Tint:
    """The color of the index-th run, system or attribute."""
    return SERIES[index % len(SERIES)]


_DECISIONS = {
    "normal": _GROUPS["normal", "source"],
    "warning": _GROUPS["anomaly", "target"],
    "alarm": _GROUPS["anomaly", "source"],
}


def decision_tint(decision: str) -> Tint:
    """The color of what a detector decides; of what is not judged, that of the unknown."""
    return _DECISIONS.get(decision, UNKNOWN)


def save_figure(figure: Figure, path: Path, dpi: int = 150) -> Path:
    """Write a figure whole or not at all, in the format of the ending ``.png`` or ``.svg``; returns ``path``."""
    kind = path.suffix.removeprefix(".")
    with write_atomically(path) as file:
        figure.savefig(file, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return path
