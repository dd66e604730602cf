"""More target clips, by adding a little of source clips to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.scoring.arguments import require_at_least, require_between
from asd_lightning.scoring.search import View, lowest


@dataclass(frozen=True)
class MemMixup:
    """Settings of the mixing of memory banks (Saengthong and Shinozaki, "GenRep", arXiv 2409.05035).

    Attributes:
        share: of the target clip in a mixture; the rest is the source clip's.
        neighbors: nearest source clips of each target clip that are mixed into it; more than there are: all of them.

    Raises:
        UserError: a setting outside its range.
    """

    share: float = 0.9
    neighbors: int = 990

    def __post_init__(self) -> None:
        require_between("share", self.share, 0, 1)
        require_at_least("neighbors", self.neighbors, 1)


class Mixtures(NamedTuple):
    """Mixtures, possibly none, and the positions of the two clips that each was made of."""

    clips: Float[np.ndarray, "made dim"]
    parents: Int[np.ndarray, "made 2"]


def mixtures(
    clips: Float[np.ndarray, "n dim"], is_target: Bool[np.ndarray, " n"], settings: MemMixup | None
) -> Mixtures:
    """Of each target clip and its nearest source clips, by Euclidean distance."""
    source, target = np.flatnonzero(~is_target), np.flatnonzero(is_target)
    if settings is None or not len(source) or not len(target):
        return Mixtures(np.empty((0, clips.shape[1])), np.empty((0, 2), dtype=np.intp))
    queries, bank = (View(clips[some], np.zeros(len(some))) for some in (target, source))
    nearest = lowest(queries, bank, min(settings.neighbors, len(source)), "length").item
    first, second = np.repeat(target, nearest.shape[1]), source[nearest.ravel()]
    made = settings.share * clips[first] + (1 - settings.share) * clips[second]
    return Mixtures(made, np.stack([first, second], axis=1))
