"""Made recordings of a machine, for the tests of detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def hum(seed: int, seconds: float = 1.0, pitch: float = 120.0) -> np.ndarray:
    """A hum with noise, somewhat different each time."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * k * time + draw.uniform(0, 6)) / k for k in range(1, 6))
    loudness = draw.uniform(0.9, 1.1)
    return (0.05 * loudness * (tones + 0.5 * draw.normal(size=len(time)))).astype(np.float32)


def whine(seed: int, seconds: float = 1.0) -> np.ndarray:
    """The hum with a tone that does not belong there."""
    time = np.arange(round(seconds * RATE)) / RATE
    return hum(seed, seconds) + (0.1 * np.sin(2 * np.pi * 3000 * time)).astype(np.float32)


def write(path: Path, waveform: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, RATE, subtype="PCM_16")
    return path


def write_normal(folder: Path, count: int = 30, seconds: float = 1.0, first: int = 0) -> Path:
    for number in range(first, first + count):
        write(folder / f"clip_{number:03}.wav", hum(number, seconds))
    return folder
