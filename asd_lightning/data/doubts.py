"""Doubts about one machine's decoded clips: levels far apart, and test clips that were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from asd_lightning.data.layout import Clip
from asd_lightning.data.measurement import level_db, mixed_levels

_NAMED_AT_MOST = 3
# Seconds of a clip that are listened to first: enough where the sound is steady.
_PIECE = 1.0


@runtime_checkable
class Decoded(Protocol):
    """Decoded clips, such as those of `asd_lightning.data.cache.ClipStore`."""

    clips: list[Clip]

    def samples(self, index: int) -> int:
        """Length of one clip in samples."""

    def content(self, index: int) -> tuple[int, int]:
        """Length and check sum of one clip's samples."""

    def read(self, index: int, start: int = 0, stop: int | None = None) -> NDArray[np.float32]:
        """Samples ``start`` to ``stop`` of one clip, float32 in [-1, 1], shape (samples,)."""


def doubtful_levels(store: Decoded, ids: Sequence[int], sample_rate: int) -> str:
    """What to say of the levels of one machine's clips; "" where they are of one gain."""
    half = round(_PIECE * sample_rate / 2)
    middles = [max(store.samples(index) // 2 - half, 0) for index in ids]
    pieces = [store.read(index, begin, begin + 2 * half) for index, begin in zip(ids, middles, strict=True)]
    if not mixed_levels(map(level_db, pieces)):
        return ""
    # A valve is silent at times: only whole recordings tell.
    of_file: dict[str, list[int]] = {}
    for index in ids:
        of_file.setdefault(store.clips[index].file, []).append(index)
    return mixed_levels(level_db(np.concatenate([*map(store.read, windows)])) for windows in of_file.values())


def doubtful_copies(store: Decoded, ids: Sequence[int]) -> str:
    """What to say of test clips of one machine that hold the sound of a training clip; "" without any."""
    trained = {store.content(index): index for index in ids if store.clips[index].split == "train"}
    tested = (index for index in ids if store.clips[index].split == "test" and store.content(index) in trained)
    pairs = [(index, trained[store.content(index)]) for index in tested]
    # Check sums may be equal by accident, sound is not.
    same = [(test, train) for test, train in pairs if np.array_equal(store.read(test), store.read(train))]
    if not same:
        return ""
    clips = [(store.clips[test].name, store.clips[train].name) for test, train in same]
    named = ", ".join(f"{test} of {train}" for test, train in clips[:_NAMED_AT_MOST])
    more = ", ..." if len(same) > _NAMED_AT_MOST else ""
    return (
        f"{len(same)} test clips are copies of training clips ({named}{more}): their scores, often exactly 0, tell "
        "nothing; remove one of each"
    )
