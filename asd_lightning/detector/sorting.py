"""Normal recordings by the machine's states: as somebody has sorted them into folders, or by their levels."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd_lightning.data.folders import rooms_of
from asd_lightning.data.layout import Clip
from asd_lightning.detector.bank import Bank, in_blocks
from asd_lightning.detector.hearing import Heard
from asd_lightning.detector.states import (
    FittedStates,
    LevelStates,
    States,
    StatesFrom,
    fit_named,
    is_still,
    state_of_path,
)
from asd_lightning.detector.thresholds import FEWEST_RECORDINGS
from asd_lightning.errors import UserError
from asd_lightning.scoring.windows import numbered

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sorted:
    """The normal recordings' states, as somebody has sorted them.

    Attributes:
        filed: file -> folder or name; empty where there are none.
        by: whether those are states, or the level tells them, or nothing.
    """

    filed: Mapping[str, str] = field(default_factory=dict)
    by: StatesFrom = "level"


class Parted(NamedTuple):
    """Which pieces are of the running machine, and in which state.

    Attributes:
        states: of the machine.
        running: whether each piece is of the running machine.
        taken: the state that each is taken for by the other recordings; "" where there is one.
        filed: the state that each was filed under; "" where there is one.
        seem: folders that seem to be states.
    """

    states: States | None
    running: list[bool]
    taken: list[str]
    filed: list[str]
    seem: tuple[str, ...] = ()


def folders_of(folder: Path, clips: Sequence[Clip]) -> dict[str, str]:
    """The folder of each clip's file below that of normal sound, "" for none; nothing of a single recording."""
    if folder.is_file():
        return {}
    roots = [room.path for room in rooms_of(folder) if room.purpose in ("train", "normal")] or [folder]
    return {
        clip.file: state_of_path(clip.path, next(root for root in roots if clip.path.is_relative_to(root)))
        for clip in clips
    }


def warn_of_empty_folders(folder: Path, filed: Mapping[str, str]) -> None:
    """Say which sub-folders of ``folder`` hold no normal recording: there will be no such state."""
    roots = [room.path for room in rooms_of(folder) if room.purpose in ("train", "normal")] or [folder]
    below = [path for root in roots for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if empty := sorted({path.name for path in below} - {*filed.values()}):
        logger.warning(
            "%s: no normal recording in the sub-folders %s, so there is no such state; WAV and FLAC files are read",
            *(folder, ", ".join(empty)),
        )


def parted_by(name: str, heard: Heard, bank: Bank, alive: Sequence[bool], sorting: Sorted, gap: float) -> Parted:
    """Which pieces are of the running machine, and in which state.

    Args:
        name: of the machine.
        heard: its normal sound, with what enrolling looks at (`asd_lightning.detector.enrolment.Look`).
        bank: of the pieces that are alive.
        alive: which pieces are neither silent nor heard twice.
        sorting: the recordings' states.
        gap: in s, see `asd_lightning.detector.bank.in_blocks`: a state's only recording is left out in blocks.

    Raises:
        UserError: a recording without a state, none of the running machine, or a machine that is off and cannot be told
            from one that runs.
    """
    rows = [row for row, keep in enumerate(alive) if keep]
    files = [heard.pieces[row].clip.file for row in rows]
    filed = [sorting.filed.get(file, "") for file in files]
    nothing = [""] * len(alive)
    if sorting.by == "folders":
        if "" in filed:
            place = files[filed.index("")]
            raise UserError(f"{name}: {place} lies in no sub-folder, and with --states folders each says the state")
        if all(map(is_still, filed)):
            raise UserError(
                f"{name}: holds no recording of the running machine (sub-folders: {', '.join(sorted(set(filed)))}); "
                "give some, each in a sub-folder of its state"
            )
        if len(set(filed)) == 1:
            return Parted(None, list(alive), nothing, nothing)
        in_blocks_too = replace(bank, blocking=in_blocks(bank.items, filed, gap))
        found = _fit_states(heard, rows, filed, in_blocks_too.recordings())
        _refuse_off_like_running(name, filed, found, [heard.looks[row].level for row in rows])
        of_row = dict(zip(rows, zip(found.filed, found.taken, strict=True), strict=True))
        of_all = [of_row.get(row, ("", "")) for row in range(len(alive))]
        running = [keep and own not in found.states.still for keep, (own, _) in zip(alive, of_all, strict=True)]
        taken = [told for _, told in of_all] if len(found.states.running) > 1 else nothing
        return Parted(found.states, running, taken, [own for own, _ in of_all])
    seem = _seem_states(heard, rows, filed, bank.recordings())
    if sorting.by == "none":
        return Parted(None, list(alive), nothing, nothing, seem)
    levels = np.array([heard.looks[row].level for row in rows])
    states = LevelStates.fit(levels)
    loud = dict(zip(rows, (states.assign(levels) == 0).tolist(), strict=True))
    return Parted(states, [loud.get(row, False) for row in range(len(alive))], nothing, nothing, seem)


def _fit_states(heard: Heard, rows: Sequence[int], filed: Sequence[str], recordings: Sequence[str]) -> FittedStates:
    features = np.stack([heard.looks[row].features for row in rows])
    return fit_named(features, filed, numbered(recordings))


def _refuse_off_like_running(name: str, filed: Sequence[str], found: FittedStates, levels: Sequence[float]) -> None:
    """A machine that is off belongs in no bank: as one state with a running one it would be normal there."""
    for group in found.states.running:
        own = [row for row, joined in enumerate(found.filed) if joined == group]
        folders = sorted({filed[row] for row in own}, key=lambda folder: (not is_still(folder), folder))
        if not is_still(folders[0]):
            continue
        told = ", ".join(
            f"{folder} (median level {np.median([levels[row] for row in own if filed[row] == folder]):.1f} dB)"
            for folder in folders
        )
        raise UserError(
            f"{name}: the machine that is off sounds too much like the one that runs: {told} cannot be told apart by "
            f"level and spectrum, so {folders[0]} would count as running, and sound that is off as normal; see that "
            f"each recording lies in its folder, or enrol without {folders[0]} (--states level, the default, tells off "
            "by a gap of 10 dB alone)"
        )


def _seem_states(heard: Heard, rows: Sequence[int], filed: Sequence[str], recordings: Sequence[str]) -> tuple[str, ...]:
    """Folders, where one has the name of a machine that is off, or recordings of each are told from all others."""
    folders = sorted(set(filed) - {""})
    if len(folders) < 2:
        return ()
    pairs = {*zip(filed, recordings, strict=True)}
    many = all(sum(own == folder for own, _ in pairs) >= FEWEST_RECORDINGS for folder in folders)
    told = many and "" not in filed and len(_fit_states(heard, rows, filed, recordings).states.names) == len(folders)
    return tuple(folders) if told or any(map(is_still, folders)) else ()
