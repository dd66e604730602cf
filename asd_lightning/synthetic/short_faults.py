"""Faults that show in a part of a clip only: everything else in it is the healthy machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from asd_lightning.synthetic.draws import Draws
from asd_lightning.synthetic.sources import SAMPLE_RATE, ringing

LONGEST = 0.6
"""Seconds that a short fault takes at most."""


class Moment(NamedTuple):
    """What a short fault does to the healthy machine's sound: times ``gain``, plus ``added``.

    Amplitudes are relative to the shaft's harmonics (RMS 1).
    """

    gain: Float[np.ndarray, " samples"]
    added: Float[np.ndarray, " samples"]


def moment(fault: str, severity: float, draws: Draws) -> Moment:
    """One occurrence of ``fault`` (a key of ``SHORT_FAULTS``): ``LONGEST`` seconds of it, silent at both ends.

    >>> squeal = moment("squeal", 1.0, Draws("example"))
    >>> len(squeal.added), round(float(abs(squeal.added).max()), 1), float(squeal.gain.min())
    (9600, 1.2, 1.0)
    """
    return SHORT_FAULTS[fault](severity, draws)


def _clicks(severity: float, draws: Draws) -> Moment:
    """Three to six clicks at irregular times."""
    count = 3 + int(draws.uniform(0.0, 4.0))
    times = np.sort(draws.uniforms(count, 0.02, LONGEST - 0.1))
    strengths = 10.0 * severity * draws.uniforms(count, 0.6, 1.0)
    return Moment(_ones(), ringing(_samples(), times, strengths, draws.uniform(1800.0, 5000.0), 0.003))


def _burst(severity: float, draws: Draws) -> Moment:
    """A burst of hiss, as of escaping air."""
    hiss = np.diff(draws.noise(_samples() + 1)) / np.sqrt(2.0)
    return Moment(_ones(), 1.6 * severity * _bump(draws, 0.1, 0.25) * hiss)


def _squeal(severity: float, draws: Draws) -> Moment:
    """A tone that glides by up to a tenth of its frequency."""
    envelope = _bump(draws, 0.2, 0.5)
    hertz = draws.uniform(1200.0, 4000.0) * np.linspace(1.0, 1.0 + draws.uniform(-0.1, 0.1), _samples())
    return Moment(_ones(), 1.2 * severity * envelope * np.sin(2.0 * np.pi * np.cumsum(hertz) / SAMPLE_RATE))


def _stutter(severity: float, draws: Draws) -> Moment:
    """The machine's sound fades for a moment and comes back."""
    return Moment(1.0 - min(0.9 * severity, 1.0) * _bump(draws, 0.2, 0.5) ** 0.5, np.zeros(_samples()))


def _samples() -> int:
    return round(LONGEST * SAMPLE_RATE)


def _ones() -> Float[np.ndarray, " samples"]:
    return np.ones(_samples())


def _bump(draws: Draws, shortest: float, longest: float) -> Float[np.ndarray, " samples"]:
    """A rise from 0 to 1 and back (Hann), of a length drawn between the two (seconds), at a drawn place."""
    length = round(draws.uniform(shortest, longest) * SAMPLE_RATE)
    start = int(draws.uniform(0.0, float(_samples() - length)))
    envelope = np.zeros(_samples())
    envelope[start : start + length] = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
    return envelope


SHORT_FAULTS: dict[str, Callable[[float, Draws], Moment]] = {
    "burst": _burst,
    "clicks": _clicks,
    "squeal": _squeal,
    "stutter": _stutter,
}
