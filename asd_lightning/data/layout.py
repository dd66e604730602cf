"""Finding clips: which recordings a folder holds, and what each is for.

Three layouts are recognised without configuration:

* ``ROOT/<machine>/{train,test,supplemental}``, names in the DCASE grammar;
* ``ROOT/{dev_data,eval_data}/raw/<machine>/{train,test,supplemental}``, the released archives unpacked;
* a plain folder of one's own recordings with any names: ``train/`` or ``normal/`` holds normal sound,
  ``test/{normal,anomaly}`` what is to be scored.  ``ROOT`` is such a folder, or holds one per machine.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asd_lightning.data.audio import BadAudioError, read_header
from asd_lightning.data.file_names import AUDIO_SUFFIXES, Condition, Domain, Split, parse_file_name
from asd_lightning.errors import UserError
from asd_lightning.plain_text import has_control

logger = logging.getLogger(__name__)

_SPLITS: tuple[Split, ...] = ("train", "test", "supplemental")
_NORMAL_FOLDERS = ("train", "normal")
_CONDITION_FOLDERS: dict[str, Condition] = {"normal": "normal", "anomaly": "anomaly", "abnormal": "anomaly"}
# What people record with telephones and editors, and what is not read.
_OTHER_AUDIO_SUFFIXES = frozenset(
    {".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".amr", ".3gp", ".caf", ".mp4", ".webm"}
)
_HELD_OUT = 0.2
_NAMED_AT_MOST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One clip: a whole recording, or a piece of it.

    Attributes:
        path: the recording.
        machine: machine type, the name of its folder.
        name: file name; for one's own recordings the path below the machine's folder, with a media fragment
            (``normal/pump.wav#t=10``) when the clip is a piece of a recording.
        section: ``"00"`` unless the name says otherwise.
        split: what the clip is for.
        domain: ``unknown`` for unlabelled evaluation clips.
        condition: ``unknown`` for unlabelled evaluation clips.
        attribute: the released attribute string, ``""`` when there is none.
        start: first second of the clip in its recording.
        seconds: length of the piece; ``None`` means to the recording's end.
        file: what its score is of: ``name``, or for a piece the recording's.
        recording: what it was cut from, before it was a file: clips of one recording are alike, and are left out of
            a bank together.  Unless a table says otherwise a file is a recording.
    """

    path: Path
    machine: str
    name: str
    section: str = "00"
    split: Split
    domain: Domain
    condition: Condition
    attribute: str = ""
    start: float = 0.0
    seconds: float | None = None
    file: str = ""
    recording: str = ""

    def __post_init__(self) -> None:
        # Frozen: what is not given follows from the rest once, at the start.
        object.__setattr__(self, "file", self.file or self.name)
        object.__setattr__(self, "recording", self.recording or self.file)

    @property
    def cut(self) -> bool:
        """Whether it is a piece of its recording."""
        return self.seconds is not None


def find_clips(root: Path | str, machines: Sequence[str] | None = None, seed: int = 0) -> list[Clip]:
    """All clips below ``root``, sorted by machine, split and name.

    Args:
        root: a folder in one of the layouts above.
        machines: keep these only.
        seed: of the hold-out drawn where a plain folder has no ``test/``.

    Raises:
        UserError: nothing there, an unknown machine asked for, two recordings of one name, or a name that is not text.
    """
    root = Path(root)
    folders = machine_folders(root, machines)
    _warn_of_other_formats([folder for _, folder in folders])
    clips = [clip for name, folder in folders for clip in _clips_of_machine(name, folder, seed)]
    if not clips:
        raise _no_recordings(root)
    _refuse_unwritable_names(clips)
    _refuse_duplicates(clips)
    return sorted(clips, key=lambda clip: (clip.machine, clip.split, clip.name))


def find_truth(root: Path | str) -> Path | None:
    """Where below ``root`` the organisers' truth about anonymous test clips lies: its place alone, it is not opened.

    ``eval_data_list_<year>.csv``, or the folder that holds ``ground_truth_data/``, in ``root`` or ``root/eval_data``.

    Raises:
        UserError: there are several.
    """
    places = (Path(root), Path(root) / "eval_data")
    found = [path for place in places for path in sorted(place.glob("eval_data_list_*.csv"))]
    found += [place for place in places if (place / "ground_truth_data").is_dir()]
    if len(found) > 1:
        raise UserError(
            f"{root}: several truths about the test clips: {', '.join(map(str, found))}; name the right one with "
            "data.truth, or remove the others"
        )
    return found[0] if found else None


def machine_folders(root: Path, machines: Sequence[str] | None = None) -> list[tuple[str, Path]]:
    """Machine name and folder of each machine below ``root``, of ``machines`` alone where they are named.

    Raises:
        UserError: nothing there, or an unknown machine asked for.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; give the folder that holds the machines' recordings")
    folders = _all_machine_folders(root)
    names = {name for name, _ in folders}
    if machines is not None and (missing := set(machines) - names):
        known = ", ".join(sorted(names)) or "none"
        raise UserError(f"{root}: no machine named {', '.join(sorted(missing))}; found: {known}")
    if not folders:
        raise _no_recordings(root)
    return [(name, folder) for name, folder in folders if machines is None or name in machines]


def _no_recordings(root: Path) -> UserError:
    return UserError(
        f"{root}: no recordings found; expected <machine>/train/*.wav and <machine>/test/*.wav, the unpacked "
        "DCASE archives (dev_data/raw/<machine>/...), or normal/*.wav of your own"
    )


def _all_machine_folders(root: Path) -> list[tuple[str, Path]]:
    if _is_machine(root):
        return [(root.resolve().name, root)]
    parents = [root, *(root / part / "raw" for part in ("dev_data", "eval_data"))]
    return [
        (folder.name, folder)
        for parent in parents
        if parent.is_dir()
        for folder in sorted(parent.iterdir())
        if not folder.name.startswith(".") and folder.is_dir() and _is_machine(folder)
    ]


def _is_machine(folder: Path) -> bool:
    return any((folder / name).is_dir() for name in (*_NORMAL_FOLDERS, "test", "supplemental"))


def _recordings(
    folder: Path, suffixes: frozenset[str] = AUDIO_SUFFIXES, above: frozenset[Path] = frozenset()
) -> Iterator[Path]:
    """Files with one of ``suffixes`` below ``folder``, in an order that is the same on every file system.

    Links are followed, except to a folder they lie in; a broken one is listed, so that reading it can say so.  Hidden
    names (``._clip.wav``, which macOS leaves on other file systems, holds no sound) are left out.
    """
    if not folder.is_dir() or (real := folder.resolve()) in above:
        return
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); make it readable or remove it") from error
    for path in paths:
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _recordings(path, suffixes, above | {real})
        elif path.suffix.lower() in suffixes:
            yield path


def _warn_of_other_formats(folders: Sequence[Path]) -> None:
    rooms = (*_SPLITS, *_CONDITION_FOLDERS)
    found = [p for folder in folders for room in rooms for p in _recordings(folder / room, _OTHER_AUDIO_SUFFIXES)]
    if found:
        counts = Counter(path.suffix.lower() for path in found)
        logger.warning(
            "%d recordings are not used, since %s cannot be read, such as %s; convert them, as with: ffmpeg -i %s %s",
            len(found), " and ".join(f"{suffix} ({count})" for suffix, count in sorted(counts.items())),
            found[0], found[0].name, found[0].with_suffix(".wav").name,
        )  # fmt: skip


def _clips_of_machine(machine: str, folder: Path, seed: int) -> list[Clip]:
    paths = [path for split in _SPLITS for path in _recordings(folder / split)]
    clips = {path: clip for path in paths if (clip := _dcase_clip(machine, path)) is not None}
    if not clips:
        return _plain_clips(machine, folder, seed)
    if others := [path for path in paths if path not in clips]:
        logger.warning(
            "%s: %d recordings are not used, since their names do not follow those of the others, such as %s",
            machine, len(others), others[0],
        )  # fmt: skip
    return list(clips.values())


def _dcase_clip(machine: str, path: Path) -> Clip | None:
    name = parse_file_name(path.stem)
    if name is None:
        return None
    return Clip(
        path=path,
        machine=machine,
        name=path.name,
        section=name.section,
        split=name.split,
        domain=name.domain,
        condition=name.condition,
        attribute=name.attribute,
    )


def _plain_clips(machine: str, folder: Path, seed: int) -> list[Clip]:
    """One's own recordings: every clip counts as source domain, for nothing tells otherwise."""
    normal = [path for name in _NORMAL_FOLDERS for path in _recordings(folder / name)]
    query = list(_plain_queries(folder))
    if not any(condition != "anomaly" for _, condition in query) and normal:
        normal, held_out = _hold_out(machine, normal, seed)
        query += [(path, "normal") for path in held_out]

    def clip(path: Path, split: Split, condition: Condition) -> Clip:
        name = path.relative_to(folder).as_posix()
        return Clip(path=path, machine=machine, name=name, split=split, domain="source", condition=condition)

    return [clip(path, "train", "normal") for path in normal] + [clip(path, "test", label) for path, label in query]


def _plain_queries(folder: Path) -> Iterator[tuple[Path, Condition]]:
    """Recordings to be scored: below ``test/``, labelled by their folder, and ``anomaly/`` beside ``normal/``."""
    for path in _recordings(folder / "test"):
        labels = [
            _CONDITION_FOLDERS[part] for part in path.relative_to(folder / "test").parts if part in _CONDITION_FOLDERS
        ]
        yield path, labels[0] if labels else "unknown"
    for name in ("anomaly", "abnormal"):
        for path in _recordings(folder / name):
            yield path, "anomaly"


def _hold_out(machine: str, normal: list[Path], seed: int) -> tuple[list[Path], list[Path]]:
    """Split whole recordings, so that no two pieces of one recording lie on both sides.

    One that cannot be read takes nobody's place: it stays with the others, where decoding it will say what is wrong.
    """
    unreadable = {path: why for path in normal if (why := _why_unreadable(path))}
    readable = [path for path in normal if path not in unreadable]
    if len(readable) < 2:
        why = "".join(f"; {message}" for message in list(unreadable.values())[:_NAMED_AT_MOST])
        raise UserError(
            f"{normal[0].parent}: holds {len(readable)} normal recording(s) of {machine}, so none can be held out for "
            f"testing; add recordings, or put what is to be scored under test/{why}"
        )
    order = np.random.default_rng(seed).permutation(len(readable))
    count = max(1, round(_HELD_OUT * len(readable)))
    chosen = {readable[index] for index in order[:count]}
    held_out = [path for path in readable if path in chosen]
    logger.warning(
        "%s has no normal test recordings: %d of %d normal recordings are held out for testing (seed %d): %s",
        machine, count, len(readable), seed, ", ".join(f"{path.parent.name}/{path.name}" for path in held_out),
    )  # fmt: skip
    return [path for path in normal if path not in chosen], held_out


def _why_unreadable(path: Path) -> str:
    try:
        return "" if read_header(path).seconds > 0 else f"{path}: holds no samples"
    except BadAudioError as error:
        return str(error)


def _refuse_unwritable_names(clips: Sequence[Clip]) -> None:
    """A name that is not UTF-8 could not be written into the table of scores when all is done."""
    bad = [clip.path for clip in clips if not _is_text(str(clip.path))]
    if bad:
        raise UserError(
            f"{len(bad)} recordings have names that are not UTF-8, such as {os.fsencode(bad[0])!r}; rename them, as "
            "with convmv -f latin1 -t utf8"
        )
    odd = [clip for clip in clips if has_control(clip.machine + clip.name)]
    if odd:
        raise UserError(
            f"{len(odd)} recordings have line breaks or other control characters in their names or their machine's, "
            f"such as {str(odd[0].path)!r}; rename them"
        )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_duplicates(clips: Sequence[Clip]) -> None:
    def key(clip: Clip) -> tuple[str, str, str]:
        # In the grammar the number is the clip, whatever the suffix; one's own names are names.
        of_dcase = parse_file_name(clip.path.stem) is not None
        return clip.machine, clip.split, clip.path.stem if of_dcase else clip.name

    counts = Counter(key(clip) for clip in clips)
    twice = sorted((key(clip), str(clip.path)) for clip in clips if counts[key(clip)] > 1)
    if twice:
        named = ", ".join(path for _, path in twice[:_NAMED_AT_MOST])
        more = ", ..." if len(twice) > _NAMED_AT_MOST else ""
        raise UserError(
            f"{len(twice)} recordings share a name with another of the same machine: {named}{more}; "
            "rename or remove one of each"
        )
