"""Faults that nobody would miss, planted in a clip: what a back-end must hear before its scores are worth a look.

>>> clip = np.sin(np.arange(32_000.0))
>>> {name: round(float(np.std(plant(clip)) / np.std(clip)), 1) for name, plant in PLANTED.items()}
{'tone': 7.1, 'clicks': 1.0, 'quiet': 0.0, 'dropout': 0.9, 'modulation': 0.6}
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from asd_lightning.synthetic.sources import SAMPLE_RATE, ringing

Waveform = Float[np.ndarray, " samples"]
Plant = Callable[[Waveform], Waveform]


def _tone(waveform: Waveform) -> Waveform:
    """One second at 1500 Hz, 20 dB above the clip's own level."""
    made = waveform.copy()
    when = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    first = len(made) // 2 - SAMPLE_RATE // 2
    made[first : first + SAMPLE_RATE] += 10.0 * np.sqrt(2.0) * waveform.std() * np.sin(2 * np.pi * 1500.0 * when)
    return made


def _clicks(waveform: Waveform) -> Waveform:
    """One a second, ringing for 3 ms at 3 kHz, its peak three times that of the clip."""
    times = np.arange(0.5, len(waveform) / SAMPLE_RATE, 1.0)
    ring = ringing(len(waveform), times, np.ones_like(times), 3000.0, 0.003)
    return np.asarray(waveform + 3.0 * np.abs(waveform).max() * ring)


def _quiet(waveform: Waveform) -> Waveform:
    """All of it 30 dB lower."""
    return np.asarray(waveform * 10.0 ** (-30.0 / 20.0))


def _dropout(waveform: Waveform) -> Waveform:
    """Half a second of digital silence."""
    made = waveform.copy()
    first = len(made) // 2 - SAMPLE_RATE // 4
    made[first : first + SAMPLE_RATE // 2] = 0.0
    return made


def _modulation(waveform: Waveform) -> Waveform:
    """The level swells and fades once a second, by 20 dB."""
    swing = 0.55 + 0.45 * np.sin(2 * np.pi * np.arange(len(waveform)) / SAMPLE_RATE)
    return np.asarray(waveform * swing)


PLANTED: dict[str, Plant] = {
    "tone": _tone,
    "clicks": _clicks,
    "quiet": _quiet,
    "dropout": _dropout,
    "modulation": _modulation,
}
"""Waveforms of 16 kHz and 1.5 s or more, full scale 1, which they may exceed."""
