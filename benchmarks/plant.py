"""Sound of a synthetic pump for as long as is wanted, minute by minute from seeds, and faults in it.

A shaft and its blades with a wandering speed, flow noise, and a background that comes and goes every twenty minutes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000
# Of the first minute, in s since 1970.
DAY = 1_700_000_000
KINDS = ("tone", "click", "dropout", "level", "bearing")
LEVELS = ("loud", "quiet")
_HARMONICS = (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6, 1 / 7 + 0.4, 1 / 8)


@dataclass(frozen=True)
class Fault:
    """What is added to the sound from ``start`` on, in s of the day."""

    kind: str
    level: str
    start: int
    seconds: int


def sound(minute: int, day: str, faults: Sequence[Fault] = (), rate: int = RATE) -> np.ndarray:
    """One minute of a day that is named by its seed."""
    draw = np.random.default_rng([minute, *day.encode()])
    slow = np.random.default_rng([minute // 20, *day.encode()])
    now = np.arange(60 * rate) / rate + 60 * minute
    pitch = 48.0 * (1 + 0.004 * np.sin(2 * np.pi * now / 37) + slow.uniform(-0.004, 0.004))
    phase = (2 * np.pi * np.cumsum(pitch) / rate % (2 * np.pi)).astype(np.float32)
    background = slow.uniform(0.2, 0.6) * _smoothed(draw, len(now), 16)
    made = 0.05 * (_tones(phase) + _smoothed(draw, len(now), 4) + background)
    for fault in faults:
        made = with_fault(made, now, fault)
    return np.clip(made, -1, 1).astype(np.float32)


def _tones(phase: np.ndarray) -> np.ndarray:
    """sin(k x) = 2 cos(x) sin((k - 1) x) - sin((k - 2) x): a sine for each harmonic would take most of the time."""
    before, last, twice = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
    total = np.zeros_like(phase)
    for share in _HARMONICS:
        total += np.float32(share) * last
        before, last = last, twice * last - before
    return total


def _smoothed(draw: np.random.Generator, length: int, samples: int) -> np.ndarray:
    """White noise, each sample the mean of so many."""
    total = np.cumsum(draw.standard_normal(length + samples, np.float32), dtype=np.float64)
    return ((total[samples:] - total[:-samples]) / samples).astype(np.float32)


def with_fault(made: np.ndarray, now: np.ndarray, fault: Fault) -> np.ndarray:
    """The minute with what of the fault lies in it."""
    place = (now >= fault.start) & (now < fault.start + fault.seconds)
    if not place.any():
        return made
    much = 1.0 if fault.level == "loud" else 0.3
    added = {
        "tone": 0.2 * much * np.sin(2 * np.pi * 3100 * now),
        "click": 0.9 * much * (np.modf(now)[0] < 0.002),
        "bearing": 0.5 * much * (np.modf(now * 97)[0] < 0.05) * np.sin(2 * np.pi * 4200 * now),
    }.get(fault.kind, np.zeros_like(now))
    factor = {"dropout": 1 - much * (np.modf(now * 2)[0] < 0.3), "level": 10 ** (-30 * much / 20)}.get(fault.kind, 1.0)
    return np.where(place, made * factor + added, made)


def render(folder: Path, day: str, minutes: Sequence[int], faults: Sequence[Fault] = (), workers: int = 2) -> None:
    """Some minutes of a day as recordings ``MINUTE.flac``; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [minute for minute in minutes if not (folder / _name(minute)).exists()]
    with ProcessPoolExecutor(workers) as pool:
        for done in [pool.submit(_save, folder, day, minute, tuple(faults)) for minute in missing]:
            done.result()


def _save(folder: Path, day: str, minute: int, faults: Sequence[Fault]) -> None:
    """A recording whose time is that of its end; whole or not at all."""
    half = folder / f"{_name(minute)}.part"
    soundfile.write(half, sound(minute, day, faults), RATE, subtype="PCM_16", format="FLAC")
    end = DAY + 60 * (minute + 1)
    os.utime(half, (end, end))
    half.rename(folder / _name(minute))


def _name(minute: int) -> str:
    return f"{minute:04d}.flac"
