"""Folders of recordings: which of them are machines, and what the folders of a machine are for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from asd_lightning.data.conditions import condition_of_file, condition_of_folder
from asd_lightning.data.file_names import AUDIO_SUFFIXES, Domain, parse_file_name
from asd_lightning.errors import UserError
from asd_lightning.plain_text import composed, file_name

Purpose = Literal["train", "normal", "test", "anomaly", "supplemental"]

_PURPOSES: tuple[Purpose, ...] = ("train", "normal", "test", "anomaly", "supplemental")
# source_test and target_test are of 2021.
_SPLIT_FOLDER = re.compile(r"(?:(source|target)_)?(train|test)(?:ing)?|(supplemental)", re.IGNORECASE)
_NAMED_AT_MOST = 5


class Room(NamedTuple):
    """A folder of a machine and what it is for; ``domain`` is ``unknown`` where the name does not tell."""

    purpose: Purpose
    domain: Domain
    path: Path


def rooms_of(machine: Path) -> list[Room]:
    """The folders of a machine that have a purpose, by purpose and name."""
    rooms = [room for folder in _subfolders(machine) if (room := _room(folder)) is not None]
    return sorted(rooms, key=lambda room: (_PURPOSES.index(room.purpose), room.path.name))


def idle_folders(machine: Path, used: Sequence[Room]) -> Iterator[tuple[Path, int]]:
    """Folders that hold recordings and are none of ``used``, the machine's own too, and how many they hold."""
    rooms = {room.path for room in used}
    if count := len(_own_recordings(machine)):
        yield machine, count
    for folder in _subfolders(machine):
        # Of another machine in this one all is left: a machine's folder has rooms, and no machines in it.
        found = recordings(folder) if _is_machine(folder) else _own_recordings(folder)
        if folder not in rooms and (count := len(list(found))):
            yield folder, count


def machine_folders(root: Path, machines: Sequence[str] | None = None) -> list[tuple[str, Path]]:
    """Machine name and folder of each machine below ``root``, of ``machines`` alone where they are named.

    Raises:
        UserError: nothing there, or an unknown machine asked for.
    """
    root = root.expanduser()
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds the machines' recordings")
    folders = _all_machine_folders(root)
    names = {name for name, _ in folders}
    wanted = None if machines is None else set(map(composed, machines))
    if wanted is not None and (missing := wanted - names):
        known = ", ".join(sorted(names)) or "none"
        raise UserError(f"{root}: no machine named {', '.join(sorted(missing))}; found: {known}")
    if not folders:
        raise no_recordings(root)
    return [(name, folder) for name, folder in folders if wanted is None or name in wanted]


def refuse_missing(paths: Sequence[Path]) -> None:
    """Before anything is judged: a mistyped name is no recording that cannot be read; a broken link is one.

    Raises:
        UserError: names the first that is not there.
    """
    for path in paths:
        if not (path.exists() or path.is_symlink()):
            raise UserError(f"{path}: no such file or folder; give recordings, or folders of them")


def recordings(
    folder: Path,
    suffixes: frozenset[str] = AUDIO_SUFFIXES,
    above: frozenset[Path] = frozenset(),
    *,
    closed_too: bool = False,
) -> Iterator[Path]:
    """Files with one of ``suffixes`` below ``folder``, in an order that is the same on every file system.

    Links are followed, except to a folder they lie in; a broken one is listed, so that reading it can say so.  Hidden
    names (``._clip.wav``, which macOS leaves on other file systems, holds no sound) are left out.

    Args:
        folder: to look in, at any depth.
        suffixes: of files, in lower case.
        above: folders that it lies in.
        closed_too: a folder below that this user may not list is given as if it were a recording, so that reading it
            can say so, and the others are heard all the same.

    Raises:
        UserError: a folder that cannot be listed.
    """
    if not folder.is_dir() or (real := folder.resolve()) in above:
        return
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        if closed_too and above and isinstance(error, PermissionError):
            yield folder
            return
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); make it readable or remove it") from error
    for path in paths:
        if path.name.startswith("."):
            continue
        # Unlike Path.is_dir, it does not raise in a folder that may be listed and not entered.
        if os.path.isdir(path):  # noqa: PTH112
            yield from recordings(path, suffixes, above | {real}, closed_too=closed_too)
        elif path.suffix.lower() in suffixes:
            yield path


def no_recordings(root: Path) -> UserError:
    """What to say of a folder without machines: what it probably is, or what is expected."""
    return UserError(
        f"{root}: no recordings found; expected <machine>/train/*.wav and <machine>/test/*.wav, the unpacked "
        f"DCASE archives (dev_data/raw/<machine>/...), or normal/*.wav of your own{_offer(root)}"
    )


def _offer(root: Path) -> str:
    """What to do with what is there; "" for nothing."""
    if flat := _own_recordings(root):
        return f". It holds {len(flat)} recordings itself: {_sorting(root, flat)}"
    folders = _subfolders(root)
    if flat_ones := [folder for folder in folders if _own_recordings(folder)]:
        found = _own_recordings(flat_ones[0])
        return f". {_listed(flat_ones)} hold recordings themselves. In {flat_ones[0]}, {_sorting(flat_ones[0], found)}"
    if deeper := [folder for folder in folders if any(map(_is_machine, _subfolders(folder)))]:
        return f". Machines are one folder further down: give {_listed(deeper, ' or ')}"
    return ""


def _sorting(folder: Path, flat: Sequence[Path]) -> str:
    if any(parse_file_name(path.stem) for path in flat):
        return (
            "their names are the challenge's, so move those of training to <machine>/train and the others to "
            "<machine>/test"
        )
    told = {condition_of_file(path.stem) for path in flat}
    if told == {"unknown"}:
        return f"if they are normal sound of one machine, move them to {folder / 'normal'}, and faults to test/anomaly"
    return (
        f"their names tell normal from anomalous, so move normal ones to {folder / 'normal'} and anomalous ones to "
        f"{folder / 'test' / 'anomaly'}"
    )


def _listed(folders: Sequence[Path], last: str = ", ") -> str:
    more = ", ..." if len(folders) > _NAMED_AT_MOST else ""
    return last.join(map(str, folders[:_NAMED_AT_MOST])) + more


def _all_machine_folders(root: Path) -> list[tuple[str, Path]]:
    if _is_machine(root):
        return [(file_name(root.resolve().name), root)]
    releases = [root / part / raw for part in ("dev_data", "eval_data") for raw in ("", "raw")]
    return [
        (file_name(folder.name), folder)
        for parent in (root, *releases)
        for folder in _subfolders(parent)
        if _is_machine(folder)
    ]


def _is_machine(folder: Path) -> bool:
    """Whether its folders are those of one machine, and not machines of which one is called, say, good_pump."""
    rooms = rooms_of(folder)
    if any(room.purpose not in ("normal", "anomaly") or room.path.name.casefold() == "normal" for room in rooms):
        return True
    good = [room.path for room in rooms if room.purpose == "normal"]
    return any(any(recordings(path)) for path in good) and not any(map(_is_machine, _subfolders(folder)))


def _room(folder: Path) -> Room | None:
    if match := _SPLIT_FOLDER.fullmatch(folder.name):
        domain, split, supplemental = (group and group.lower() for group in match.groups())
        return Room(split or supplemental, domain or "unknown", folder)  # type: ignore[arg-type]
    condition = condition_of_folder(folder.name)
    return None if condition == "unknown" else Room(condition, "unknown", folder)


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def _own_recordings(folder: Path) -> list[Path]:
    """Recordings that lie in ``folder`` itself."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and not entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if Path(name).suffix.lower() in AUDIO_SUFFIXES]
