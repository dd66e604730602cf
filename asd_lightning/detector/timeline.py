"""Scores over time as a picture: thresholds, decisions, and where nothing could be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray

from asd_lightning.detector.judging import JUDGED, Judgment
from asd_lightning.detector.machine import Decision
from asd_lightning.errors import UserError
from asd_lightning.figures import UNKNOWN, decision_tint, save_figure
from asd_lightning.plain_text import is_name, printable

SUFFIXES = (".svg", ".png")
_MOST_NAMED = 12
_BEGINNING = 4096
# Matplotlib says so near the beginning of each of its pictures.
_MAKER = b"atplotlib"
# Seconds, and what a longer time is told in.
_UNITS = ((600.0, 1.0, "s"), (3 * 3600.0, 60.0, "min"), (np.inf, 3600.0, "h"))
_UNJUDGED: dict[Decision, str] = {"cannot judge": "xx", "not running": ".."}


class _Track(NamedTuple):
    """Windows of recordings laid end to end: n windows, n begins and ends in s."""

    start: Float[ndarray, " n"]
    end: Float[ndarray, " n"]
    score: Float[ndarray, " n"]
    decision: list[str]
    begins: list[float]


def plot_timelines(
    judgments: Sequence[Judgment],
    alarms: Mapping[str, float],
    place: Path,
    labels: Mapping[str, str] | None = None,
) -> list[Path]:
    """Draw the scores of recordings over time.

    Args:
        judgments: of the recordings, in their order.
        alarms: machine -> its threshold of alarms.
        place: a file that ends in ``.svg`` or ``.png`` has a panel for each machine, its recordings laid end to end;
            any other is a folder and gets an SVG for each recording.
        labels: machine -> what its axis of scores says, where that is not ``score``.

    Returns:
        What was written.

    Raises:
        UserError: see `refuse_other_picture`.
    """
    refuse_other_picture(place)
    if place.suffix.lower() in SUFFIXES:
        return [_drawn(judgments, alarms, place, labels)]
    place.mkdir(parents=True, exist_ok=True)
    written: dict[Path, None] = {}
    for one in judgments:
        stem = Path(one.path).stem
        stem = stem if is_name(stem) else "recording"
        names = (place / f"{stem}{'' if number == 1 else f'_{number}'}.svg" for number in range(1, len(judgments) + 1))
        path = next(name for name in names if name not in written)
        refuse_other_picture(path)
        written[_drawn([one], alarms, path, labels)] = None
    return list(written)


def refuse_other_picture(place: Path) -> None:
    """Before anything is judged: what a mistyped name would destroy is left alone, and no folder is called t.pdf.

    Raises:
        UserError: ``place`` is there, and neither a folder nor a picture of this package; or it is not, and has another
            ending than those pictures have.
    """
    if place.suffix and place.suffix.lower() not in SUFFIXES and not place.exists():
        raise UserError(
            f"{place}: no picture that ends in {place.suffix} is drawn; give .svg, .png or a folder (one whose name "
            "ends so must be there already)"
        )
    if not place.exists() or (place.is_dir() and place.suffix.lower() not in SUFFIXES):
        return
    if place.is_file() and place.suffix.lower() in SUFFIXES:
        with place.open("rb") as file:
            if _MAKER in file.read(_BEGINNING) or not place.stat().st_size:
                return
    raise UserError(f"{place}: is there already, and no timeline; give another file (.svg, .png) or folder")


def timeline(
    judgments: Sequence[Judgment], alarms: Mapping[str, float], labels: Mapping[str, str] | None = None
) -> Figure:
    """A panel for each machine, its recordings laid end to end; see `plot_timelines`."""
    machines = list(dict.fromkeys(one.machine for one in judgments))
    figure = Figure(figsize=(9.0, 0.5 + 2.6 * len(machines)), layout="constrained")
    panels = figure.subplots(len(machines), 1, squeeze=False).ravel()
    for axis, machine in zip(panels, machines, strict=True):
        _draw(axis, [one for one in judgments if one.machine == machine], alarms.get(machine, float("nan")))
        axis.set_ylabel((labels or {}).get(machine, "score"))
    shown = [pair for axis in panels for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    named = {label: handle for handle, label in shown}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=7, frameon=False, fontsize="small")
    return figure


def _drawn(
    judgments: Sequence[Judgment], alarms: Mapping[str, float], path: Path, labels: Mapping[str, str] | None
) -> Path:
    return save_figure(timeline(judgments, alarms, labels), path, dpi=110)


def _draw(axis: Axes, judgments: Sequence[Judgment], alarm: float) -> None:
    track = _end_to_end(judgments)
    whole = float(track.end[-1]) if len(track.end) else 0.0
    unit, name = next((unit, name) for most, unit, name in _UNITS if whole <= most)
    x = np.stack([track.start, track.end], axis=1).ravel() / unit
    y = np.repeat(track.score, 2)
    decisions = np.repeat(np.array(track.decision, dtype=object), 2)
    for decision in JUDGED:
        own = (decisions == decision) & np.isfinite(y)
        if own.any():
            color = decision_tint(decision).light
            axis.fill_between(x, 0, np.where(own, y, np.nan), color=color, linewidth=0, label=decision)
    for decision, hatch in _UNJUDGED.items():
        own = decisions == decision
        if own.any():
            axis.fill_between(
                x, 0, 1, where=own, transform=axis.get_xaxis_transform(), facecolor="none", hatch=hatch,
                edgecolor=UNKNOWN.light, linewidth=0, label=decision,
            )  # fmt: skip
    warning = judgments[0].threshold
    for level, style, label in ((warning, "--", "warning above"), (alarm, "-", "alarm above")):
        if np.isfinite(level):
            axis.axhline(level, color="black", linestyle=style, linewidth=1, label=label)
    _name(axis, judgments, track, unit)
    axis.set_xlim(0, max(whole / unit, 1e-3))
    judged = np.isin(track.decision, JUDGED) & np.isfinite(track.score)
    axis.set_ylim(*_limits([*track.score[judged], *filter(np.isfinite, (warning, alarm))]))
    axis.set_xlabel(f"time, {name}")


def _name(axis: Axes, judgments: Sequence[Judgment], track: _Track, unit: float) -> None:
    """The recording in the title, or the machine there and its recordings where they begin."""
    if len(judgments) == 1:
        one = judgments[0]
        axis.set_title(printable(f"{Path(one.path).name} ({one.machine}): {one.decision}"), parse_math=False)
        return
    axis.set_title(printable(f"{judgments[0].machine}: {len(judgments)} recordings"), parse_math=False)
    for one, begin in zip(judgments, track.begins, strict=True):
        if begin:
            axis.axvline(begin / unit, color=UNKNOWN.light, linewidth=0.4, linestyle=":")
        if len(judgments) <= _MOST_NAMED:
            axis.annotate(
                printable(Path(one.path).name)[-24:], (begin / unit, 1.0), xycoords=axis.get_xaxis_transform(),
                xytext=(2, -2), textcoords="offset points", va="top", fontsize="xx-small", rotation=-90,
                parse_math=False,
            )  # fmt: skip


def _end_to_end(judgments: Sequence[Judgment]) -> _Track:
    """Where windows overlap, the later one is seen; a recording that cannot be read has no length."""
    begins, start, end, score, decision = [], [], [], [], []
    offset = 0.0
    for one in judgments:
        begins.append(offset)
        for number, window in enumerate(one.windows):
            following = one.windows[number + 1].start if number + 1 < len(one.windows) else window.end
            start.append(offset + window.start)
            end.append(offset + min(window.end, following))
            score.append(window.score)
            decision.append(str(window.decision))
        offset += max((window.end for window in one.windows), default=0.0)
    return _Track(np.array(start), np.array(end), np.array(score), decision, begins)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = min([*values, 0.0]), max([*values, 0.0])
    return (low, high + 0.08 * (high - low)) if high > low else (0.0, 1.0)
