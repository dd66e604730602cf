"""Holding out normal recordings for testing, where a folder has none: by what they hold, and not by their names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd_lightning.data.audio import BadAudioError, Recording, read_header, read_recording, to_float
from asd_lightning.errors import UserError

_HELD_OUT = 0.2
_READERS = min(8, os.cpu_count() or 1)
_NAMED_AT_MOST = 20
# Of the beginning, the middle and the end: equal noise in all three is no accident.
_PIECE_SECONDS = 0.25


class HoldOut(NamedTuple):
    """Recordings to train on and to test with, and what is to be said of it."""

    train: list[Path]
    test: list[Path]
    told: str


def hold_out(
    machine: str, normal: list[Path], seed: int, recording_of: Callable[[Path], str | None] | None = None
) -> HoldOut:
    """Split whole recordings, so that no two pieces of one recording, and no two copies, lie on both sides.

    Pieces are told by ``recording_of``: a clip's path -> its recording, where that is known.  Copies are told by their
    decoded sound, whatever their names and formats.  A recording that cannot be read is never held out: it stays with
    the training recordings, and decoding it later gives the error.

    Raises:
        UserError: less than two that can be read.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        found = dict(zip(normal, pool.map(_content, normal), strict=True))
    unreadable = [str(error) for error in found.values() if isinstance(error, BadAudioError)]
    readable = [path for path in normal if not isinstance(found[path], BadAudioError)]
    if len(readable) < 2:
        why = "".join(f"; {message}" for message in unreadable[:_NAMED_AT_MOST])
        raise UserError(
            f"{normal[0].parent}: holds {len(readable)} normal recording(s) of {machine}, so none can be held out for "
            f"testing; add recordings, or put what is to be scored under test/{why}"
        )
    groups: dict[object, list[Path]] = {}
    for path in readable:
        groups.setdefault(found[path], []).append(path)
    marks = [(("sound", found[path]), ("recording", _known(path, recording_of))) for path in readable]
    together = _together(readable, marks)
    chosen = _draw(together if len(together) > 1 else [[path] for path in readable], seed)
    held_out = [path for path in readable if path in chosen]
    told = (
        f"has no normal test recordings: {len(held_out)} of {len(readable)} normal recordings are held out for testing "
        f"(seed {seed}): {', '.join(f'{path.parent.name}/{path.name}' for path in held_out)}"
        f"{_copies(groups)}{_one_recording(len(together), len(groups))}"
    )
    return HoldOut([path for path in normal if path not in chosen], held_out, told)


def _known(path: Path, recording_of: Callable[[Path], str | None] | None) -> str | Path:
    """A recording's name; the path itself where none is known."""
    return (recording_of(path) if recording_of else None) or path


def _together(paths: Sequence[Path], marks: Sequence[Sequence[object]]) -> list[list[Path]]:
    """Paths that share a mark, directly or through others, in one group; groups in the order of their first path."""
    # Here: a mistyped command waits for no heavy import.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    numbers: dict[object, int] = {}
    pairs = [
        (row, len(paths) + numbers.setdefault(mark, len(numbers))) for row, own in enumerate(marks) for mark in own
    ]
    size = len(paths) + len(numbers)
    graph = coo_array((np.ones(len(pairs)), tuple(zip(*pairs, strict=True))), shape=(size, size))
    groups: dict[int, list[Path]] = {}
    for path, group in zip(paths, connected_components(graph, directed=False)[1][: len(paths)], strict=True):
        groups.setdefault(int(group), []).append(path)
    return list(groups.values())


def _one_recording(together: int, sounds: int) -> str:
    return ". All are pieces of one recording: little can be told from their scores" if together == 1 < sounds else ""


def _draw(groups: Sequence[Sequence[Path]], seed: int) -> set[Path]:
    """About a fifth of all recordings, copies together; one group at least is left to train on."""
    count = max(1, round(_HELD_OUT * sum(map(len, groups))))
    chosen: set[Path] = set()
    for index in np.random.default_rng(seed).permutation(len(groups))[:-1]:
        if len(chosen) < count:
            chosen.update(groups[index])
    return chosen


def _copies(groups: dict[object, list[Path]]) -> str:
    more = sum(len(group) - 1 for group in groups.values())
    if not more:
        return ""
    if len(groups) == 1:
        return ". All hold the same sound: nothing can be told from their scores; record others"
    pair = next(group for group in groups.values() if len(group) > 1)
    return (
        f". {more} of all are copies of others, such as {pair[1].name} of {pair[0].name}, and stay on one side with "
        "them; remove them, for they count twice"
    )


def _content(path: Path) -> BadAudioError | object:
    """What tells a recording's sound: its length, rate, channels and a digest of some pieces; or what is wrong."""
    try:
        seconds, rate, _ = read_header(path)
        if not seconds:
            raise BadAudioError(f"{path}: holds no samples")
        starts = {0.0, max(seconds / 2, 0.0), max(seconds - _PIECE_SECONDS, 0.0)}
        pieces = [read_recording(path, start, _PIECE_SECONDS) for start in sorted(starts) if start < seconds]
    except BadAudioError as error:
        return error
    return round(seconds * rate), rate, pieces[0].samples.shape[1], _digest(pieces)


def _digest(pieces: Sequence[Recording]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        # As one type: a copy may have more bits.
        digest.update(to_float(piece.samples).tobytes())
    return digest.digest()
