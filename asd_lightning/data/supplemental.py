"""Supplemental clips of the 2025 release: the machine without its surroundings, or the surroundings alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning.data.layout import Clip

Supplemental = Literal["none", "noise", "clean", "both"]

# In a supplemental name the kind stands where the attribute stands elsewhere.
_CLEAN = "machine"


def is_clean(clip: Clip) -> bool:
    """Whether a clip is supplemental sound of the machine alone."""
    return clip.split == "supplemental" and clip.attribute == _CLEAN


def is_noise(clip: Clip) -> bool:
    """Whether a clip is supplemental sound of the surroundings alone."""
    return clip.split == "supplemental" and clip.attribute != _CLEAN


def as_labeled(clip: Clip) -> Clip:
    """The clip as its class is told: nothing is known of a supplemental clip's operating condition."""
    return replace(clip, attribute="") if clip.split == "supplemental" else clip


def add_noise(
    waveform: Float32[ndarray, " samples"], noise: Float32[ndarray, " samples"], snr_db: float
) -> Float32[ndarray, " samples"]:
    """``waveform`` plus ``noise``, scaled so that the ratio of their powers is ``snr_db`` (dB).

    Powers are means over the whole waveforms, offset included.  The sum may leave [-1, 1].  Where either is all zeros
    there is no ratio to set, and ``waveform`` is returned as it is.
    """
    power, noise_power = (float(np.mean(np.square(part, dtype=np.float64))) for part in (waveform, noise))
    if power == 0 or noise_power == 0:
        return waveform
    gain = np.sqrt(power / noise_power * 10 ** (-snr_db / 10))
    return waveform + np.float32(gain) * noise
