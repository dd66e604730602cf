"""One self-contained HTML page about a data folder: spectrograms, mean spectra and levels of every machine."""

from __future__ import annotations

import base64
import html
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from asd_lightning.pages.policy import content_policy

SAMPLE_RATE = 16_000
_WINDOW = 1024
_RANGE_DB = 80.0
_CLIPS_PER_MEAN = 20
# Each of them stands out from white and from black.
_COLOURS = ("#3b82c4", "#d9622b", "#1f9e77", "#c0569a", "#a38300", "#7a6fd0", "#858a90")
_GREY = "#858a90"

Group = tuple[str, str, str]  # split, domain, condition


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
<div class="clips">{_spectrograms(machine)}</div>
<div class="curves">{_image(_mean_spectra(machine), f"Mean spectra of {machine.name}")}
{_image(_levels(machine), f"Levels of {machine.name}")}</div>
<div class="table"><table><thead><tr><th>clips</th><th>number</th><th>attributes</th><th>seconds</th><th>level, dB</th>
<th>spread, dB</th><th>highest peak, dB</th><th>clipped</th><th>silent</th><th>unreadable</th></tr></thead>
<tbody>{rows}</tbody></table></div>
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
    first, *others = (html.escape(cell) for cell in cells)
    return f"<tr><td>{_swatch(machine, group)}{first}</td>" + "".join(f"<td>{cell}</td>" for cell in others) + "</tr>"


def _title(group: Group) -> str:
    return " ".join(part for part in group if part != "unknown")


def _audible(machine: _Machine, group: Group) -> list[Clip]:
    """The group's clips that are readable and not silent."""
    measured = ((clip, machine.measured[clip.path]) for clip in machine.clips[group])
    return [clip for clip, result in measured if isinstance(result, Measurement) and not result.silent]


def _spectrograms(machine: _Machine) -> str:
    """The clip in the middle of each group, by name: no choice by hand."""
    examples = {group: clips[len(clips) // 2] for group in machine.clips if (clips := _audible(machine, group))}
    return "".join(
        f"<figure>{_image(_spectrogram(read_audio(clip.path)), f'Spectrogram of {machine.name}, {_title(group)}')}"
        f"<figcaption>{_swatch(machine, group)}{html.escape(_title(group))}<br>"
        f"{html.escape(clip.attribute or 'no attribute')}</figcaption></figure>"
        for group, clip in examples.items()
    )


def _spectrogram(waveform: Float[np.ndarray, " samples"]) -> Figure:
    power = _power(waveform)
    decibels = 10 * np.log10(np.maximum(power, 1e-16))
    top = decibels.max()
    extent = (0.0, len(waveform) / SAMPLE_RATE, 0.0, SAMPLE_RATE / 2000)
    figure, axes = _axes(2.3, 1.8, "s", "kHz")
    axes.imshow(decibels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - _RANGE_DB, vmax=top)
    return figure


def _power(waveform: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "bins frames"]:
    """Power spectrogram, in units of full scale."""
    window = min(_WINDOW, len(waveform))
    # Without zeros at the ends, which would look like silence there.
    _, _, spectrum = stft(waveform, SAMPLE_RATE, nperseg=window, nfft=_WINDOW, boundary=None, padded=False)
    power: Float[np.ndarray, "bins frames"] = np.abs(spectrum) ** 2
    return power


def _mean_spectra(machine: _Machine) -> Figure:
    figure, axes = _axes(5.0, 3.0, "kHz", "mean power, dB")
    frequencies = np.linspace(0, SAMPLE_RATE / 2000, _WINDOW // 2 + 1)
    for group in machine.clips:
        if clips := _audible(machine, group):
            axes.plot(frequencies, _mean_spectrum(clips), linewidth=1.2, color=_colour(machine, group))
    axes.grid(alpha=0.3)
    return figure


def _levels(machine: _Machine) -> Figure:
    figure, axes = _axes(5.0, 3.0, "level, dB of full scale", "share of clips below")
    for group in machine.clips:
        values = np.sort(machine.values(group, "level_db"))
        # Shares, not counts: there are a hundred source clips for each target clip.
        shares = np.arange(1, len(values) + 1) / len(values)
        axes.plot(values, shares, drawstyle="steps-post", linewidth=1.2, color=_colour(machine, group))
    axes.grid(alpha=0.3)
    return figure


def _axes(width: float, height: float, x: str, y: str) -> tuple[Figure, Axes]:
    """One pair of axes, width and height in inches, that can be read on light and on dark paper."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x, fontsize=9, color=_GREY)
    axes.set_ylabel(y, fontsize=9, color=_GREY)
    axes.tick_params(labelsize=9, colors=_GREY)
    axes.locator_params(nbins=5)
    for spine in axes.spines.values():
        spine.set_edgecolor(_GREY)
    return figure, axes


def _colour(machine: _Machine, group: Group) -> str:
    return _COLOURS[list(machine.clips).index(group) % len(_COLOURS)]


def _swatch(machine: _Machine, group: Group) -> str:
    return f'<i style="background: {_colour(machine, group)}"></i>'


def _mean_spectrum(clips: Sequence[Clip]) -> Float[np.ndarray, " bins"]:
    """In dB, over at most 20 clips that lie evenly in the list."""
    chosen = [clips[index] for index in np.unique(np.linspace(0, len(clips) - 1, _CLIPS_PER_MEAN).astype(int))]
    mean = np.mean([_power(read_audio(clip.path)).mean(axis=1) for clip in chosen], axis=0)
    decibels: Float[np.ndarray, " bins"] = 10 * np.log10(np.maximum(mean, 1e-16))
    return decibels


def _image(figure: Figure, description: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, transparent=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def _page(root: Path, clips: Sequence[Clip], sections: Sequence[str]) -> str:
    machines = sorted({clip.machine for clip in clips})
    links = " ".join(f'<a href="#{html.escape(name)}">{html.escape(name)}</a>' for name in machines)
    title = html.escape(f"{root.resolve().name}: {len(clips)} clips of {len(machines)} machines")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{content_policy()}">
<meta name="viewport" content="width=device-width"><title>{title}</title>
<style>
:root {{ color-scheme: light dark;
  --paper: #fdfdfb; --ink: #1d1f21; --muted: #5c6166; --rule: #dcdcd6; --link: #0b5cad; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --paper: #16181b; --ink: #e6e6e3; --muted: #a3a8ae; --rule: #363b41; --link: #7db8f2; }}
}}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1180px; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }}
h1, h2 {{ line-height: 1.2; overflow-wrap: anywhere; }}
h1 + p {{ max-width: 48rem; }}
a {{ color: var(--link); }}
nav {{ display: flex; flex-wrap: wrap; gap: .2rem 1rem; }}
section {{ border-top: 1px solid var(--rule); margin-top: 2rem; }}
small, figcaption {{ font-weight: normal; color: var(--muted); }}
.clips {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .8rem; }}
.curves {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); margin: 1rem 0; }}
figure {{ margin: 0; min-width: 0; }}
figcaption {{ font-size: .8rem; line-height: 1.35; overflow-wrap: anywhere; }}
img {{ width: 100%; display: block; }}
i {{ display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .4em; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th, td {{ padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--rule); }}
th:first-child, td:first-child {{ text-align: left; position: sticky; left: 0; background: var(--paper); }}
</style></head><body>
<h1>{title}</h1>
<p>Spectrograms show the middle clip of each kind (channel 0, {_RANGE_DB:.0f} dB from its own maximum); levels are the
root mean square of a clip in dB of full scale; spectra are means over at most {_CLIPS_PER_MEAN} clips.</p>
<nav>{links}</nav>
{"".join(sections)}
</body></html>
"""
