"""The organisers' truth about evaluation clips, joined by name onto scores that were made without it.

The only reader of truth files. What makes scores (data, encoders, features, losses, scoring) never imports it.

Two published forms are read:

* the evaluator's folders: ``ground_truth_data/ground_truth_<machine>_section_<nn>_test.csv`` with rows ``file,0|1``
  (1: anomaly), beside it ``ground_truth_domain/`` (1: target) and ``ground_truth_attributes/`` (``file,true name``),
  which says all by itself;
* one list for a year, ``eval_data_list_<year>.csv``: a line with the machine, then rows ``file,true name``.

A true name is ``section_00_<domain>_test_<condition>_<index>_<attribute>.wav``; some lack ``test_`` (RoboticArm of
2024) or the suffix.  Files are matched by section and number, since ``section_00_0001.wav`` and
``section_00_test_0001.wav`` are the same clip.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar, cast

from asd_lightning.data.conditions import Condition
from asd_lightning.data.file_names import Domain
from asd_lightning.data.layout import Clip
from asd_lightning.data.truth_place import find_truth
from asd_lightning.download.years import ATTRIBUTES, FLAGS
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, read_csv
from asd_lightning.plain_text import composed, file_name
from asd_lightning.scoring.clip_scores import ClipScore

logger = logging.getLogger(__name__)

_TRUTH_FILE = re.compile(r"ground_truth_(.+)_section_(\d+)_test\.csv")
_CLIP = re.compile(r"section_(\d+)_(?:test_)?(\d+)(?i:\.wav|\.flac)?")
_TRUE_NAME = re.compile(r"section_\d+_(source|target)_(?:test_)?(normal|anomaly)_\d+(?:_(.+?))?(?i:\.wav|\.flac)?")

Value = TypeVar("Value")

ClipKey = tuple[str, str, int]
"""Machine, section ("00"), number of the clip."""


class ClipTruth(NamedTuple):
    """What is true of a clip; ``domain`` may be "unknown", ``attribute`` is "" where there is none."""

    domain: str
    condition: str
    attribute: str


def read_ground_truth(path: Path) -> dict[ClipKey, ClipTruth]:
    """Read a folder that holds ``ground_truth_data`` or ``ground_truth_attributes``, or a file of true names.

    Raises ``UserError`` naming file and row where it is neither, a value is not 0 or 1, or a clip comes twice.
    """
    if path.is_dir():
        return _read_folders(path)
    if path.is_file():
        return _read_list(path, _machine_of(path) if _TRUTH_FILE.fullmatch(path.name) else "")
    raise UserError(
        f"{path}: no such ground truth; name a folder with ground_truth_data/ or an eval_data_list_<year>.csv"
    )


def label_scores(scores: Sequence[ClipScore], path: Path) -> list[ClipScore]:
    """``scores`` with the truth at ``path`` joined, see ``join_ground_truth``; its notes go to the log.

    Where every score is labelled already there is nothing to join, and ``path`` is not read.
    """
    if all(score.condition != "unknown" for score in scores):
        return list(scores)
    try:
        joined, notes = join_ground_truth(scores, read_ground_truth(path))
    except UserError as error:
        raise UserError(
            f"{path}: does not fit what was scored: {error}. The weights are kept: asd test RUN data.truth=FILE"
        ) from error
    logger.info("labels of the test clips are those of %s", path)
    for note in notes:
        logger.warning("%s", note)
    return joined


def label_clips(root: Path, clips: Sequence[Clip]) -> list[Clip]:
    """``clips`` with the labels that a truth below ``root`` has for the unlabelled test clips: to look at, not score.

    Raises ``UserError`` where there are several truths, or the one there is cannot be read.
    """
    path = find_truth(root)
    if path is None:
        return list(clips)
    truth = read_ground_truth(path)
    return [_labeled(clip, truth) for clip in clips]


def _labeled(clip: Clip, truth: dict[ClipKey, ClipTruth]) -> Clip:
    match = _CLIP.fullmatch(clip.path.name)
    if match is None or clip.split != "test" or clip.condition != "unknown":
        return clip
    true = truth.get((clip.machine, match[1], int(match[2])))
    if true is None:
        return clip
    domain, condition = cast(Domain, true.domain), cast(Condition, true.condition)
    return replace(clip, domain=domain, condition=condition, attribute=true.attribute)


def join_ground_truth(
    scores: Sequence[ClipScore], truth: dict[ClipKey, ClipTruth]
) -> tuple[list[ClipScore], tuple[str, ...]]:
    """``scores`` with domain, condition and attribute filled in, and notes on what was left without a partner.

    A machine that the truth does not know, and a clip whose name is labelled already, keep their scores as they are.
    Raises ``UserError`` where no machine is known, where an unlabelled clip of a known machine is not in the truth, or
    where a file name already says otherwise.
    """
    machines = {machine for machine, _, _ in truth}
    scored = {score.machine for score in scores}
    if not machines & scored:
        raise UserError(
            f"the ground truth has machines {_some(machines)}, the scores have {_some(scored)}: "
            "this truth belongs to other data"
        )
    keys = [_key(score) if score.machine in machines else None for score in scores]
    lost = [
        f"{score.machine}/{score.file}" for score, key in zip(scores, keys, strict=True) if key and key not in truth
    ]
    if lost:
        raise UserError(f"{len(lost)} scored clips are not in the ground truth: {_some(lost)}; is it of another year?")
    joined = [_with_truth(score, truth[key]) if key else score for score, key in zip(scores, keys, strict=True)]
    blind = {score.machine for score in scores if score.condition == "unknown"}
    return joined, tuple(_notes(machines, scored, blind, set(truth) - set(keys)))


def _notes(machines: set[str], scored: set[str], blind: set[str], unscored: set[ClipKey]) -> Iterable[str]:
    if unknown := blind - machines:
        yield f"The ground truth does not know {_some(unknown)}: no truth joined."
    if absent := machines - scored:
        yield f"No scores for {_some(absent)}, which the ground truth has."
    for machine in sorted(machines & scored):
        missing = sorted(key for key in unscored if key[0] == machine and machine in blind)
        if missing:
            names = [f"section_{section}_{number:04d}" for _, section, number in missing]
            yield f"{machine}: {len(missing)} clips of the ground truth have no score ({_some(names)})."


def _with_truth(score: ClipScore, truth: ClipTruth) -> ClipScore:
    for name, said, true in (("domain", score.domain, truth.domain), ("condition", score.condition, truth.condition)):
        if "unknown" not in (said, true) and said != true:
            raise UserError(f"{score.machine}/{score.file}: its {name} is {said}, the ground truth says {true}")
    domain = score.domain if truth.domain == "unknown" else truth.domain
    return score._replace(domain=domain, condition=truth.condition, attribute=truth.attribute or score.attribute)


def _key(score: ClipScore) -> ClipKey | None:
    match = _CLIP.fullmatch(score.file)
    if match is None and score.condition != "unknown":
        return None
    if match is None:
        raise UserError(f"{score.machine}/{score.file}: an evaluation clip is named section_<nn>_<nnnn>.wav")
    return score.machine, match[1], int(match[2])


def _read_folders(folder: Path) -> dict[ClipKey, ClipTruth]:
    flags, names = (sorted((folder / room).glob("ground_truth_*_test.csv")) for room in (FLAGS, ATTRIBUTES))
    if not flags and not names:
        raise UserError(f"{folder}: no ground_truth_data/ground_truth_<machine>_section_<nn>_test.csv in it")
    truth: dict[ClipKey, ClipTruth] = {}
    for file in flags:
        truth |= _read_section(folder, file.name, _machine_of(file))
    for file in names if not flags else ():
        truth |= _read_list(file, _machine_of(file))
    return truth


def _machine_of(file: Path) -> str:
    match = _TRUTH_FILE.fullmatch(file.name)
    if match is None:
        raise UserError(f"{file}: the name must be ground_truth_<machine>_section_<nn>_test.csv")
    return file_name(match[1])


def _read_section(folder: Path, name: str, machine: str) -> dict[ClipKey, ClipTruth]:
    conditions = _read_flags(folder / FLAGS / name, machine, ("normal", "anomaly"))
    domains: dict[ClipKey, str] = {}
    if (folder / "ground_truth_domain" / name).is_file():
        domains = _read_flags(folder / "ground_truth_domain" / name, machine, ("source", "target"))
        if odd := conditions.keys() ^ domains.keys():
            _, section, number = min(odd)
            raise UserError(
                f"{folder}: ground_truth_data/{name} and ground_truth_domain/{name} name different clips, "
                f"section_{section}_{number:04d} is in one alone"
            )
    attributes: dict[ClipKey, ClipTruth] = {}
    if (folder / ATTRIBUTES / name).is_file():
        attributes = _read_list(folder / ATTRIBUTES / name, machine)
    return {
        key: ClipTruth(domains.get(key, "unknown"), condition, attributes[key].attribute if key in attributes else "")
        for key, condition in conditions.items()
    }


def _read_flags(path: Path, machine: str, meaning: tuple[str, str]) -> dict[ClipKey, str]:
    flags: dict[ClipKey, str] = {}
    for number, row in _rows(path):
        if len(row) != 2 or row[1].strip() not in ("0", "1"):
            raise UserError(
                f"{path}, row {number}: expected section_<nn>_<nnnn>.wav,0|1, got {','.join(row[:9])!r:.120}"
            )
        _add(flags, _truth_key(path, number, machine, row[0]), meaning[int(row[1])], f"{path}, row {number}")
    return flags


def _read_list(path: Path, machine: str = "") -> dict[ClipKey, ClipTruth]:
    """Rows ``file,true name``; a row of one field names the machine of the rows below it."""
    truth: dict[ClipKey, ClipTruth] = {}
    for number, row in _rows(path):
        where = f"{path}, row {number}"
        fields = [field.strip() for field in row if field.strip()]
        if len(fields) == 1 and "section_" not in fields[0]:
            machine = fields[0]
            continue
        if not machine:
            raise UserError(f"{where}: a line with the machine's name must stand above {','.join(row[:9])!r:.120}")
        match = _TRUE_NAME.fullmatch(PurePosixPath(fields[1]).name) if len(fields) == 2 else None
        if match is None:
            raise UserError(
                f"{where}: expected section_<nn>_<nnnn>.wav,section_<nn>_<domain>_test_<condition>_<index>"
                f"_<attribute>.wav, got {','.join(row[:9])!r:.120}"
            )
        attribute = "" if match[3] in (None, "noAttribute") else match[3]
        _add(truth, _truth_key(path, number, machine, fields[0]), ClipTruth(match[1], match[2], attribute), where)
    if not truth:
        raise UserError(f"{path}: no clip in it; expected the lines of an eval_data_list_<year>.csv")
    return truth


def _rows(path: Path) -> Iterable[tuple[int, list[str]]]:
    try:
        rows = read_csv(path, "utf-8-sig")
    except ForeignFileError as error:
        raise UserError(f"{path}: not readable as CSV ({error.reason}); fetch the truth file again") from error
    return [(number, list(map(composed, row))) for number, row in enumerate(rows, start=1) if any(row)]


def _truth_key(path: Path, number: int, machine: str, name: str) -> ClipKey:
    match = _CLIP.fullmatch(PurePosixPath(name.strip()).name)
    if match is None:
        raise UserError(f"{path}, row {number}: {name!r:.80} is not a clip name like section_00_0001.wav")
    return machine, match[1], int(match[2])


def _add(table: dict[ClipKey, Value], key: ClipKey, value: Value, where: str) -> None:
    if key in table:
        raise UserError(f"{where}: {key[0]} section_{key[1]}_{key[2]:04d} comes a second time")
    table[key] = value


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:5]) + (", ..." if len(ordered) > 5 else "")
