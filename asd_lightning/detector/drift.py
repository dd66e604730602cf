"""Whether normal sound has drifted away from what was enrolled: a sequential test on scores, or on level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

Sides = Literal["up", "both"]


@dataclass(frozen=True)
class DriftTest:
    """A CUSUM test, calibrated so that a run of ``clips`` clips without drift is called drifted with ``risk`` at most.

    Immutable: the state of a run is a :class:`DriftState`, plain data.
    """

    @classmethod
    def fit(
        cls,
        values: Float[np.ndarray, " clips"],
        recording: Int[np.ndarray, " clips"],
        sides: Sides = "up",
        clips: int = 200,
        risk: float = 0.05,
    ) -> DriftTest:
        """From left-out scores (or levels in dB) of the normal training clips.

        Args:
            values: of the training clips.
            recording: number of each clip's recording.
            sides: ``up`` for scores, ``both`` for levels.
            clips: length of a run.
            risk: of a run without drift.
        """
        raise NotImplementedError

    def update(self, state: DriftState, value: float) -> DriftState:
        """The state after one more clip."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> DriftTest:
        """What gave ``state``."""
        raise NotImplementedError


@dataclass(frozen=True)
class DriftState:
    """Where a run stands: ``DriftState()`` at its begin; ``DriftState(**asdict(state))`` resumes.

    Attributes:
        clips: seen so far.
        up: sum of the evidence for higher values.
        down: for lower ones.
        drifted_at: number of the clip (from 1) at which drift was found; 0 where it was not.  It stays found.
    """

    clips: int = 0
    up: float = 0.0
    down: float = 0.0
    drifted_at: int = 0
