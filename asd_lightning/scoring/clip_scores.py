"""One row per test clip: what the scorer said, and what is known of the clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from asd_lightning.atomic import write_text_atomically
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, read_csv
from asd_lightning.plain_text import is_name
from asd_lightning.tables import csv_text, write_csv

DOMAINS = ("source", "target", "unknown")
CONDITIONS = ("normal", "anomaly", "unknown")
_CALLED = {"normal": "normal", "anomaly": "anomalous", "unknown": "unlabelled"}


class ClipScore(NamedTuple):
    """The score of one test clip, or of one recording that was heard in several windows.

    ``section`` is two digits ("00"), ``file`` the file name without folder (one's own: the path below the machine's),
    ``domain`` one of ``DOMAINS``, ``condition`` one of ``CONDITIONS``, ``attribute`` the rest of the file name ("" if
    there is none).  Higher ``anomaly_score`` = more anomalous; ``threshold`` has the unit of the score (nan: none);
    ``decision`` 1 = anomaly, ``None`` where there is no threshold to decide by.
    """

    machine: str
    section: str
    file: str
    domain: str
    condition: str
    attribute: str
    anomaly_score: float
    threshold: float
    decision: int | None


class WindowScore(NamedTuple):
    """The score of one window of a recording; ``start`` and ``seconds`` are its place in it."""

    machine: str
    section: str
    file: str
    start: float
    seconds: float
    anomaly_score: float


def machine_name(machine: str, section: str) -> str:
    """The machine, with its section where that is not the only usual one.

    A machine named all has its section too: "all" is the row over all machines, which has none.
    """
    return machine if not section or (section == "00" and machine != "all") else f"{machine} {section}"


def write_scores(path: Path, scores: Sequence[ClipScore]) -> None:
    """Write ``scores`` as CSV; floats are written so that ``read_scores`` gives the same bits back."""
    write_csv(path, ClipScore._fields, scores)


def write_windows(path: Path, windows: Sequence[WindowScore]) -> None:
    """Write ``windows`` as CSV, one window a row."""
    write_csv(path, WindowScore._fields, windows)


def alarm_lines(scores: Sequence[ClipScore]) -> list[str]:
    """For each machine, how many clips of each condition were called anomalous, in a sentence.

    Where the conditions are unknown the loudest alarms are named.  A threshold that calls most normal clips anomalous
    is said to be too low.
    """
    return [_alarm_line(machine, own) for machine, own in by_machine(scores).items()]


def by_machine(scores: Sequence[ClipScore]) -> dict[str, list[ClipScore]]:
    """The scores of each machine, in their order; machines in the order of the alphabet."""
    own: dict[str, list[ClipScore]] = {machine: [] for machine in sorted({score.machine for score in scores})}
    for score in scores:
        own[score.machine].append(score)
    return own


def _alarm_line(machine: str, scores: Sequence[ClipScore]) -> str:
    undecided = sum(score.decision is None for score in scores)
    if undecided == len(scores):
        return f"{machine}: no threshold, so none of its {undecided} clips is called normal or anomalous"
    parts = []
    for condition in CONDITIONS:
        alarms = [score.decision or 0 for score in scores if score.condition == condition]
        if alarms:
            parts.append(f"{sum(alarms)} of {len(alarms)} {_CALLED[condition]} clips")
    line = f"{machine}: alarm on {', '.join(parts)}"
    if len(scores) > 1 and len({score.anomaly_score for score in scores}) == 1:
        line += f" - all {len(scores)} clips have the same score: the embeddings do not tell them apart"
    called = sorted((s for s in scores if s.decision and s.condition == "unknown"), key=lambda s: -s.anomaly_score)
    if called:
        line += f" ({', '.join(score.file for score in called[:3])}{', ...' if len(called) > 3 else ''})"
    normal = [score.decision or 0 for score in scores if score.condition == "normal"]
    if normal and sum(normal) > len(normal) / 2:
        line += " - the threshold is too low: the training clips are more alike than normal test clips are"
    return line


def challenge_paths(folder: Path, scores: Sequence[ClipScore]) -> list[Path]:
    """The files that `write_challenge_files` writes, sorted by machine and section, scores before decisions.

    Raises ``UserError`` where a machine's or section's name would lead out of ``folder``.
    """
    sections = sorted({(score.machine, score.section) for score in scores})
    paths = [
        folder / f"{kind}_{machine}_section_{section}_test.csv"
        for machine, section in sections
        for kind in ("anomaly_score", "decision_result")
    ]
    for path in paths:
        if path.parent != folder:
            raise UserError(f"{path}: not a file in {folder}; a machine or section with a / in its name is none")
    return paths


def write_challenge_files(folder: Path, scores: Sequence[ClipScore]) -> list[Path]:
    """Write the scores as the challenge takes them, two files without header for each section of each machine.

    ``anomaly_score_<machine>_section_<section>_test.csv`` has rows ``file,score``, ``decision_result_...`` has rows
    ``file,0`` or ``file,1``.  A clip without decision has no row there.
    """
    rows: dict[Path, list[tuple[str, float | int]]] = {path: [] for path in challenge_paths(folder, scores)}
    for score in sorted(scores, key=lambda score: score.file):
        score_path, decision_path = challenge_paths(folder, [score])
        rows[score_path].append((score.file, score.anomaly_score))
        if score.decision is not None:
            rows[decision_path].append((score.file, score.decision))
    for path, own in rows.items():
        write_text_atomically(path, csv_text(own))
    return list(rows)


def read_scores(path: Path) -> list[ClipScore]:
    """Read what ``write_scores`` wrote.

    Raises ``UserError`` naming file and row where the file is missing or a row is not a clip score.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such score file; a finished test writes results/scores.csv")
    rows = read_rows(path)
    if not rows or tuple(rows[0]) != ClipScore._fields:
        raise UserError(f"{path}: the first row must be {','.join(ClipScore._fields)}")
    return [_parse_row(path, number, row) for number, row in enumerate(rows[1:], start=2)]


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file; ``UserError`` where it is none."""
    try:
        return read_csv(path)
    except ForeignFileError as error:
        raise UserError(f"{path}: cannot be read as CSV ({error.reason}); test the run again") from error


def _parse_row(path: Path, number: int, row: list[str]) -> ClipScore:
    if len(row) != len(ClipScore._fields):
        raise UserError(f"{path}, row {number}: {len(row)} fields where {len(ClipScore._fields)} are expected")
    machine, section, file, domain, condition, attribute, anomaly_score, threshold, decision = row
    for field, name in (("machine", machine), ("section", section)):
        if not is_name(name):
            raise UserError(f"{path}, row {number}: {field} {name!r} must be a plain name: without /, not . or ..")
    # One's own recordings are called by their path below the machine's folder.
    if not all(is_name(part) for part in file.split("/")):
        raise UserError(f"{path}, row {number}: file {file!r} must be a plain path below the machine's folder")
    if domain not in DOMAINS:
        raise UserError(f"{path}, row {number}: domain {domain!r} is none of {', '.join(DOMAINS)}")
    if condition not in CONDITIONS:
        raise UserError(f"{path}, row {number}: condition {condition!r} is none of {', '.join(CONDITIONS)}")
    if decision not in ("0", "1", ""):
        raise UserError(f"{path}, row {number}: decision {decision!r} is neither 0 nor 1, nor empty")
    try:
        numbers = float(anomaly_score), float(threshold)
    except ValueError:
        raise UserError(
            f"{path}, row {number}: anomaly_score {anomaly_score!r} and threshold {threshold!r} must be numbers"
        ) from None
    return ClipScore(
        machine, section, file, domain, condition, attribute, *numbers, int(decision) if decision else None
    )
