"""States of a machine, such as off, starting, or another speed: each clip belongs to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class LevelStates:
    """``running`` and, where the levels of normal clips have a clear gap, ``not running`` below it.

    Attributes:
        boundary: in dB, the middle of the gap; ``None`` where there is one state.
        names: of the states, in the order of their numbers.
    """

    boundary: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the states: state 0 is the running machine."""
        raise NotImplementedError

    @classmethod
    def fit(cls, level: Float[np.ndarray, " clips"]) -> LevelStates:
        """From the normal training clips' levels in dB."""
        raise NotImplementedError

    def assign(self, level: Float[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Number of each clip's state."""
        raise NotImplementedError


@dataclass(frozen=True)
class NamedStates:
    """States that the normal recordings were sorted into; new clips belong to the one that they are most like.

    Attributes:
        names: of the states, in the order of their numbers; such as could not be told apart are one, joined by ``+``.
    """

    names: tuple[str, ...]

    @classmethod
    def fit(
        cls, features: Float[np.ndarray, "clips dim"], state: Sequence[str], recording: Int[np.ndarray, " clips"]
    ) -> NamedStates:
        """From features of the normal training clips (level, embedding ...) and the state that each was filed under."""
        raise NotImplementedError

    def assign(self, features: Float[np.ndarray, "m dim"]) -> Int[np.ndarray, " m"]:
        """Number of each clip's state."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> NamedStates:
        """What gave ``state``."""
        raise NotImplementedError


def state_of_path(file: PurePath, folder: PurePath) -> str:
    """The state that a recording was filed under: the first folder below ``folder``, "" where there is none."""
    raise NotImplementedError
