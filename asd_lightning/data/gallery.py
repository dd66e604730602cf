"""One self-contained HTML page about a data folder: spectrograms, mean spectra and levels of every machine."""

from __future__ import annotations

import base64
import html
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from scipy.signal import stft

from asd_lightning.atomic import write_atomically
from asd_lightning.data.audio import BadAudioError, read_audio
from asd_lightning.data.layout import Clip, find_clips
from asd_lightning.data.measurement import Measurement, measure_all
from asd_lightning.errors import UserError

SAMPLE_RATE = 16_000
_WINDOW = 1024
_RANGE_DB = 80.0
_CLIPS_PER_MEAN = 20
# Dark to light in print as well as for the colour-blind.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00")

Group = tuple[str, str, str]  # split, domain, condition


@dataclass(frozen=True)
class _Machine:
    name: str
    clips: dict[Group, list[Clip]]
    measured: Mapping[Path, Measurement | BadAudioError]

    def values(self, group: Group, field: str) -> Float[np.ndarray, " clips"]:
        """One field of every readable, not silent clip of a group."""
        results = [self.measured[clip.path] for clip in self.clips[group]]
        good = [result for result in results if isinstance(result, Measurement) and not result.silent]
        return np.array([getattr(result, field) for result in good], dtype=float)


def write_gallery(
    root: Path,
    page: Path,
    console: Console | None = None,
    label: Callable[[Path, Sequence[Clip]], list[Clip]] | None = None,
) -> None:
    """Read every clip below ``root`` and write ``page``, with figures and styles inside: it loads nothing else.

    ``label`` tells, from the folder and its clips, the labels of anonymous test clips; without it they stay anonymous.

    Raises:
        UserError: no such folder, no clips, or the page cannot be written.
    """
    clips = find_clips(root)
    if label is not None:
        clips = label(root, clips)
    measured = measure_all([clip.path for clip in clips], console)
    sections = [_section(machine) for machine in _machines(clips, measured)]
    try:
        with write_atomically(page) as stream:
            stream.write(_page(root, clips, sections).encode())
    except OSError as error:
        raise UserError(f"cannot write {page} ({error}): name another file with --output") from error


def _machines(clips: Sequence[Clip], measured: Mapping[Path, Measurement | BadAudioError]) -> Iterator[_Machine]:
    grouped: dict[str, dict[Group, list[Clip]]] = defaultdict(lambda: defaultdict(list))
    for clip in clips:
        grouped[clip.machine][clip.split, clip.domain, clip.condition].append(clip)
    for name in sorted(grouped):
        # Training before test, normal before anomaly: the order in which one compares.
        order = sorted(grouped[name], key=lambda group: (group[0] != "train", group[:2], group[2] == "anomaly"))
        yield _Machine(name, {group: grouped[name][group] for group in order}, measured)


def _section(machine: _Machine) -> str:
    total = sum(len(clips) for clips in machine.clips.values())
    rows = "".join(_row(machine, group) for group in machine.clips)
    name = html.escape(machine.name)
    return f"""<section id="{name}">
<h2>{name} <small>{total} clips</small></h2>
{_image(_spectrograms(machine), f"Spectrograms of one {machine.name} clip of each kind")}
{_image(_spectra_and_levels(machine), f"Mean spectra and levels of {machine.name}")}
<table><thead><tr><th>clips</th><th>number</th><th>attributes</th><th>seconds</th><th>level, dB</th><th>spread, dB</th>
<th>highest peak, dB</th><th>clipped</th><th>silent</th><th>unreadable</th></tr></thead><tbody>{rows}</tbody></table>
</section>"""


def _row(machine: _Machine, group: Group) -> str:
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
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _title(group: Group) -> str:
    return " ".join(part for part in group if part != "unknown")


def _readable(machine: _Machine, group: Group) -> list[Clip]:
    return [clip for clip in machine.clips[group] if isinstance(machine.measured[clip.path], Measurement)]


def _spectrograms(machine: _Machine) -> Figure:
    """The clip in the middle of each group, by name: no choice by hand."""
    examples = {group: clips[len(clips) // 2] for group in machine.clips if (clips := _readable(machine, group))}
    figure = Figure(figsize=(2.6 * max(len(examples), 1), 2.5), layout="constrained")
    all_axes = figure.subplots(1, max(len(examples), 1), squeeze=False, sharey=True)[0]
    for axes, (group, clip) in zip(all_axes, examples.items(), strict=False):
        _draw_spectrogram(axes, read_audio(clip.path))
        axes.set_title(f"{_title(group)}\n{clip.attribute or 'no attribute'}", fontsize=8)
        axes.set_xlabel("s", fontsize=8)
        axes.tick_params(labelsize=7)
    all_axes[0].set_ylabel("kHz", fontsize=8)
    return figure


def _draw_spectrogram(axes: Axes, waveform: Float[np.ndarray, " samples"]) -> None:
    power = _power(waveform)
    decibels = 10 * np.log10(np.maximum(power, 1e-16))
    top = decibels.max()
    extent = (0.0, len(waveform) / SAMPLE_RATE, 0.0, SAMPLE_RATE / 2000)
    axes.imshow(decibels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - _RANGE_DB, vmax=top)


def _power(waveform: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "bins frames"]:
    """Power spectrogram, in units of full scale."""
    window = min(_WINDOW, len(waveform))
    _, _, spectrum = stft(waveform, SAMPLE_RATE, nperseg=window, nfft=_WINDOW)
    power: Float[np.ndarray, "bins frames"] = np.abs(spectrum) ** 2
    return power


def _spectra_and_levels(machine: _Machine) -> Figure:
    figure = Figure(figsize=(10.4, 3.0), layout="constrained")
    spectra, levels = figure.subplots(1, 2)
    frequencies = np.linspace(0, SAMPLE_RATE / 2000, _WINDOW // 2 + 1)
    occupied = {group: values for group in machine.clips if len(values := machine.values(group, "level_db"))}
    for number, (group, values) in enumerate(occupied.items()):
        style: dict[str, Any] = {"color": _COLOURS[number % len(_COLOURS)], "label": _title(group)}
        spectra.plot(frequencies, _mean_spectrum(_readable(machine, group)), linewidth=1, **style)
        # Shares, not counts: there are a hundred source clips for each target clip.
        levels.plot(np.sort(values), np.arange(1, len(values) + 1) / len(values), drawstyle="steps-post", **style)
    spectra.set_xlabel("kHz", fontsize=8)
    spectra.set_ylabel("mean power, dB", fontsize=8)
    levels.set_xlabel("level, dB of full scale", fontsize=8)
    levels.set_ylabel("share of clips below", fontsize=8)
    for axes in (spectra, levels):
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    if occupied:
        figure.legend(*spectra.get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)
    return figure


def _mean_spectrum(clips: Sequence[Clip]) -> Float[np.ndarray, " bins"]:
    """In dB, over at most 20 clips that lie evenly in the list."""
    chosen = [clips[index] for index in np.unique(np.linspace(0, len(clips) - 1, _CLIPS_PER_MEAN).astype(int))]
    mean = np.mean([_power(read_audio(clip.path)).mean(axis=1) for clip in chosen], axis=0)
    decibels: Float[np.ndarray, " bins"] = 10 * np.log10(np.maximum(mean, 1e-16))
    return decibels


def _image(figure: Figure, description: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def _page(root: Path, clips: Sequence[Clip], sections: Sequence[str]) -> str:
    machines = sorted({clip.machine for clip in clips})
    links = " ".join(f'<a href="#{html.escape(name)}">{html.escape(name)}</a>' for name in machines)
    title = html.escape(f"{root.resolve().name}: {len(clips)} clips of {len(machines)} machines")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }}
nav a {{ margin-right: 1rem; }}
section {{ border-top: 1px solid #ccc; margin-top: 2rem; overflow-x: auto; }}
h2 small {{ font-weight: normal; color: #666; }}
img {{ max-width: 100%; display: block; margin: .5rem 0; }}
table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e5e5e5; }}
th:first-child, td:first-child {{ text-align: left; }}
</style></head><body>
<h1>{title}</h1>
<p>Spectrograms show the middle clip of each kind (channel 0, {_RANGE_DB:.0f} dB from its own maximum); levels are the
root mean square of a clip in dB of full scale; spectra are means over at most {_CLIPS_PER_MEAN} clips.</p>
<nav>{links}</nav>
{"".join(sections)}
</body></html>
"""
