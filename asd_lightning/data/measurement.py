"""What can be said of a recording without a model: format, length, level, silence, clipping, content digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int16

from asd_lightning.data.audio import BadAudioError, read_recording, refuse_too_short, refuse_unfit_samples

if TYPE_CHECKING:
    from rich.console import Console

_WORKERS = min(8, os.cpu_count() or 1)
# Sound of one machine spans some tens of dB at most: more is gain, or the units of samples.
_MOST_DIFFERENT_DB = 40.0
# Below one step of 24 bits; keeps the logarithm of silence finite.
_FLOOR = 1e-8


@dataclass(frozen=True, slots=True)
class Measurement:
    """One recording.

    Attributes:
        sample_rate: in Hz.
        channels: their number.
        subtype: sample format as libsndfile names it, such as ``PCM_16``.
        seconds: length.
        peak_db: highest magnitude in dB of full scale.
        level_db: root mean square of all channels in dB of full scale.
        clipped: share of samples that stand at full scale after another that does.
        silent: whether every sample of a channel has one value.
        digest: of the samples alone, so that equal sound in different files or headers is found.
    """

    sample_rate: int
    channels: int
    subtype: str
    seconds: float
    peak_db: float
    level_db: float
    clipped: float
    silent: bool
    digest: str


def measure(path: Path) -> Measurement:
    """Measure one recording.

    Raises:
        BadAudioError: empty, truncated, not audio, shorter than one frame, NaN, infinite or far beyond full scale.
    """
    samples, rate, subtype = read_recording(path)
    refuse_too_short(path, samples, rate)
    refuse_unfit_samples(path, samples)
    scaled = samples / 2**15 if samples.dtype == np.int16 else samples.astype(np.float64)
    return Measurement(
        sample_rate=rate,
        channels=samples.shape[1],
        subtype=subtype,
        seconds=len(samples) / rate,
        peak_db=_decibels(float(np.abs(scaled).max())),
        level_db=level_db(scaled),
        clipped=clipped_share(samples),
        silent=bool((samples.min(axis=0) == samples.max(axis=0)).any()),
        digest=hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest(),
    )


def level_db(waveform: Float[np.ndarray, "*shape"]) -> float:
    """Root mean square in dB of full scale, the floor for silence."""
    flat = waveform.ravel()
    return _decibels(float(np.sqrt(np.dot(flat, flat) / flat.size)))


def mixed_levels(levels_db: Iterable[float]) -> str:
    """What to say of one machine's clips of these levels (dB); "" where all are of one gain.

    Silent clips do not count.
    """
    audible = [level for level in levels_db if level > _decibels(_FLOOR)]
    if not audible or max(audible) - min(audible) <= _MOST_DIFFERENT_DB:
        return ""
    low, high = min(audible), max(audible)
    quiet = sum(level < (low + high) / 2 for level in audible)
    return (
        f"levels differ by {high - low:.0f} dB, from {low:.0f} to {high:.0f} dB of full scale ({quiet} of "
        f"{len(audible)} are nearer the lowest): another gain, or samples in other units; record all alike, or scale "
        "them to one level"
    )


def measure_all(paths: Sequence[Path], console: Console | None = None) -> dict[Path, Measurement | BadAudioError]:
    """Measure many recordings in parallel, with a progress bar; what is wrong with a bad one stands in its place."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(_WORKERS) as pool:
        results = progress.track(pool.map(_measure_or_error, paths), total=len(paths), description="reading clips")
        return dict(zip(paths, results, strict=True))


def _measure_or_error(path: Path) -> Measurement | BadAudioError:
    try:
        return measure(path)
    except BadAudioError as error:
        return error


def _decibels(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, _FLOOR)))


def clipped_share(samples: Int16[np.ndarray, "samples channels"] | Float[np.ndarray, "samples channels"]) -> float:
    """Normalising a recording leaves single samples at full scale; clipping leaves two or more in a row."""
    limits = (-(2**15), 2**15 - 1) if samples.dtype == np.int16 else (-1.0, 1.0 - 2**-15)
    at_limit = (samples <= limits[0]) | (samples >= limits[1])
    return float((at_limit[1:] & at_limit[:-1]).mean()) if len(samples) > 1 else 0.0
