"""An explanation as one HTML page that loads nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from asd_lightning.detector.judging import Judgment, on_common_scale, score_label
from asd_lightning.detector.machine import Machine
from asd_lightning.explanation.charts import (
    Marks,
    band_chart,
    hertz,
    level_difference,
    loudest,
    spectrogram_chart,
    time_chart,
    windows_chart,
)
from asd_lightning.explanation.explanation import Explanation, Range
from asd_lightning.explanation.spectrogram import Spectrogram, spectrogram
from asd_lightning.figures import decision_tint
from asd_lightning.pages.sound import flac_uri, gain_for
from asd_lightning.pages.template import refuse_other_file, write_page
from asd_lightning.plain_text import printable

# Steps that are marked over more than this share of a window: the whole of it.
_THROUGHOUT = 0.85
_NO_MOMENT = "No moment stands out: the score does not fall clearly when any one stretch is exchanged"


@dataclass(frozen=True)
class _Heard:
    """A picture of some sound, and the sound."""

    title: str
    picture: Markup
    sound: str
    seconds: float


def write_explanation(found: Explanation, machine: Machine, detector: str, out: Path) -> Path:
    """Write the page, whole or not at all; returns ``out``.

    Args:
        found: the explanation.
        machine: of the detector.
        detector: name of the detector's file.
        out: file to write; another page is replaced, and nothing else.

    Raises:
        UserError: ``out`` is there and no page, or cannot be written.
    """
    refuse_other_file(out)
    return write_page(out, "explain.html", _shown(found, machine, detector))


def summary(found: Explanation) -> str:
    """The decision and the most unlike bands and moments, in a line."""
    one = found.judgment
    line = f"{printable(one.path)}: {one.decision}"
    if math.isnan(one.score):
        return f"{line} ({_still(one) if one.decision == 'not running' else _unfit(one)})"
    line += f", score {one.score:.4g} (warning above {one.threshold:.4g})"
    bands, moments = found.marked_bands(), found.marked_moments()
    if bands:
        line += f"; most unlike normal sound at {_bands(bands)}"
    if moments:
        line += f", {_moments(found, moments)}"
    return line


def _shown(found: Explanation, machine: Machine, detector: str) -> dict[str, Any]:
    one = found.judgment
    window = found.window
    many = len(one.windows) > 1
    own, beside, rows = _pictures(found)
    scores = "score, by trial"
    bands, moments = found.marked_bands(), found.marked_moments()
    shown = on_common_scale(one, machine)
    return {
        "title": f"{Path(one.path).name}: {one.decision}",
        "recording": one.path,
        "machine": one.machine,
        "detector": detector,
        "judgment": one,
        "tint": decision_tint(one.decision).css,
        "levels": None if machine.in_states and one.state not in machine.in_states else machine.thresholds(one.state),
        "promise": machine.sentence(),
        "why": why(found, machine),
        "window": window if many else None,
        "heard": own,
        "beside": beside,
        "counterpart": found.counterpart,
        "rows": rows,
        "bands": bands,
        "exact": found.bands is not None and found.bands.exact,
        "constant": 0.0 if found.bands is None else found.bands.constant,
        "band_chart": None
        if found.bands is None
        else band_chart(
            f"How unlike normal sound each band is; most: {_bands(bands)}",
            found.bands,
            bands,
            "part of the score" if found.bands.exact else scores,
        ),
        "when": f"Most unlike: {_moments(found, moments)}" if moments else _NO_MOMENT,
        "time_chart": None
        if found.moments is None
        else time_chart(
            f"How unlike normal sound each moment is: {_moments(found, moments)}", found.moments, moments, scores
        ),
        "own_sound": found.own_sound,
        "windows_chart": windows_chart(
            f"Score of each of {len(one.windows)} windows",
            shown.windows,
            shown.threshold,
            float("nan") if machine.in_states else machine.promise.alarm,
            score_label(machine),
        )
        if many
        else None,
        "common": bool(machine.in_states),
        "decisions": [(name, decision_tint(name).css) for name in dict.fromkeys(each.decision for each in one.windows)],
    }


def why(found: Explanation, machine: Machine) -> list[str]:
    """The decision in plain words, a sentence each."""
    one = found.judgment
    if math.isnan(one.score):
        return _why_not(found)
    sentences = []
    if math.isnan(one.threshold):
        sentences.append(f"Its score is {one.score:.4g}; this detector has no threshold, so nothing is decided.")
    elif one.score > one.threshold:
        warning, alarm = (
            f"{one.threshold:.4g}, where warnings begin",
            f"{machine.thresholds(one.state).promise.alarm:.4g}, where alarms begin",
        )
        if one.decision == "alarm":
            sentences.append(f"Its score is {one.score:.4g}, above {alarm} (warnings: above {one.threshold:.4g}).")
        else:
            sentences.append(f"Its score is {one.score:.4g}, above {warning}, and not above {alarm}.")
    else:
        sentences.append(
            f"Its score is {one.score:.4g}, not above {one.threshold:.4g}, where warnings begin. What is marked below "
            "is what is least like normal sound, and no sign of a fault."
        )
    if not math.isnan(one.p_value):
        least = (
            " (the least that so many recordings can show)"
            if one.p_value <= machine.thresholds(one.state).normal.smallest_rate
            else ""
        )
        # Of all of them `g` would write 1e+02.
        share = f"{100 * one.p_value:.{'0f' if one.p_value >= 0.1 else '2g'}}"
        sentences.append(f"About {share} % of normal recordings score as high or higher{least}.")
    if found.window is not None and len(one.windows) > 1:
        own = f"its windows in state {one.state}" if one.state else "its windows"
        of = f"the score is the highest of {own}"
        if not math.isclose(one.score, found.window.score, rel_tol=1e-9):
            of = f"the score is the mean of {own}, and this page shows the one with the highest"
        sentences.append(
            f"The recording was heard in {len(one.windows)} windows; {of}, from {found.window.start:.4g} to "
            f"{found.window.end:.4g}\N{NO-BREAK SPACE}s."
        )
    if bands := found.marked_bands():
        sentences.append(f"Most unlike normal sound: {_bands(bands)}; {_moments(found, found.marked_moments())}.")
    if one.health:
        sentences.append(f"Also noticed: {'; '.join(one.health)}.")
    return sentences


def _why_not(found: Explanation) -> list[str]:
    one = found.judgment
    if one.decision == "not running":
        said = _still(one)
        return [f"{said[0].upper()}{said[1:]}, so nothing is judged."]
    return [
        "Nothing is said of the machine: the sound is not what this microphone gave when the detector was enrolled, or "
        "cannot be read.",
        f"What is wrong: {_unfit(one)}.",
        "See to the recording or the microphone first.",
    ]


def _still(one: Judgment) -> str:
    """Why a machine is not running."""
    states = dict.fromkeys(each.state for each in one.windows if each.decision == "not running" and each.state)
    if not states:
        return "the machine is quieter than it ever was while it ran"
    return f"it sounds most like the state {' and '.join(states)}, in which the machine does not run"


def _unfit(one: Judgment) -> str:
    return "; ".join(one.health) or "no window of it could be judged"


def _pictures(found: Explanation) -> tuple[_Heard | None, _Heard | None, list[tuple[str, float, str]]]:
    """The recording, normal sound beside it, and what is marked, with how much louder or quieter it is."""
    if found.waveform is None:
        return None, None, []
    rate, waveform, counterpart = found.sample_rate, found.waveform, found.counterpart
    own = spectrogram(waveform, rate)
    other = None if counterpart is None else spectrogram(counterpart.waveform, rate)
    top = loudest(own) if other is None else loudest(own, other)
    gain = gain_for(waveform) if counterpart is None else gain_for(waveform, counterpart.waveform)
    start, seconds = 0.0 if found.window is None else found.window.start, len(waveform) / rate
    bands, moments = found.marked_bands(), found.marked_moments()
    marks = Marks(bands, () if _throughout(found, moments) else moments)
    chart = spectrogram_chart("Spectrogram of the recording; marked: what is unlike", own, start, seconds, top, marks)
    heard = _Heard("This recording", chart, flac_uri(waveform, rate, gain), seconds)
    total = 0.0 if found.bands is None else float(np.maximum(found.bands.values, 0).sum())
    rows = [(_band(one), one.value / total, _difference(own, other, one)) for one in bands]
    if counterpart is None or other is None:
        return heard, None, rows
    length = len(counterpart.waveform) / rate
    chart = spectrogram_chart("Spectrogram of normal sound", other, counterpart.place.start, length, top, Marks(bands))
    return heard, _Heard("Normal sound", chart, flac_uri(counterpart.waveform, rate, gain), length), rows


def _difference(own: Spectrogram, other: Spectrogram | None, band: Range) -> str:
    if other is None:
        return "–"
    decibels = level_difference(own, other, band.low, band.high)
    if math.isnan(decibels):
        return "–"
    told = f"{abs(decibels):.1f} dB"
    return "as loud" if told == "0.0 dB" else f"{told} {'louder' if decibels > 0 else 'quieter'}"


def _band(one: Range) -> str:
    return f"{hertz(one.low)} to {hertz(one.high)}"


def _bands(bands: Sequence[Range]) -> str:
    return ", ".join(map(_band, bands)) or "no band more than others"


def _moments(found: Explanation, moments: Sequence[Range]) -> str:
    if not moments:
        return "no moment stands out"
    if _throughout(found, moments):
        return "all the time"
    return "at " + ", ".join(f"{one.low:.4g} to {one.high:.4g} s" for one in moments)


def _throughout(found: Explanation, moments: Sequence[Range]) -> bool:
    if found.moments is None:
        return False
    whole = float(found.moments.high[-1] - found.moments.low[0])
    return sum(one.high - one.low for one in moments) > _THROUGHOUT * whole
