"""One self-contained HTML page about a data folder: spectrograms, mean spectra and levels of every machine."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from matplotlib.axes import Axes as PlotAxes
from matplotlib.figure import Figure
from rich.console import Console
from scipy.signal import stft

from asd_lightning.data.audio import BadAudioError, read_audio
from asd_lightning.data.layout import Clip, find_clips
from asd_lightning.data.measurement import Measurement, measure_all
from asd_lightning.figures import UNKNOWN, group_tint
from asd_lightning.pages.svg import Axes, frame, polyline, round_ticks, svg
from asd_lightning.pages.template import refuse_other_file, write_page
from asd_lightning.plain_text import natural_order

SAMPLE_RATE = 16_000
_WINDOW = 1024
_RANGE_DB = 80.0
_CLIPS_PER_MEAN = 20
# Can be read on light and on dark paper.
_GRAY = UNKNOWN.light

Group = tuple[str, str, str]  # split, domain, condition
_Curve = tuple[Group, np.ndarray, np.ndarray]  # abscissae and ordinates of a group


@dataclass(frozen=True)
class _Machine:
    name: str
    clips: dict[Group, list[Clip]]
    measured: Mapping[Path, Measurement | BadAudioError]

    def values(self, group: Group, field: str) -> Float[np.ndarray, " clips"]:
        """One field of every audible clip of a group."""
        return np.array([getattr(self.measured[clip.path], field) for clip in _audible(self, group)], dtype=float)


def write_gallery(
    root: Path,
    page: Path,
    console: Console | None = None,
    label: Callable[[Path, Sequence[Clip]], list[Clip]] | None = None,
) -> None:
    """Read every clip below ``root`` and write ``page``, with figures and styles inside: it loads nothing else.

    ``label`` tells, from the folder and its clips, the labels of anonymous test clips; without it they stay anonymous.

    Raises:
        UserError: no such folder, no clips, ``page`` is a file that is no page of this package, or cannot be written.
    """
    refuse_other_file(page)
    clips = find_clips(root)
    if label is not None:
        clips = label(root, clips)
    measured = measure_all([clip.path for clip in clips], console)
    machines = list(_machines(clips, measured))
    shown = {
        "title": f"{root.resolve().name}: {len(clips)} clips of {len(machines)} machines",
        "sections": [_section(f"m{number}", machine) for number, machine in enumerate(machines)],
        "range_db": _RANGE_DB,
        "clips_per_mean": _CLIPS_PER_MEAN,
    }
    write_page(page, "gallery.html", shown)


def _machines(clips: Sequence[Clip], measured: Mapping[Path, Measurement | BadAudioError]) -> Iterator[_Machine]:
    grouped: dict[str, dict[Group, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        grouped[clip.machine][clip.split, clip.domain, clip.condition].append(clip)
    for name in sorted(grouped, key=natural_order):
        # Training before test, normal before anomaly: the order in which one compares.
        order = sorted(grouped[name], key=lambda group: (group[0] != "train", group[:2], group[2] == "anomaly"))
        yield _Machine(name, {group: grouped[name][group] for group in order}, measured)


@dataclass(frozen=True)
class _Section:
    """What the page shows of a machine; a row of the table is a group's swatch and its cells."""

    anchor: str
    name: str
    total: int
    examples: list[tuple[str, str, str, str]]
    spectra: Markup
    levels: Markup
    rows: list[tuple[str, list[str]]]


def _section(anchor: str, machine: _Machine) -> _Section:
    return _Section(
        anchor,
        machine.name,
        sum(len(clips) for clips in machine.clips.values()),
        list(_examples(machine)),
        _mean_spectra(machine),
        _levels(machine),
        [(_swatch(group), _cells(machine, group)) for group in machine.clips],
    )


def _cells(machine: _Machine, group: Group) -> list[str]:
    clips = machine.clips[group]
    results = [machine.measured[clip.path] for clip in clips]
    levels, peaks = machine.values(group, "level_db"), machine.values(group, "peak_db")
    seconds = machine.values(group, "seconds")
    cells = (
        [
            _title(group),
            str(len(clips)),
            str(len({clip.attribute for clip in clips})),
            f"{seconds.min():g} to {seconds.max():g}" if np.ptp(seconds) > 0 else f"{seconds.max():g}",
            f"{levels.mean():.1f}",
            f"{levels.std():.1f}",
            f"{peaks.max():.1f}",
            f"{machine.values(group, 'clipped').mean():.2%}",
        ]
        if len(levels)
        else [_title(group), str(len(clips)), *[""] * 6]
    )
    cells.append(str(sum(isinstance(result, Measurement) and result.silent for result in results)))
    cells.append(str(sum(isinstance(result, BadAudioError) for result in results)))
    return cells


def _title(group: Group) -> str:
    return " ".join(part for part in group if part != "unknown")


def _audible(machine: _Machine, group: Group) -> list[Clip]:
    """The group's clips that are readable and not silent."""
    measured = ((clip, machine.measured[clip.path]) for clip in machine.clips[group])
    return [clip for clip, result in measured if isinstance(result, Measurement) and not result.silent]


def _examples(machine: _Machine) -> Iterator[tuple[str, str, str, str]]:
    """Picture, swatch, title and attribute of the clip in the middle of each group, by name: no choice by hand."""
    for group in machine.clips:
        if clips := _audible(machine, group):
            clip = clips[len(clips) // 2]
            picture = _image(_spectrogram(read_audio(clip.path)))
            yield picture, _swatch(group), _title(group), clip.attribute or "no attribute"


def _spectrogram(waveform: Float[np.ndarray, " samples"]) -> Figure:
    power = _power(waveform)
    decibels = 10 * np.log10(np.maximum(power, 1e-16))
    top = decibels.max()
    extent = (0.0, len(waveform) / SAMPLE_RATE, 0.0, SAMPLE_RATE / 2000)
    figure, axes = _picture(2.3, 1.8, "s", "kHz")
    axes.imshow(decibels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - _RANGE_DB, vmax=top)
    return figure


def _power(waveform: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "bins frames"]:
    """Power spectrogram, in units of full scale."""
    window = min(_WINDOW, len(waveform))
    # Without zeros at the ends, which would look like silence there.
    _, _, spectrum = stft(waveform, SAMPLE_RATE, nperseg=window, nfft=_WINDOW, boundary=None, padded=False)
    power: Float[np.ndarray, "bins frames"] = np.abs(spectrum) ** 2
    return power


def _mean_spectra(machine: _Machine) -> Markup:
    frequencies = np.linspace(0, SAMPLE_RATE / 2000, _WINDOW // 2 + 1)
    spectra = {group: _mean_spectrum(clips) for group in machine.clips if (clips := _audible(machine, group))}
    curves = [(group, frequencies, spectrum) for group, spectrum in spectra.items()]
    return _curves(f"Mean spectra of {machine.name}", curves, "kHz", "mean power, dB")


def _levels(machine: _Machine) -> Markup:
    curves = []
    for group in machine.clips:
        values = np.sort(machine.values(group, "level_db"))
        if len(values):
            # Shares, not counts: there are a hundred source clips for each target clip.  A step at each value.
            shares = np.repeat(np.arange(len(values) + 1) / len(values), 2)[1:-1]
            curves.append((group, np.repeat(values, 2), shares))
    return _curves(f"Levels of {machine.name}", curves, "level, dB of full scale", "share of clips below")


def _curves(description: str, curves: Sequence[_Curve], x_label: str, y_label: str) -> Markup:
    if not curves:
        return Markup("")
    xs, ys = (np.concatenate(values) for values in zip(*((x, y) for _, x, y in curves), strict=True))
    x_range, y_range = (float(xs.min()), float(xs.max())), (float(ys.min()), float(ys.max()))
    axes = Axes.of(x_range, y_range, width=480, height=280, left=46)
    parts = [frame(axes, round_ticks(*x_range), round_ticks(*y_range), x_label, y_label)]
    parts += [polyline(axes, x.tolist(), y.tolist(), f"curve {_swatch(group)}") for group, x, y in curves]
    return svg(axes, description, parts)


def _picture(width: float, height: float, x: str, y: str) -> tuple[Figure, PlotAxes]:
    """One pair of axes, width and height in inches, that can be read on light and on dark paper."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x, fontsize=9, color=_GRAY)
    axes.set_ylabel(y, fontsize=9, color=_GRAY)
    axes.tick_params(labelsize=9, colors=_GRAY)
    axes.locator_params(nbins=5)
    for spine in axes.spines.values():
        spine.set_edgecolor(_GRAY)
    return figure, axes


def _swatch(group: Group) -> str:
    """CSS classes: the color of condition and domain; test clips are dashed, and hollow."""
    split, domain, condition = group
    return group_tint(condition, domain).css + (" test" if split == "test" else "")


def _mean_spectrum(clips: Sequence[Clip]) -> Float[np.ndarray, " bins"]:
    """In dB, over at most 20 clips that lie evenly in the list."""
    chosen = [clips[index] for index in np.unique(np.linspace(0, len(clips) - 1, _CLIPS_PER_MEAN).astype(int))]
    mean = np.mean([_power(read_audio(clip.path)).mean(axis=1) for clip in chosen], axis=0)
    decibels: Float[np.ndarray, " bins"] = 10 * np.log10(np.maximum(mean, 1e-16))
    return decibels


def _image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, transparent=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
