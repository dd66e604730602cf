"""Whether a sensor can be believed: what is wrong with a waveform that says nothing about the machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class SensorReference:
    """What the sensor gives of normal sound; clips far outside of it cannot be judged."""

    @classmethod
    def fit(cls, waveforms: Iterable[Float[np.ndarray, " samples"]], sample_rate: int) -> SensorReference:
        """From raw waveforms of the normal training clips, in [-1, 1], neither repeated nor normalised in level.

        Raises:
            UserError: no waveform, or one that holds NaN.
        """
        raise NotImplementedError

    def reasons(self, waveform: Float[np.ndarray, " samples"], previous: str = "") -> tuple[str, ...]:
        """Why the clip cannot be judged, a sentence each; empty where it can.

        Args:
            waveform: raw, in [-1, 1], at the reference's sampling rate.
            previous: :func:`fingerprint` of the clip before; "" where there is none.
        """
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> SensorReference:
        """What gave ``state``."""
        raise NotImplementedError


def fingerprint(waveform: Float[np.ndarray, " samples"]) -> str:
    """Digest of the samples: two clips of a microphone never have the same."""
    raise NotImplementedError
