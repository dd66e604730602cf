"""Normal recordings by the machine's states: as somebody has sorted them into folders, or by their levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asd_lightning.data.folders import rooms_of
from asd_lightning.data.layout import Clip
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
    """Which pieces are of the running machine, the state of each of them, and folders that seem to be states."""

    states: States | None
    running: list[bool]
    taken: list[str]
    seem: tuple[str, ...]


def folders_of(folder: Path, clips: Sequence[Clip]) -> dict[str, str]:
    """The folder of each clip's file below that of normal sound, "" for none; nothing of a single recording."""
    if folder.is_file():
        return {}
    roots = [room.path for room in rooms_of(folder) if room.purpose in ("train", "normal")] or [folder]
    return {
        clip.file: state_of_path(clip.path, next(root for root in roots if clip.path.is_relative_to(root)))
        for clip in clips
    }


def parted_by(name: str, heard: Heard, alive: Sequence[bool], sorting: Sorted) -> Parted:
    """Which pieces are of the running machine, and in which state.

    Args:
        name: of the machine.
        heard: its normal sound, with what enrolling looks at (`asd_lightning.detector.enrolment.Look`).
        alive: which pieces are neither silent nor heard twice.
        sorting: the recordings' states.

    Raises:
        UserError: a recording without a state, or none of the running machine.
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
            return Parted(None, list(alive), nothing, ())
        found = _fit_states(heard, rows, filed)
        runs = dict(zip(rows, (own not in found.states.still for own in found.filed), strict=True))
        taken = dict(zip(rows, found.taken, strict=True)) if len(found.states.running) > 1 else {}
        running = [runs.get(row, False) for row in range(len(alive))]
        return Parted(found.states, running, [taken.get(row, "") for row in range(len(alive))], ())
    seem = _seem_states(heard, rows, filed)
    if sorting.by == "none":
        return Parted(None, list(alive), nothing, seem)
    levels = np.array([heard.looks[row].level for row in rows])
    states = LevelStates.fit(levels)
    loud = dict(zip(rows, (states.assign(levels) == 0).tolist(), strict=True))
    return Parted(states, [loud.get(row, False) for row in range(len(alive))], nothing, seem)


def _fit_states(heard: Heard, rows: Sequence[int], filed: Sequence[str]) -> FittedStates:
    features = np.stack([heard.looks[row].features for row in rows])
    return fit_named(features, filed, numbered([heard.pieces[row].clip.recording for row in rows]))


def _seem_states(heard: Heard, rows: Sequence[int], filed: Sequence[str]) -> tuple[str, ...]:
    """Folders, where one has the name of a machine that is off, or recordings of each are told from all others."""
    folders = sorted(set(filed) - {""})
    if len(folders) < 2:
        return ()
    pairs = {(own, heard.pieces[row].clip.recording) for row, own in zip(rows, filed, strict=True)}
    many = all(sum(own == folder for own, _ in pairs) >= FEWEST_RECORDINGS for folder in folders)
    told = many and "" not in filed and len(_fit_states(heard, rows, filed).states.names) == len(folders)
    return tuple(folders) if told or any(map(is_still, folders)) else ()
