"""An accelerated day of plant sound: what `asd watch` finds, misses and says falsely, and what twenty kills do to it.

    python benchmarks/watch.py [--hours 24] [--kills 20] [--inputs 3] [--output benchmarks/watch.md]

A pump is rendered minute by minute from seeds, with a background that comes and goes; the detector is enrolled on
minutes of two days before.  One input has faults (five kinds, two levels, one second to five minutes), the others none.
Memory is that of the process over its second half; everything is written to a folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asd_lightning.detector.actions import enrol

RATE = 16_000
MINUTE = 60 * RATE
DAY = 1_700_000_000
KINDS = ("tone", "click", "dropout", "level", "bearing")
LEVELS = ("loud", "quiet")
SECONDS = (1, 30, 300)
# A fault is found where an alarm, or that the sound cannot be judged, comes so long after its end at the latest, in s.
GRACE = 60.0


@dataclass(frozen=True)
class Fault:
    """What is added to the sound from ``start`` on, in s of the day."""

    kind: str
    level: str
    start: int
    seconds: int


def main() -> None:
    """Render, enrol, watch, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/watch.md"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(args, Path(folder))


def write(args: argparse.Namespace, folder: Path) -> None:
    """Everything, with its table."""
    faults = plan(args.hours)
    for minute in range(96):
        save(folder / "pump/normal" / f"{minute:04d}.flac", sound(minute, "enrol", ()), minute)
    enrol(folder / "pump/normal", folder / "pump.asd", clip_seconds=5.0, sounds=0)
    for number in range(args.inputs):
        own = faults if number == 0 else ()
        for minute in range(60 * args.hours):
            save(folder / f"in{number}" / f"{minute:04d}.flac", sound(minute, f"day{number}", own), minute)
        print(f"rendered input {number}", file=sys.stderr)
    command = [sys.executable, "-m", "asd_lightning.cli", "watch", str(folder / "pump.asd"), "--once"]
    command += [word for number in range(args.inputs) for word in ("--input", str(folder / f"in{number}"))]
    command += ["--false-alarms-a-day", "1"]
    begun = time.monotonic()
    memory = watch(command, folder, "whole")
    seconds = time.monotonic() - begun
    killed = interrupted(command, folder, args.kills)
    whole = events(folder / "whole.jsonl")
    same = comparable(whole) == comparable(events(folder / "killed.jsonl"))
    lines = [
        "# A day of `asd watch`",
        "",
        f"`python benchmarks/watch.py --hours {args.hours} --kills {args.kills} --inputs {args.inputs}`",
        "",
        *table(faults, whole),
        "",
        *false_alarms(args, whole),
        f"- {args.inputs} x {args.hours} h heard at {args.inputs * args.hours * 3600 / seconds:.0f} times real time.",
        f"- {killed} kills at random moments: events of each input {'equal to' if same else 'DIFFERENT FROM'} the "
        "uninterrupted day's.",
        f"- Resident memory in the second half of the day: {memory[0]:.0f} to {memory[1]:.0f} MB.",
    ]
    args.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def plan(hours: int) -> tuple[Fault, ...]:
    """Each kind at each level and length once, evenly over the day."""
    wanted = [(kind, level, seconds) for seconds in SECONDS for kind in KINDS for level in LEVELS]
    gap = 3600 * hours // (len(wanted) + 1)
    if gap <= max(SECONDS) + GRACE:
        raise SystemExit(f"--hours {hours}: faults would overlap; at least 4 are needed")
    random.Random(0).shuffle(wanted)
    return tuple(Fault(*one[:2], gap * (place + 1) + 7, one[2]) for place, one in enumerate(wanted))


def sound(minute: int, day: str, faults: tuple[Fault, ...]) -> np.ndarray:
    """One minute: shaft and blades with a wandering speed, flow noise, a background that comes and goes."""
    draw = np.random.default_rng([minute, *day.encode()])
    slow = np.random.default_rng([minute // 20, *day.encode()])
    now = np.arange(MINUTE) / RATE + 60 * minute
    pitch = 48.0 * (1 + 0.004 * np.sin(2 * np.pi * now / 37) + slow.uniform(-0.004, 0.004))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tones = sum(np.sin(k * phase) / k for k in range(1, 9)) + 0.4 * np.sin(7 * phase)
    flow = np.convolve(draw.standard_normal(MINUTE), np.ones(4) / 4, "same")
    background = np.convolve(draw.standard_normal(MINUTE), np.ones(16) / 16, "same") * slow.uniform(0.2, 0.6)
    made = 0.05 * (tones + flow + background)
    for fault in faults:
        made = with_fault(made, now, fault)
    return np.clip(made, -1, 1).astype(np.float32)


def with_fault(made: np.ndarray, now: np.ndarray, fault: Fault) -> np.ndarray:
    """The minute with what of the fault lies in it."""
    place = (now >= fault.start) & (now < fault.start + fault.seconds)
    if not place.any():
        return made
    much = 1.0 if fault.level == "loud" else 0.3
    added = {
        "tone": 0.2 * much * np.sin(2 * np.pi * 3100 * now),
        "click": 0.9 * much * (np.modf(now)[0] < 0.002),
        "bearing": 0.5 * much * (np.modf(now * 97)[0] < 0.05) * np.sin(2 * np.pi * 4200 * now),
    }.get(fault.kind, np.zeros_like(now))
    factor = {"dropout": 1 - much * (np.modf(now * 2)[0] < 0.3), "level": 10 ** (-30 * much / 20)}.get(fault.kind, 1.0)
    return np.where(place, made * factor + added, made)


def save(path: Path, waveform: np.ndarray, minute: int) -> None:
    """A recording whose time is that of its end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, RATE, subtype="PCM_16")
    end = DAY + 60 * (minute + 1)
    os.utime(path, (end, end))


def watch(command: list[str], folder: Path, name: str) -> tuple[float, float]:
    """One day without interruption; least and most resident memory in its second half, in MB."""
    process = subprocess.Popen(_of(command, folder, name))
    seen: list[float] = []
    while process.poll() is None:
        seen.append(_resident(process.pid))
        time.sleep(0.5)
    assert process.returncode == 0
    later = [value for value in seen[len(seen) // 2 :] if value]
    return min(later), max(later)


def interrupted(command: list[str], folder: Path, kills: int) -> int:
    """The same day, killed at random moments, each a while after the start; how many kills there were."""
    draw, done = random.Random(1), 0
    while True:
        process = subprocess.Popen(_of(command, folder, "killed"))
        wait = draw.uniform(4.0, 12.0) if done < kills else None
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            done += 1
            print(f"killed {done} of {kills}", file=sys.stderr)
        else:
            return done


def table(faults: tuple[Fault, ...], heard: list[dict]) -> Iterator[str]:
    """Found of each kind, level and length, and after how long."""
    told = [
        (_second(event), event["kind"])
        for event in heard
        if event["source"] == "in0" and event["kind"] in ("alarm", "cannot judge")
    ]
    yield "| fault | level | " + " | ".join(f"{seconds} s" for seconds in SECONDS) + " |"
    yield "|---|---|" + "---|" * len(SECONDS)
    for kind in KINDS:
        for level in LEVELS:
            cells = []
            for seconds in SECONDS:
                fault = next(one for one in faults if (one.kind, one.level, one.seconds) == (kind, level, seconds))
                found = [(at - fault.start, kind) for at, kind in told if 0 <= at - fault.start <= seconds + GRACE]
                cells.append(f"{found[0][1]} after {found[0][0]:.0f} s" if found else "missed")
            yield f"| {kind} | {level} | {' | '.join(cells)} |"


def false_alarms(args: argparse.Namespace, heard: list[dict]) -> Iterator[str]:
    """Alarms, warnings and the rest on the inputs without a fault."""
    normal = [event for event in heard if event["source"] != "in0"]
    days = (args.inputs - 1) * args.hours / 24
    for kind in ("alarm", "warning", "cannot judge", "drift"):
        count = sum(event["kind"] == kind for event in normal)
        yield f"- `{kind}` on {24 * days:g} hours without a fault: {count}."


def events(path: Path) -> list[dict]:
    """Of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def comparable(heard: list[dict]) -> list[dict]:
    """All but when the computer's clock said that an input was new, by input."""
    told = [event for event in heard if event["kind"] != "started"]
    return sorted(told, key=lambda event: (event["source"], event["number"]))


def _second(event: dict) -> float:
    return int(Path(event["file"]).stem) * 60 + event["offset"]


def _of(command: list[str], folder: Path, name: str) -> list[str]:
    return [*command, "--journal", str(folder / f"{name}.journal"), "-o", str(folder / f"{name}.jsonl")]


def _resident(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    main()
