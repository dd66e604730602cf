"""``asd score``: recordings judged by a detector."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from asd_lightning.archive.scoring import ScoredArchive
    from asd_lightning.detector.detector import Detector
    from asd_lightning.detector.judging import Judgment
    from asd_lightning.detector.machine import Machine

ALL_NORMAL, ALARM, CANNOT_JUDGE = 0, 1, 3
# One recording in a few windows says nothing of drift.
_ALONE = 5
_COLUMNS = (
    *("path", "machine", "score", "threshold", "decision", "p_value", "health", "nearest", "nearest_start"),
    "state",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd score DETECTOR RECORDING [...]``."""
    parser.description = (
        "Judge recordings. Exit status: 0 all normal, 1 any warning or alarm, 3 any that cannot be judged and none of "
        "those, 2 an error: also where a table or picture could not be written of what was judged and printed."
    )
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it")
    parser.add_argument(
        "recordings", nargs="+", metavar="FILE|DIR|-", help="recordings, folders of them, or - for raw samples"
    )
    parser.add_argument("--machine", metavar="NAME", help="whose they are, where the detector knows several")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a table to FILE; one of other recordings is not replaced"
    )
    parser.add_argument("--append", action="store_true", help="add to the table of --csv, where there is one")
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="PLACE",
        help="draw the scores over time: into a file (.svg, .png), or into a folder an SVG for each recording",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array, and nothing else")
    parser.add_argument(
        "--events", action="store_true", help="print what asd watch would have said, a line of JSON each"
    )
    archive = parser.add_argument_group("archives past one machine (docs/scaling.md)")
    archive.add_argument(
        "--engine", choices=("ray",), help="score on a cluster; patterns such as 'archive/**' are read"
    )
    archive.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="Parquet shards; what they hold is not redone"
    )
    archive.add_argument("--shard", type=int, metavar="N", help="recordings in a shard (default: 256)")
    raw = parser.add_argument_group("raw samples from standard input (default: 16-bit little-endian, mono)")
    raw.add_argument("--rate", type=int, metavar="HZ", help="sampling rate (default: the detector's)")
    raw.add_argument("--channels", type=int, default=1, metavar="N", help="interleaved; the detector's one is heard")
    raw.add_argument("--format", choices=("s16le", "f32le"), default="s16le", help="of a sample")


def run(args: argparse.Namespace) -> int:
    """Judge, print, and return the exit status."""
    import logging

    from asd_lightning.detector.detector import Detector
    from asd_lightning.detector.judging import as_json

    logging.basicConfig(format="asd: %(message)s")
    if args.engine is not None:
        return _score_archive(args)
    if args.output is not None or args.shard is not None:
        raise UserError("-o, --shard: are about archives; give --engine ray too, or --csv FILE for a table")
    _check_places(args)
    if args.events:
        return _tell_events(args)
    detector = Detector.load(args.detector)
    judgments = _judged(detector, args)
    _tell_together(detector, judgments, args)
    try:
        if args.csv is not None:
            _write_csv(args.csv, judgments, args.append)
    finally:
        # A full disk is no reason to keep an alarm to oneself.
        if args.json:
            print(json.dumps([as_json(one) for one in judgments], indent=1))
        else:
            _print(judgments, args.detector)
    if args.plot is not None:
        _plot(detector, judgments, args)
    return exit_status(judgments)


def _check_places(args: argparse.Namespace) -> None:
    """Before anything is judged: what is given is there, and what is to be written can be."""
    from asd_lightning.atomic import refuse_unwritable
    from asd_lightning.data.folders import refuse_missing

    if args.csv is not None:
        _refuse_other_file(args.csv)
        # What is added to is written in its place, where nothing else need be writable.
        if not (args.append and args.csv.exists()):
            refuse_unwritable(args.csv)
    if args.append and args.csv is None:
        raise UserError("--append: adds to the table of --csv FILE, which is not given")
    if args.plot is not None:
        _refuse_other_picture(args)
        refuse_unwritable(args.plot)
    refuse_missing([Path(word).expanduser() for word in args.recordings if word != "-"])
    if args.csv is not None and not args.append:
        _refuse_lost_rows(args.csv, args.recordings)


def _tell_events(args: argparse.Namespace) -> int:
    from asd_lightning.detector.detector import Detector
    from asd_lightning.live.offline import events_of

    if args.json or args.csv is not None or args.plot is not None or "-" in args.recordings:
        raise UserError("--events: prints lines of JSON about recordings; give it without --json, --csv, --plot and -")
    detector = Detector.load(args.detector)
    by_machine: dict[str, list[Path]] = {}
    for path in _files([Path(word).expanduser() for word in args.recordings]):
        by_machine.setdefault(detector.machine_of(path, args.machine), []).append(path)
    events = [one for name, paths in by_machine.items() for one in events_of(args.detector, paths, name)]
    for event in events:
        print(json.dumps(event))
    told = {event["kind"] for event in events}
    return ALARM if told & {"warning", "alarm"} else CANNOT_JUDGE if "cannot judge" in told else ALL_NORMAL


def _tell_together(detector: Detector, judgments: Sequence[Judgment], args: argparse.Namespace) -> None:
    """On standard error, what is to be said of the recordings together."""
    if not args.append and len(judgments) + sum(len(one.windows) for one in judgments) <= _ALONE:
        return
    from asd_lightning.live.over_recordings import notes_of
    from asd_lightning.plain_text import printable

    machines = {one.machine: detector.machines_[one.machine] for one in judgments}
    earlier, otherwise = _earlier(args.csv, machines) if args.append else ({}, [])
    for name in otherwise:
        print(
            f"asd: {args.csv}: all its rows of {printable(name)} were judged by other thresholds than today's, "
            "before the detector was changed or by another one; the test for drift begins anew (give each detector a "
            "table of its own)",
            file=sys.stderr,
        )
    for note in notes_of(detector, judgments, earlier):
        print(f"asd: {printable(note)}", file=sys.stderr)


def _earlier(path: Path, machines: Mapping[str, Machine]) -> tuple[dict[str, list[float]], list[str]]:
    """Machine -> scores in a table, on the scale that its states share (`Machine.common`).

    Only such count as were compared with the threshold that their state has today: others are of another detector, or
    of this one before it was changed, and no column tells which.  Machines that have none but those come second.
    """
    scores: dict[str, list[float]] = {}
    otherwise: dict[str, None] = {}
    for row in _rows_of(path):
        try:
            score, threshold = float(row["score"] or "nan"), float(row["threshold"] or "nan")
            machine, state = machines.get(row["machine"]), row["state"] or ""
        except (KeyError, TypeError, ValueError):
            # Somebody has changed the table by hand.
            continue
        known = row["decision"] not in ("cannot judge", "not running")
        if machine is None or not known or not math.isfinite(score):
            continue
        told = not machine.in_states or state in machine.in_states
        if told and threshold == machine.thresholds(state).promise.warning:
            scores.setdefault(machine.name, []).append(machine.common(score, state))
        else:
            otherwise[machine.name] = None
    return scores, [name for name in otherwise if name not in scores]


def _rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a table of scores; none where there is no table."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _refuse_other_picture(args: argparse.Namespace) -> None:
    from asd_lightning.detector.timeline import refuse_other_picture

    refuse_other_picture(args.plot)


def _plot(detector: Detector, judgments: Sequence[Judgment], args: argparse.Namespace) -> None:
    from asd_lightning.detector.judging import on_common_scale, score_label
    from asd_lightning.detector.timeline import plot_timelines

    machines = {one.machine: detector.machines_[one.machine] for one in judgments}
    # Each state has its own: there the color tells alarms.
    alarms = {name: machine.promise.alarm for name, machine in machines.items() if not machine.in_states}
    labels = {name: score_label(machine) for name, machine in machines.items()}
    shown = [on_common_scale(one, machines[one.machine]) for one in judgments]
    written = plot_timelines(shown, alarms, args.plot, labels)
    if not args.json:
        print(f"{args.plot}: {'1 picture' if len(written) == 1 else f'{len(written)} pictures'}")


def _score_archive(args: argparse.Namespace) -> int:
    from asd_lightning.archive.scoring import SHARD, score_archive

    others = (args.json, args.events, args.append, args.csv is not None, args.plot is not None)
    if any(others) or "-" in args.recordings:
        raise UserError(
            f"--engine {args.engine}: writes Parquet; give it without --json, --events, --csv, --plot and -"
        )
    if args.output is None:
        raise UserError(f"--engine {args.engine}: writes shards into a folder; give -o DIR")
    # What Ray says of nodes that are gone is no result.
    with contextlib.redirect_stdout(sys.stderr):
        scored = score_archive(
            args.detector,
            args.recordings,
            args.output,
            machine=args.machine,
            shard=SHARD if args.shard is None else args.shard,
        )
    _print_archive(scored)
    return status_of(set(scored.decisions))


def _print_archive(scored: ScoredArchive) -> None:
    from asd_lightning.tables import Row, Table, print_table

    rows = [
        Row((name, f"{count:,}"), "failed" if name in ("warning", "alarm") else "plain")
        for name, count in scored.decisions.most_common()
    ]
    total = Row(("recordings", f"{scored.recordings:,}"), "total")
    notes = (f"{scored.scored:,} of them were scored by this call",)
    print_table(Table(str(scored.folder), ("decision", "recordings"), (*rows, total), notes))


def exit_status(judgments: Sequence[Judgment]) -> int:
    """What a shell is told."""
    return status_of({one.decision for one in judgments})


def status_of(decisions: Set[str]) -> int:
    """What a shell is told of these decisions."""
    if decisions & {"warning", "alarm"}:
        return ALARM
    return CANNOT_JUDGE if "cannot judge" in decisions else ALL_NORMAL


def _judged(detector: Detector, args: argparse.Namespace) -> list[Judgment]:
    from asd_lightning.data.other_formats import warn_of_other_formats

    if "-" not in args.recordings:
        paths = [Path(word).expanduser() for word in args.recordings]
        if len(paths) == 1:
            return detector.judge(paths[0], args.machine)
        warn_of_other_formats(paths)
        return detector.judge(_files(paths), args.machine)
    if len(args.recordings) > 1:
        raise UserError("-: standard input is judged alone; give recordings in another command")
    from asd_lightning.detector.raw import samples_of

    waveform = samples_of(
        sys.stdin.buffer.read(), detector.hearing_.preprocessing, args.rate, args.channels, args.format
    )
    return [one._replace(path="-") for one in detector.judge([waveform], args.machine)]


def _files(paths: Sequence[Path]) -> list[Path]:
    from asd_lightning.data.folders import recordings

    return [found for path in paths for found in (recordings(path, closed_too=True) if path.is_dir() else [path])]


def _write_csv(path: Path, judgments: Sequence[Judgment], append: bool) -> None:
    from asd_lightning.detector.lock import locked
    from asd_lightning.tables import write_csv

    rows = [_row(one) for one in judgments]
    if not append:
        write_csv(path, _COLUMNS, rows)
        return
    # Of two that find no table, one would replace that of the other.  Where nothing but the table may be written, it is
    # there, and rows are added to it without a lock.
    with contextlib.nullcontext() if path.exists() and not os.access(path.parent, os.W_OK) else locked(path):
        if not path.exists() or not path.stat().st_size:
            write_csv(path, _COLUMNS, rows)
        else:
            _add_rows(path, rows)


def _add_rows(path: Path, rows: list[list[Any]]) -> None:
    from asd_lightning.atomic import open_unlinked
    from asd_lightning.tables import csv_text

    end = _missing_end(path)
    with open_unlinked(path, "ab") as file:
        file.write(end + csv_text(rows).encode())


def _missing_end(path: Path) -> bytes:
    """What ends the last row where a kill has cut it; nobody writes the rest any more."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b"\n":
            return b""
    # A cell whose closing quote is missing would go on over the next rows.
    return b'"\n' if path.read_bytes().count(b'"') % 2 else b"\n"


def _refuse_other_file(path: Path) -> None:
    """Before anything is judged: what is replaced or added to must be such a table."""
    from asd_lightning.foreign_files import first_line

    if path.exists() and not (path.is_file() and (not path.stat().st_size or first_line(path) == ",".join(_COLUMNS))):
        raise UserError(f"{path}: is there already, and no table of scores; give another file")


def _refuse_lost_rows(path: Path, recordings: Sequence[str]) -> None:
    """Before anything is judged: a table that holds other recordings than these is not replaced.

    Standard input is other sound each time.
    """
    if not (rows := _rows_of(path)):
        return
    judged = {_written(str(one)) for one in _files([Path(word).expanduser() for word in recordings if word != "-"])}
    if lost := {row["path"] for row in rows} - judged:
        raise UserError(
            f"{path}: holds scores of {len(lost)} recordings that are not judged now, which would be lost; add to it "
            "with --append, or give another file"
        )


def _written(path: str) -> str:
    """A recording's path as it stands in a table."""
    return path.encode("utf-8", "backslashreplace").decode()


def _row(one: Judgment) -> list[Any]:
    recording, start = (None, None) if one.nearest is None else one.nearest
    numbers = [None if math.isnan(value) else value for value in (one.score, one.threshold)]
    p_value = None if math.isnan(one.p_value) else one.p_value
    return [
        _written(one.path),
        one.machine,
        *numbers,
        one.decision,
        p_value,
        "; ".join(one.health),
        recording,
        start,
        one.state,
    ]


def _print(judgments: Sequence[Judgment], detector: Path) -> None:
    from asd_lightning.tables import Row, Table, print_table

    several = any(one.state for one in judgments)
    rows = tuple(
        Row(_cells(one, several), "failed" if one.decision in ("warning", "alarm") else "plain") for one in judgments
    )
    state = ("state",) if several else ()
    heading = ("recording", "machine", *state, "decision", "score", "threshold", "p", "loudest at")
    # Sentences in a column would make each line as long as they are.
    # What cannot be read is named by its own message too.
    noticed = (
        f"{one.path}: {'; '.join(why.removeprefix(f'{one.path}: ') for why in one.health)}"
        for one in judgments
        if one.health
    )
    notes = ("score: higher is more anomalous; p: share of normal recordings that score as high", *noticed)
    print_table(Table(str(detector), heading, rows, notes, words=3 + several))


def _cells(one: Judgment, several: bool) -> tuple[str, ...]:
    told = ((one.score, ".4g"), (one.threshold, ".4g"), (one.p_value, ".2g"))
    numbers = ["-" if math.isnan(value) else format(value, digits) for value, digits in told]
    loudest = one.loudest() if len(one.windows) > 1 else None
    at = "" if loudest is None else f"{loudest.start:.0f} s"
    state = (one.state,) if several else ()
    return (one.path, one.machine, *state, one.decision, *numbers, at)
