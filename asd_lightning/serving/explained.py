"""Why a recording is judged as it is, as plain data that a page draws."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float, Float32
from numpy import ndarray
from starlette.exceptions import HTTPException

from asd_lightning.detector.detector import Detector
from asd_lightning.detector.excerpts import excerpt_waveform
from asd_lightning.detector.judging import Place, as_json
from asd_lightning.explanation.explanation import Explanation, Range, Unlike, explained_judgment
from asd_lightning.explanation.page import why
from asd_lightning.explanation.spectrogram import spectrogram
from asd_lightning.serving.answers import Pieces, called_anomaly, judged

# Moments and bands of a spectrogram that is sent.
_MOST_TIMES, _MOST_BANDS = 200, 128
_SOUND = "/api/v1/sound/{}"


def explanation(detector: Detector, pieces: Pieces) -> dict[str, Any]:
    """The judgment, the loudest window as a picture, what of it is unlike normal sound, and what it is most like.

    Raises:
        HTTPException: 400, where the recording cannot be read to its end.
    """
    found = explained_judgment(detector, judged(detector, pieces), pieces.sounds)
    return {
        "judgment": as_json(found.judgment),
        "spectrogram": _spectrogram(found),
        "parts": _parts(found),
        "nearest": _nearest(detector, found),
        "sentence": " ".join(why(found, detector.machines_[found.judgment.machine])),
        "called_anomaly": called_anomaly(pieces.received),
    }


def sound(detector: Detector, sound_id: str) -> bytes:
    """A kept excerpt of normal sound, as a WAV file.

    Raises:
        HTTPException: 404, where there is none of that id.
    """
    number, _, row = sound_id.partition("-")
    known = list(detector.machines_)
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in (number, row)):
        raise HTTPException(404, "no id of a sound; /api/v1/explain gives them")
    kept = detector.sounds_of(known[int(number)]) if int(number) < len(known) else {}
    waveform = excerpt_waveform(kept[row].tobytes(), detector.hearing_) if row in kept else None
    if waveform is None:
        raise HTTPException(404, "the detector keeps no such excerpt (asd enrol --sounds N keeps some)")
    return _as_wav(waveform, detector.hearing_.preprocessing.sample_rate)


def _as_wav(waveform: Float32[ndarray, " samples"], sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def _spectrogram(found: Explanation) -> dict[str, Any] | None:
    """Levels in dB of the window that decides, a row for each moment; ``None`` where nothing was heard."""
    if found.waveform is None:
        return None
    whole = spectrogram(found.waveform, found.sample_rate)
    frames, bands = whole.decibels.shape
    moments, places = _edges(frames, _MOST_TIMES), _edges(bands, _MOST_BANDS)
    levels = _means(_means(whole.decibels, moments, 0), places, 1)
    start = 0.0 if found.window is None else found.window.start
    times = start + moments / frames * len(found.waveform) / found.sample_rate
    return {
        "times": np.round(times, 4).tolist(),
        "frequencies": np.round(whole.edges[1:-1][places], 2).tolist(),
        "levels": np.round(levels, 1).tolist(),
    }


def _edges(count: int, at_most: int) -> ndarray:
    """Where blocks of about equal size begin."""
    return np.unique(np.linspace(0, count, min(at_most, count), endpoint=False).astype(int))


def _means(decibels: Float[ndarray, "rows columns"], starts: ndarray, axis: int) -> Float[ndarray, "fewer few"]:
    """Levels of the mean power of blocks."""
    if len(starts) == decibels.shape[axis]:
        return decibels.astype(np.float64)
    lengths = np.diff(starts, append=decibels.shape[axis])
    power = np.add.reduceat(10.0 ** (decibels.astype(np.float64) / 10.0), starts, axis=axis)
    return 10.0 * np.log10(power / (lengths[:, None] if axis == 0 else lengths))


def _parts(found: Explanation) -> dict[str, Any]:
    """How unlike normal sound each step of time and each band is, and which are marked."""
    times, bands = found.moments, found.bands
    return {
        "times": _ranges(times),
        "frequencies": _ranges(bands),
        "values": {"times": _values(times), "frequencies": _values(bands)},
        "marked": {"times": _marked(found.marked_moments()), "frequencies": _marked(found.marked_bands())},
        "exact": bool(bands is not None and bands.exact),
    }


def _ranges(unlike: Unlike | None) -> list[list[float]]:
    return [] if unlike is None else np.stack([unlike.low, unlike.high], axis=1).round(4).tolist()


def _values(unlike: Unlike | None) -> list[float]:
    return [] if unlike is None else np.nan_to_num(unlike.values).tolist()


def _marked(ranges: list[Range]) -> list[list[float]]:
    return [[round(one.low, 4), round(one.high, 4)] for one in ranges]


def _nearest(detector: Detector, found: Explanation) -> dict[str, Any] | None:
    """Normal sound to compare with: the piece of the bank that is nearest, or the nearest of those that are kept."""
    counterpart = found.counterpart
    place = found.judgment.nearest if counterpart is None else counterpart.place
    if place is None:
        return None
    own = None if counterpart is None else _id_of(detector, found.judgment.machine, place)
    return {
        "recording": place.recording,
        "start": place.start,
        "sound": None if own is None else _SOUND.format(own),
        "is_nearest": counterpart is None or counterpart.is_nearest,
    }


def _id_of(detector: Detector, machine: str, place: Place) -> str | None:
    items = detector.machines_[machine].bank.items
    kept = detector.sounds_of(machine)
    rows = [row for row in map(int, kept) if row < len(items) and Place(items[row].file, items[row].start) == place]
    return f"{list(detector.machines_).index(machine)}-{rows[0]}" if rows else None
