"""SMOTE: more target clips, by interpolating between the few there are.

Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", JAIR 2002, by imbalanced-learn.
"""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from asd_lightning.errors import UserError

# Which warnings are shown is a setting of the process: two threads that change and restore it would mix it up.
_FILTERS = threading.Lock()


@dataclass(frozen=True)
class Smote:
    """Settings of the over-sampling.

    Attributes:
        ratio: R in (0, 1], target clips after / source clips: 0.2 makes 198 target clips of 10 beside 990 of source.
        neighbors: N, how many nearest target clips of each are interpolated with.

    Raises:
        UserError: a setting outside its range.
    """

    ratio: float = 0.2
    neighbors: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.ratio <= 1 or self.neighbors < 1:
            raise UserError(
                f"Smote(ratio={self.ratio}, neighbors={self.neighbors}): ratio must be above 0 and at most 1, "
                "neighbors at least 1"
            )


class Oversampled(NamedTuple):
    """Made target clips, possibly none, and what the log should say about it."""

    clips: Float[np.ndarray, "made dim"]
    note: str


def oversample(target: Float[np.ndarray, "n dim"], source_clips: int, settings: Smote, seed: int) -> Oversampled:
    """Clips interpolated between ``target`` clips and their nearest, beside ``source_clips`` clips of source.

    With n < N + 1 target clips, N is n - 1. Nothing is made from fewer than two clips, or where there are already
    ``int(ratio * source_clips)``.  The same arguments always make the same clips.
    """
    count, dim = target.shape
    none = np.empty((0, dim))
    if count < 2:
        return Oversampled(none, f"SMOTE skipped: it needs two target clips, there are {count}")
    wanted = int(settings.ratio * source_clips - count)
    if wanted <= 0:
        return Oversampled(none, f"SMOTE skipped: {count} target clips already reach {settings.ratio} x {source_clips}")
    # Imported where something is fitted alone: they take a second, and scoring has no use for them.
    from imblearn.over_sampling import SMOTE
    from sklearn.neighbors import NearestNeighbors

    neighbors = min(settings.neighbors, count - 1)
    # The tree finds the same neighbours as the default and starts no threads, which cost more than so few clips do.
    tree = NearestNeighbors(n_neighbors=neighbors + 1, algorithm="kd_tree")
    smote = SMOTE(sampling_strategy={1: count + wanted}, k_neighbors=tree, random_state=seed)
    # Only the number of source clips matters, and the strategy contains it already. So one row replaces them, which
    # makes leave-one-out scores several times faster; imbalanced-learn warns about it.
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="After over-sampling", category=UserWarning)
        resampled, labels = smote.fit_resample(
            np.concatenate([np.zeros((1, dim)), target]), np.array([0] + [1] * count)
        )
    made = resampled[labels == 1][count:]
    return Oversampled(made, f"SMOTE: {count} target clips and {len(made)} made of them with {neighbors} neighbour(s)")
