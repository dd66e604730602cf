"""Finding clips: which recordings a folder holds, and what each is for.

Three layouts are recognised without configuration:

* ``ROOT/<machine>/{train,test,supplemental}``, names in the DCASE grammar (2021: ``source_test``, ``target_test``);
* ``ROOT/{dev_data,eval_data}/raw/<machine>/{train,test,supplemental}``, the released archives unpacked;
* a plain folder of one's own recordings with any names: ``train/`` or ``normal/`` holds normal sound,
  ``test/{normal,anomaly}`` what is to be scored.  ``ROOT`` is such a folder, or holds one per machine.

A word of `asd_lightning.data.conditions` is a label wherever it stands, and what bears that of a fault is in no
reference.  Beside a folder with a normal word any other folder is a kind of fault, as in sets of images.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.conditions import Condition, condition_of_file, condition_of_folder
from asd_lightning.data.container import check_container
from asd_lightning.data.file_names import Domain, Split, parse_file_name
from asd_lightning.data.folders import Room, idle_folders, machine_folders, no_recordings, recordings, rooms_of
from asd_lightning.data.hold_out import hold_out
from asd_lightning.data.other_formats import warn_of_other_formats
from asd_lightning.errors import UserError
from asd_lightning.plain_text import file_name, has_control

logger = logging.getLogger(__name__)

_READERS = min(8, os.cpu_count() or 1)
_NAMED_AT_MOST = 20
_FOLDERS_NAMED = 5
# A file's name has at most 255 bytes, and those of scores have more in them than the machine.
_LONGEST_MACHINE = 180


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


class Note(NamedTuple):
    """What is to be said of one machine's folder: ``info`` how it was understood, ``warning`` what is doubtful."""

    level: Literal["info", "warning"]
    machine: str
    message: str
    files: tuple[Path, ...] = ()


RecordingOf = Callable[[Path], str | None]
"""The recording that a clip was cut from, where that is known."""


def find_clips(
    root: Path | str, machines: Sequence[str] | None = None, seed: int = 0, recording_of: RecordingOf | None = None
) -> list[Clip]:
    """All clips below ``root``, sorted by machine, split and name; what is to be said of them is logged.

    Args:
        root: a folder in one of the layouts above.
        machines: keep these only.
        seed: of the hold-out drawn where a plain folder has no ``test/``.
        recording_of: what was cut from one recording stays on one side of the hold-out.

    Raises:
        UserError: nothing there, an unknown machine asked for, two recordings of one name, or a name that is not text.
    """
    clips, notes = survey(root, machines, seed, recording_of)
    for note in notes:
        logger.log(logging.INFO if note.level == "info" else logging.WARNING, "%s: %s", note.machine, note.message)
    return clips


def survey(
    root: Path | str, machines: Sequence[str] | None = None, seed: int = 0, recording_of: RecordingOf | None = None
) -> tuple[list[Clip], list[Note]]:
    """All clips below ``root`` like `find_clips`, and what is to be said of them."""
    root = Path(root).expanduser()
    folders = machine_folders(root, machines)
    warn_of_other_formats(room.path for _, folder in folders for room in rooms_of(folder))
    clips: list[Clip] = []
    notes: list[Note] = []
    for name, folder in folders:
        own, told = _clips_of_machine(name, folder, seed, recording_of)
        clips += own
        notes += told
    if not clips:
        raise no_recordings(root)
    _refuse_unwritable_names(clips)
    _refuse_duplicates(clips)
    notes += _doubtful_headers(clips)
    return sorted(clips, key=lambda clip: (clip.machine, clip.split, clip.name)), notes


def _doubtful_headers(clips: Sequence[Clip]) -> Iterator[Note]:
    """One warning for each machine with recordings whose headers cannot be true; they are read all the same."""
    with ThreadPoolExecutor(_READERS) as pool:
        doubts = dict(zip((clip.path for clip in clips), pool.map(_doubt, (clip.path for clip in clips)), strict=True))
    of_machine: dict[str, list[Path]] = {}
    for clip in clips:
        if doubts[clip.path]:
            of_machine.setdefault(clip.machine, []).append(clip.path)
    for machine, paths in of_machine.items():
        message = (
            f"{len(paths)} recordings have headers that cannot be true, such as {paths[0]}: {doubts[paths[0]]}. "
            "Write them anew, as with: ffmpeg -i old.wav new.wav"
        )
        yield Note("warning", machine, message, tuple(paths))


def _doubt(path: Path) -> str:
    """The doubt about a recording's header; "" where there is none, and where decoding will raise the error."""
    try:
        repair = check_container(path)
    except BadAudioError:
        return ""
    return "" if repair is None else repair.doubt


def _clips_of_machine(
    machine: str, folder: Path, seed: int, recording_of: RecordingOf | None
) -> tuple[list[Clip], list[Note]]:
    rooms = rooms_of(folder)
    used = [room for room in rooms if room.purpose not in ("normal", "anomaly")]
    clips, notes = _dcase_clips(machine, used)
    own = not clips
    if own:
        used = [room for room in rooms if room.purpose != "supplemental"]
        clips, notes = _plain_clips(machine, folder, used, seed, recording_of)
    sorted_by_folder = {room.path for room in rooms if room not in used and room.purpose in ("normal", "anomaly")}
    for idle, count in idle_folders(folder, used):
        message = (
            f"{count} recordings in {idle} are not used; move normal ones to train/, others below test/ "
            "(test/normal, test/<kind of fault>)"
        )
        if not own and idle in sorted_by_folder:
            message = (
                f"{count} recordings in {idle} are not used, since {_deciding(clips)}: in the challenge's layout only "
                "train/ and test/ count. If they are your own recordings, rename those (any other name will do); if "
                "they are the challenge's, move normal ones to train/ and others to test/"
            )
        notes.append(Note("warning", machine, message))
    return clips, notes


def _deciding(clips: Sequence[Clip]) -> str:
    """Which names decide that a folder has the challenge's layout."""
    if len(clips) == 1:
        return f"the name of {clips[0].path} is one of the challenge's"
    return f"the names of {len(clips)} recordings are the challenge's, such as {clips[0].path}"


def _dcase_clips(machine: str, rooms: Iterable[Room]) -> tuple[list[Clip], list[Note]]:
    """Clips with names in the grammar; none where no name is."""
    clips: list[Clip] = []
    faults: list[Path] = []
    others: list[Path] = []
    for room in rooms:
        paths = list(recordings(room.path))
        told = _conditions(room.path, paths)
        for path in paths:
            clip = _dcase_clip(machine, room, path, told[path])
            if clip is None:
                others.append(path)
            elif clip.split == "train" and "anomaly" in (clip.condition, told[path]):
                faults.append(path)
            else:
                clips.append(clip)
    notes = _notes_of_faults(machine, faults)
    if others:
        used = f", where others are as {clips[0].path}" if clips else ""
        message = (
            f"{len(others)} recordings are not used, since their names do not follow those of the others, "
            f"such as {others[0]}{used}"
        )
        notes.append(Note("warning", machine, message, tuple(others)))
    return clips, notes


def _dcase_clip(machine: str, room: Room, path: Path, told: Condition) -> Clip | None:
    name = parse_file_name(file_name(path.stem), "train" if room.purpose == "train" else "test")
    if name is None or (name.split == "supplemental" and room.purpose != "supplemental"):
        return None
    return Clip(
        path=path,
        machine=machine,
        name=file_name(path.name),
        section=name.section,
        split=name.split,
        domain=name.domain,
        condition=told if name.split == "test" and name.condition == "unknown" else name.condition,
        attribute=name.attribute,
    )


def _plain_clips(
    machine: str, folder: Path, rooms: Sequence[Room], seed: int, recording_of: RecordingOf | None
) -> tuple[list[Clip], list[Note]]:
    """One's own recordings: every clip counts as source domain, unless the folder's name tells otherwise."""
    domains: dict[Path, Domain] = {}
    conditions: dict[Path, Condition] = {}
    normal: list[Path] = []
    faults: list[Path] = []
    query: list[Path] = []
    notes: list[Note] = []
    for room in rooms:
        paths = list(recordings(room.path))
        told = _conditions(room.path, paths)
        domains |= dict.fromkeys(paths, "source" if room.domain == "unknown" else room.domain)
        if room.purpose in ("train", "normal"):
            bad = {path for path in paths if "anomaly" in (told[path], condition_of_file(path.stem))}
            normal += [path for path in paths if path not in bad]
            faults += sorted(bad)
            continue
        query += paths
        for path in paths:
            by_folder = "anomaly" if room.purpose == "anomaly" else told[path]
            conditions[path] = condition_of_file(path.stem) if by_folder == "unknown" else by_folder
    notes += _notes_of_faults(machine, faults)
    if normal and not any(conditions[path] != "anomaly" for path in query):
        normal, held_out, why = hold_out(machine, normal, seed, recording_of)
        conditions |= dict.fromkeys(held_out, "normal")
        query += held_out
        notes.append(Note("warning", machine, why))

    def clip(path: Path, split: Split, condition: Condition) -> Clip:
        name = file_name(path.relative_to(folder).as_posix())
        return Clip(path=path, machine=machine, name=name, split=split, domain=domains[path], condition=condition)

    clips = [clip(path, "train", "normal") for path in normal]
    clips += [clip(path, "test", conditions[path]) for path in query]
    return clips, [*notes, Note("info", machine, _understood(clips))]


def _conditions(room: Path, paths: Sequence[Path]) -> dict[Path, Condition]:
    """The condition of each recording by the folders between ``room`` and it; a fault word outweighs a normal one."""
    folders = {path: path.relative_to(room).parts[:-1] for path in paths}
    # Folders beside one with a normal word.
    beside = {parts[:depth] for parts in folders.values() for depth, part in enumerate(parts) if _is_normal(part)}

    def told(parts: tuple[str, ...]) -> Iterator[Condition]:
        for depth, part in enumerate(parts):
            condition = condition_of_folder(part)
            yield "anomaly" if condition == "unknown" and parts[:depth] in beside else condition

    found = {path: set(told(parts)) for path, parts in folders.items()}
    return {
        path: "anomaly" if "anomaly" in conditions else "normal" if "normal" in conditions else "unknown"
        for path, conditions in found.items()
    }


def _is_normal(folder: str) -> bool:
    return condition_of_folder(folder) == "normal"


def _notes_of_faults(machine: str, faults: Sequence[Path]) -> list[Note]:
    if not faults:
        return []
    message = (
        f"{len(faults)} recordings are not trained on, since their names or folders, or a normal one beside them, tell "
        f"that they are faults: {_folders_of(faults)}; move them below test/ to score them"
    )
    return [Note("warning", machine, message, tuple(faults))]


def _understood(clips: Sequence[Clip]) -> str:
    kinds = {
        "trains on {} normal recordings": [clip for clip in clips if clip.split == "train"],
        "scores {} normal": [clip for clip in clips if clip.split == "test" and clip.condition == "normal"],
        "{} anomalous": [clip for clip in clips if clip.condition == "anomaly"],
        "{} without a label": [clip for clip in clips if clip.condition == "unknown"],
    }
    return ", ".join(
        f"{kind.format(len(own))} ({_folders_of([clip.path for clip in own])})" for kind, own in kinds.items() if own
    )


def _folders_of(paths: Iterable[Path]) -> str:
    """The folders that recordings lie in, each once."""
    folders = list(dict.fromkeys(f"{path.parent.parent.name}/{path.parent.name}" for path in paths))
    return ", ".join(folders[:_FOLDERS_NAMED]) + (", ..." if len(folders) > _FOLDERS_NAMED else "")


def _refuse_unwritable_names(clips: Sequence[Clip]) -> None:
    """A name that is not UTF-8 could not be written into the table of scores when all is done."""
    bad = [clip.path for clip in clips if not _is_utf_8(clip.path)]
    if bad:
        raise UserError(
            f"{len(bad)} recordings have names that are not UTF-8, such as {os.fsencode(bad[0])!r}; rename them, as "
            "with convmv -f latin1 -t utf8"
        )
    long = sorted({clip.machine for clip in clips if len(clip.machine.encode()) > _LONGEST_MACHINE})
    if long:
        raise UserError(
            f"{long[0]!r}: a machine's name of {len(long[0].encode())} bytes, where files of results are called by it; "
            f"rename its folder to at most {_LONGEST_MACHINE} bytes"
        )
    odd = [clip for clip in clips if has_control(clip.machine + clip.name)]
    if odd:
        raise UserError(
            f"{len(odd)} recordings have line breaks or other control characters in their names or their machine's, "
            f"such as {str(odd[0].path)!r}; rename them"
        )


def _is_utf_8(path: Path) -> bool:
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True


def _refuse_duplicates(clips: Sequence[Clip]) -> None:
    def key(clip: Clip) -> tuple[str, str, str]:
        # Names in the grammar are compared without the file's suffix, other names whole.
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
