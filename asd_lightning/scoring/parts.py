"""Back-ends made of back-ends: the kinds that are kept, and their states side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from asd_lightning.errors import UserError
from asd_lightning.scoring.centers import KMeansScorer
from asd_lightning.scoring.gaussian import GaussianMixtureScorer, MahalanobisScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.protocol import KeptScorer, Scorer, ScorerState
from asd_lightning.scoring.union import LedoitWolfScorer, ResidualScorer

Kinds = Mapping[str, type[KeptScorer]]

SIMPLE: Kinds = {
    kind.__name__: kind
    for kind in (
        *(KNNScorer, KMeansScorer, MahalanobisScorer, GaussianMixtureScorer),
        *(GridScorer, LedoitWolfScorer, ResidualScorer),
    )
}
"""Back-ends that are made of no others, by the names that a file of fitted machines has for them."""


def checked(make_scorer: Callable[[], Scorer]) -> Callable[[], Scorer]:
    """The same, made once: a setting outside its range is told before anything is trained.

    Raises:
        UserError: such a setting.
    """
    make_scorer()
    return make_scorer


def again(part: Scorer) -> Callable[[], Scorer]:
    """In the place of what made a back-end that was read from a file."""
    return lambda: part


def can_be_kept(scorer: Scorer, kinds: Kinds) -> bool:
    """Whether it is of those kinds, and what it is made of is of the kinds that it can be read with."""
    if not isinstance(scorer, KeptScorer) or type(scorer) not in kinds.values():
        return False
    parts: Mapping[str, Scorer] = getattr(scorer, "parts", {})
    return all(can_be_kept(part, getattr(scorer, "part_kinds", {})) for part in parts.values())


def packed(parts: Mapping[str, Scorer]) -> tuple[dict[str, Any], dict[str, Float[np.ndarray, "*shape"]]]:
    """Plain data and arrays of several fitted back-ends; names hold no slash."""
    options: dict[str, Any] = {}
    arrays: dict[str, Float[np.ndarray, "*shape"]] = {}
    for name, part in parts.items():
        if not isinstance(part, KeptScorer):
            raise TypeError(f"{type(part).__name__} has no state")
        state = part.state()
        options[name] = {"scorer": type(part).__name__, "options": state.options}
        arrays |= {f"{name}/{key}": array for key, array in state.arrays.items()}
    return options, arrays


def unpacked(options: Any, arrays: Mapping[str, Any], kinds: Kinds) -> dict[str, Scorer]:
    """What ``packed`` was given.

    Raises:
        UserError: not what ``packed`` made, or a part is of none of the kinds.
    """
    if not isinstance(options, dict) or not options:
        raise UserError("the parts of a back-end are missing")
    parts: dict[str, Scorer] = {}
    for name, entry in options.items():
        kind = kinds.get(str(entry["scorer"]))
        if kind is None:
            raise UserError(f"unknown back-end {entry['scorer']!r:.99}")
        own = {key.removeprefix(f"{name}/"): array for key, array in arrays.items() if key.startswith(f"{name}/")}
        parts[name] = kind.from_state(ScorerState(dict(entry["options"]), own))
    return parts
