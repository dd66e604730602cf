"""Is what a detector promises kept on synthetic machines in recordings?  False alarms, and drift.

    python benchmarks/promise_sessions.py [--seeds 5] [--rate 0.1]

Each of the twelve machines of the preset `sessions` is rendered from each seed: its training recordings of the source
domain, and fifteen new normal ones of the same classes.  A detector of log-mel statistics is enrolled from the former
and judges the latter.  The drift test is fitted to the detector's left-out scores, for runs as long as the new
recordings, and sees the new scores as they are, and raised by the drift that it says it finds.  Rows are kept in
``benchmarks/promise_sessions.csv``, and those that are there are not made again; the table goes to ``.md``.
"""

from __future__ import annotations

import argparse
import csv
import logging
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from folders import REPOSITORY
from rich.progress import Progress

from asd_lightning.atomic import write_text_atomically
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.drift import WITHIN, DriftState, DriftTest
from asd_lightning.detector.promise import share_bound
from asd_lightning.live.levels import left_out_windows
from asd_lightning.synthetic import SESSION_PRESETS, SessionMachine, render_recording
from asd_lightning.synthetic.sessions import recordings_of
from asd_lightning.tables import Row, Table, csv_text, markdown_lines, percent

RECORDINGS, CLIPS = 15, 4
KINDS = (str, int, int, float, float, float, int, float, int)
"""Of the columns of the table."""
PLACE = REPOSITORY / "benchmarks" / "promise_sessions.csv"


class Measured(NamedTuple):
    """One machine from one seed.

    ``above`` and ``unfit``: shares of the new clips; ``false_drift``: clip at which drift was found where none is, 0
    for never; ``smallest``: drift that is promised to be found; ``found``: clip at which it was.
    """

    machine: str
    seed: int
    recordings: int
    above: float
    unfit: float
    bound: float
    false_drift: int
    smallest: float
    found: int


def sound(machine: SessionMachine, seed: int, split: str) -> tuple[list[np.ndarray], list[str]]:
    """Normal clips of the source domain and their recordings."""
    more = replace(machine, sessions=replace(machine.sessions, test_recordings=RECORDINGS, test_clips=CLIPS))
    waveforms: list[np.ndarray] = []
    names: list[str] = []
    for clips in recordings_of(more):
        if (clips[0].split, clips[0].domain, clips[0].fault) == (split, "source", None):
            waveforms += [channels[0].astype(np.float32) for channels in render_recording(more, clips, seed)]
            names += [clip.recording for clip in clips]
    return waveforms, names


def measured(machine: SessionMachine, seed: int, rate: float) -> Measured:
    """Enrol, judge, and run the drift test twice."""
    waveforms, groups = sound(machine, seed, "train")
    detector = Detector(false_alarms=rate, clip_seconds=machine.seconds, machine=machine.name, sounds=0)
    detector.fit(waveforms, groups=groups)
    judged = detector.judge(sound(machine, seed, "test")[0])
    own = detector.machines_[machine.name]
    left_out = left_out_windows(own, machine.seconds)
    recording = np.unique(left_out.recordings, return_inverse=True)[1]
    scores = np.array([one.score for one in judged if not np.isnan(one.score)])
    test = DriftTest.fit(left_out.scores, recording, "up", len(scores))
    drift = test.smallest if np.isfinite(test.smallest) else np.nan
    return Measured(
        machine=machine.name,
        seed=seed,
        recordings=own.normal.recordings,
        above=float(np.mean([one.decision in ("warning", "alarm") for one in judged])),
        unfit=float(np.mean([one.decision == "cannot judge" for one in judged])),
        bound=share_bound(own.normal.recordings, rate),
        false_drift=drifted_at(test, scores),
        smallest=drift / test.scale,
        found=0 if np.isnan(drift) else drifted_at(test, scores[:WITHIN] + drift),
    )


def drifted_at(test: DriftTest, scores: np.ndarray) -> int:
    """Number of the clip at which drift is found; 0 where it is not."""
    state = DriftState()
    for score in scores:
        state = test.update(state, float(score))
    return state.drifted_at


def kept() -> list[Measured]:
    """Rows that were measured before."""
    if not PLACE.exists():
        return []
    with PLACE.open() as file:
        rows = list(csv.DictReader(file))
    return [Measured(*(kind(row[name]) for name, kind in zip(Measured._fields, KINDS, strict=True))) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=0.1, help="promised")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    rows = kept()
    done = {(row.machine, row.seed) for row in rows}
    wanted = [
        (machine, seed)
        for seed in range(arguments.seeds)
        for machine in SESSION_PRESETS["sessions"].machines
        if (machine.name, seed) not in done
    ]
    with Progress() as progress:
        for machine, seed in progress.track(wanted, description="machines"):
            rows.append(measured(machine, seed, arguments.rate))
            write_text_atomically(PLACE, csv_text([Measured._fields, *rows]))
    write_text_atomically(PLACE.with_suffix(".md"), "\n".join(report(rows, arguments)) + "\n")


def report(rows: list[Measured], arguments: argparse.Namespace) -> list[str]:
    """The table by machine, and what of it was promised."""
    table_rows = []
    for name in (*dict.fromkeys(row.machine for row in rows), "all"):
        own = [row for row in rows if name in (row.machine, "all")]
        findable = [row for row in own if np.isfinite(row.smallest)]
        table_rows.append(
            Row(
                (
                    name,
                    percent(float(np.mean([row.above for row in own]))),
                    f"{percent(min(row.bound for row in own))} to {percent(max(row.bound for row in own))}",
                    f"{sum(row.above <= row.bound for row in own)} of {len(own)}",
                    f"{sum(row.false_drift > 0 for row in own)} of {len(own)}",
                    f"{np.median([row.smallest for row in findable]):.1f}" if findable else "none",
                    f"{sum(row.found > 0 for row in findable)} of {len(findable)}",
                )
            )
        )
    shares = np.array([row.above for row in rows])
    heading = ("machine", "above", "bound", "within it", "drift without", "smallest", "found")
    return [
        "# Promises on synthetic machines in recordings",
        "",
        f"`python benchmarks/promise_sessions.py --seeds {arguments.seeds} --rate {arguments.rate:g}`",
        "",
        f"Of each machine and seed {RECORDINGS * CLIPS} new normal clips of {RECORDINGS} recordings. *above*: share of "
        f"them with a warning or an alarm, in per cent; {100 * arguments.rate:g} is promised. *bound*: for one "
        "training in nine of ten. *drift without*: runs over those clips in which drift was told. *smallest*: drift "
        f"that is said to be found within {WITHIN} clips in 19 of 20 runs, in deviations of a new recording's clip "
        "(median). *found*: runs in which new scores raised by it were told as drift in time, of those where there is "
        "such a drift.",
        "",
        *markdown_lines(Table("", heading, tuple(table_rows))),
        "",
        f"Above: {100 * shares.mean():.1f} ± {100 * shares.std(ddof=1) / np.sqrt(len(shares)):.1f} % (standard error "
        f"over {len(shares)} machines and seeds).",
        f"Of the clips {100 * np.mean([row.unfit for row in rows]):.2g} % could not be judged.",
    ]


if __name__ == "__main__":
    main()
