"""Hours of a synthetic machine with starts, stops and two speeds: which planted faults a detector with states finds.

    python benchmarks/planted_hour.py [--hours 2] [--embedder statistics] [--output benchmarks/planted_hour.md]

The sound is that of `watch.py`, played slower or not at all: each hour is off, starts, runs fast, slow, fast and slow
again, and stops.  The detector is enrolled from normal sound of other days with `--states folders` (off, starting,
slow, fast; neither stops nor changes of speed), and a second one from the same sound without states.  Windows of five
seconds are judged one by one: a fault is found where a window that it lies in gets a warning or an alarm, or cannot be
judged.
"""

from __future__ import annotations

import argparse
import random
import resource
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from folders import REPOSITORY
from rich.progress import Progress
from watch import KINDS, LEVELS, MINUTE, RATE, Fault, sound, with_fault

from asd_lightning.atomic import write_text_atomically
from asd_lightning.detector.detector import Detector
from asd_lightning.tables import Row, Table, markdown_lines, percent

SECONDS = (1, 10, 60, 300)
WINDOW = 5
# Of an hour: speed from this second on; changes take ten seconds.
PROFILE = ((0, 0.0), (240, 1.0), (960, 0.6), (1680, 1.0), (2400, 0.6), (3300, 0.0))
RAMP = 10
SLOW, FAST = 0.6, 1.0
RATE_PROMISED = 0.05
ORDER = ("normal", "not running", "cannot judge", "warning", "alarm")
# Backgrounds of `watch.py` stay for so many minutes.
_APART = 20


class Heard(NamedTuple):
    """A window: its second, its speed (nan amid a change), the fault in it, and what each detector said."""

    start: int
    speed: float
    fault: int
    decisions: tuple[str, ...]


def speed_at(now: np.ndarray) -> np.ndarray:
    """Relative speed at seconds of the day."""
    hour = np.mod(now, 3600)
    times, speeds = [0.0], [PROFILE[0][1]]
    for (start, after), (_, before) in zip(PROFILE[1:], PROFILE, strict=False):
        times += [start, start + RAMP]
        speeds += [before, after]
    return np.interp(hour, times, speeds)


def played(base: np.ndarray, speed: np.ndarray, seed: int) -> np.ndarray:
    """The machine's full-speed sound at other speeds, quieter where it is slow, in the sound of the room."""
    place = np.cumsum(speed)
    # At a steady speed the same places between samples each time: interpolation takes from the treble.
    place = np.where(speed == FAST, np.round(place), np.where(speed == SLOW, np.round(5 * place) / 5, place))
    place = np.mod(place, len(base) - 1)
    room = 0.002 * np.convolve(np.random.default_rng(seed).standard_normal(len(speed)), np.ones(4) / 4, "same")
    return np.interp(place, np.arange(len(base)), base) * speed**1.5 + room


def minute_of(minute: int, day: str, faults: tuple[Fault, ...]) -> np.ndarray:
    """One minute of a day, with what of the faults lies in it."""
    now = np.arange(MINUTE) / RATE + 60 * minute
    made = played(sound(minute, day, ()).astype(np.float64), speed_at(now), minute)
    for fault in faults:
        made = with_fault(made, now, fault)
    return np.clip(made, -1, 1).astype(np.float32)


def normal_sound() -> tuple[list[np.ndarray], list[str]]:
    """Half a minute of each speed, ten seconds of starting and of off; each of another time."""
    ramp = np.linspace(0.0, FAST, RAMP * RATE)
    speeds = {
        "fast": np.full(30 * RATE, FAST),
        "slow": np.full(30 * RATE, SLOW),
        "starting": ramp,
        "off": np.zeros(RAMP * RATE),
    }
    made, filed = [], []
    for place, (state, speed) in enumerate(speeds.items()):
        for number in range(24):
            minute = _APART * (number + 24 * place)
            base = sound(minute, "enrol", ()).astype(np.float64) if speed.any() else np.zeros(MINUTE)
            made.append(played(base, speed, minute).astype(np.float32))
            filed.append(state)
    return made, filed


def plan(hours: int) -> tuple[Fault, ...]:
    """Each kind at each level and length once, in stretches of one speed, apart from one another."""
    wanted = [(kind, level, seconds) for seconds in SECONDS for kind in KINDS for level in LEVELS]
    random.Random(0).shuffle(wanted)
    wanted.sort(key=lambda one: -one[2])
    gap = 2 * WINDOW
    free = [
        [3600 * hour + start + 2 * RAMP, 3600 * hour + end - RAMP]
        for (start, speed), (end, _) in pairwise(PROFILE)
        for hour in range(hours)
        if speed
    ]
    faults = []
    for kind, level, seconds in wanted:
        # The emptiest stretch: lengths are spread over speeds and hours.
        stretch = max(free, key=lambda one: one[1] - one[0])
        if stretch[1] - stretch[0] < seconds + gap:
            raise SystemExit(f"--hours {hours}: the faults do not fit; give more")
        faults.append(Fault(kind, level, stretch[0] + 2, seconds))
        stretch[0] += seconds + 2 + gap
    return tuple(faults)


def windows_of(minute: int, faults: tuple[Fault, ...], detectors: tuple[Detector, ...]) -> list[Heard]:
    """What the detectors say of a minute, window by window."""
    waveform = minute_of(minute, "day", faults).reshape(-1, WINDOW * RATE)
    told = [[one.decision for one in detector.judge(list(waveform))] for detector in detectors]
    heard = []
    for row, decisions in enumerate(zip(*told, strict=True)):
        start = 60 * minute + WINDOW * row
        speeds = speed_at(np.array([start, start + WINDOW]))
        inside = [n for n, one in enumerate(faults) if one.start < start + WINDOW and start < one.start + one.seconds]
        speed = float(speeds[0]) if speeds[0] == speeds[1] else np.nan
        heard.append(Heard(start, speed, inside[0] if inside else -1, decisions))
    return heard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=2)
    parser.add_argument("--embedder", default="statistics")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "planted_hour.md")
    arguments = parser.parse_args()
    faults = plan(arguments.hours)
    made, filed = normal_sound()
    options = {"false_alarms": RATE_PROMISED, "clip_seconds": float(WINDOW), "sounds": 0}
    running = [one for one, state in zip(made, filed, strict=True) if state != "off"]
    detectors = (
        Detector(arguments.embedder, **options).fit(made, filed=filed),
        Detector(arguments.embedder, **options, states="none").fit(running),
    )
    heard: list[Heard] = []
    with Progress() as progress:
        for minute in progress.track(range(60 * arguments.hours), description="minutes"):
            heard += windows_of(minute, faults, detectors)
    write_text_atomically(arguments.output, "\n".join(report(arguments, faults, heard, detectors)) + "\n")
    print(arguments.output.read_text())


def report(
    arguments: argparse.Namespace, faults: tuple[Fault, ...], heard: list[Heard], detectors: tuple[Detector, ...]
) -> list[str]:
    """Found by kind, level and length; false alarms by speed."""
    states = detectors[0].machines_["machine"].states
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    return [
        "# Planted faults in hours of starts, stops and two speeds",
        "",
        f"`python benchmarks/planted_hour.py --hours {arguments.hours} --embedder {arguments.embedder}`",
        "",
        f"States {', '.join(getattr(states, 'names', ()))}; {100 * RATE_PROMISED:g} % promised in each. A cell is the "
        "gravest decision on a window in which the fault lies, with states / without; s: at the slow speed.",
        "",
        *_found(faults, heard),
        "",
        *_false(heard),
        "",
        f"{arguments.hours} h rendered and judged twice: {(cpu.ru_utime + cpu.ru_stime) / 60:.1f} minutes of CPU time.",
    ]


def gravest(faults: tuple[Fault, ...], heard: list[Heard], number: int, detector: int) -> str:
    """Of the windows that a fault lies in."""
    told = [one.decisions[detector] for one in heard if one.fault == number]
    worst = max(told, key=ORDER.index)
    return "missed" if worst in ("normal", "not running") else worst


def _found(faults: tuple[Fault, ...], heard: list[Heard]) -> list[str]:
    rows, found = [], [0, 0]
    for kind in KINDS:
        for level in LEVELS:
            cells = []
            for seconds in SECONDS:
                number = next(
                    n for n, one in enumerate(faults) if (one.kind, one.level, one.seconds) == (kind, level, seconds)
                )
                told = [gravest(faults, heard, number, detector) for detector in (0, 1)]
                found = [count + (one != "missed") for count, one in zip(found, told, strict=True)]
                slow = " s" if speed_at(np.array([faults[number].start]))[0] == SLOW else ""
                cells.append(" / ".join(told) + slow)
            rows.append(Row((kind, level, *cells)))
    table = Table("", ("fault", "level", *(f"{seconds} s" for seconds in SECONDS)), tuple(rows), words=6)
    return [*markdown_lines(table), "", f"Found: {found[0]} of {len(faults)} with states, {found[1]} without."]


def _false(heard: list[Heard]) -> list[str]:
    rows = []
    for name, speed in (("fast", FAST), ("slow", SLOW), ("off", 0.0), ("starts, stops, changes", np.nan)):
        own = [
            one for one in heard if one.fault < 0 and (one.speed == speed or (np.isnan(speed) and np.isnan(one.speed)))
        ]
        cells = []
        for detector in (0, 1):
            counts = Counter(one.decisions[detector] for one in own)
            told = ", ".join(f"{counts[kind]} {kind}" for kind in ORDER if counts[kind])
            alarms = (counts["warning"] + counts["alarm"]) / max(len(own), 1)
            cells.append(f"{percent(alarms)} % ({told})")
        rows.append(Row((name, str(len(own)), *cells)))
    heading = ("windows without a fault", "windows", "warnings and alarms, with states", "without states")
    return list(markdown_lines(Table("", heading, tuple(rows), words=1)))


if __name__ == "__main__":
    main()
