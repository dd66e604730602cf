"""An accelerated day of plant sound: what `asd watch` finds, misses and says falsely, and what twenty kills do to it.

    python benchmarks/watch.py [--hours 24] [--kills 20] [--inputs 3] [--settings 4] [--folder DIR] [--output FILE]

The pump of `plant` is enrolled from 96 minutes, one of each half hour of two days before.  One input has faults (five
kinds, two levels, one second to five minutes), the others none.  What an alarm's on-delay and overlapping windows do is
measured on the first two inputs.  With ``--folder`` everything stays, and the same command goes on where it was;
``--kills 0`` and ``--settings 1`` leave those parts out.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from plant import KINDS, LEVELS, Fault, render

from asd_lightning.detector.actions import enrol
from asd_lightning.live.journal import Journal

SECONDS = (1, 30, 300)
WINDOW = 5.0
# Of an alarm, or of what cannot be judged, after the fault's beginning, in s; later ones are told as late until GRACE
# after its end.
BAR, GRACE = 30.0, 60.0
SETTINGS = {
    "2 of 3 windows of 5 s (the default)": (),
    "1 of 1 (`--on 1/1`)": ("--on", "1/1"),
    "2 of 3, a window each 2.5 s (`--hop 2.5`)": ("--hop", "2.5"),
    "1 of 1, a window each 2.5 s": ("--on", "1/1", "--hop", "2.5"),
}


class Day(NamedTuple):
    """What is there: folders, detector, faults of the first input."""

    folder: Path
    hours: int
    inputs: int
    faults: tuple[Fault, ...]

    def command(self, name: str, inputs: int, *options: str) -> list[str]:
        """`asd watch` over some of the inputs."""
        words = [sys.executable, "-m", "asd_lightning.cli", "watch", str(self.folder / "pump.asd"), "--once"]
        words += [word for number in range(inputs) for word in ("--input", str(self.folder / f"in{number}"))]
        words += ["--false-alarms-a-day", "1", *options]
        return [*words, "--journal", str(self.folder / f"{name}.journal"), "-o", str(self.folder / f"{name}.jsonl")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Of a run."""
        return [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]


def main() -> None:
    """Render, enrol, watch, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=3)
    parser.add_argument("--settings", type=int, default=len(SETTINGS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/watch.md"))
    args = parser.parse_args()
    if args.folder is not None:
        write(args, args.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(args, Path(folder))


def write(args: argparse.Namespace, folder: Path) -> None:
    """Everything, with its tables."""
    day = Day(folder, args.hours, args.inputs, plan(args.hours))
    render(folder / "enrolled", "enrolled", range(0, 2880, 30))
    for number in range(args.inputs):
        render(folder / f"in{number}", f"day{number}", range(60 * args.hours), () if number else day.faults)
    if not (folder / "pump.asd").exists():
        enrol(folder / "enrolled", folder / "pump.asd", machine="pump", clip_seconds=WINDOW, sounds=0)
    whole = once(folder / "whole.json", lambda: uninterrupted(day))
    killed = once(folder / "killed.json", lambda: interrupted(day, args.kills)) if args.kills else None
    names = list(settings())[: args.settings]
    for name in names[1:]:
        once(folder / f"{name}.json", lambda name=name: shorter(day, name, settings()[name]))
    lines = [
        "# A day of `asd watch`",
        "",
        f"`python benchmarks/watch.py --hours {args.hours} --kills {args.kills} --inputs {args.inputs} "
        f"--settings {args.settings}`",
        "",
        "Seconds are from the fault's beginning to the end of the window that decides.",
        "",
        *table(day),
        "",
        *summary(day),
        "",
        *(trade(day, names) if len(names) > 1 else ()),
        "",
        *false_alarms(day),
        f"- {args.inputs} x {args.hours} h take {whole['cpu'] / 60:.1f} minutes of CPU time, "
        f"{args.inputs * args.hours * 3600 / whole['cpu']:.0f} times real time on one core.",
        *([] if killed is None else [kills(day, killed["kills"])]),
        f"- Resident memory with {args.inputs} inputs: {whole['first'][0]:.0f} to {whole['first'][1]:.0f} MB in the "
        f"first half of the day, {whole['second'][0]:.0f} to {whole['second'][1]:.0f} MB in the second.",
    ]
    args.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def kills(day: Day, count: int) -> str:
    """What they have done."""
    same = comparable(day.events("whole")) == comparable(day.events("killed"))
    return (
        f"- {count} kills (SIGKILL) at random moments: {len(day.events('killed'))} events, "
        f"{'equal to' if same else 'DIFFERENT FROM'} the uninterrupted day's, none lost and none twice."
    )


def once(path: Path, work: Any) -> dict[str, Any]:
    """The result of a stage, from its file where it was done before."""
    if not path.exists():
        path.write_text(json.dumps(work()))
        print(f"{path.stem}: done", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def plan(hours: int) -> tuple[Fault, ...]:
    """Each kind at each level and length once, evenly over the day."""
    wanted = [(kind, level, seconds) for seconds in SECONDS for kind in KINDS for level in LEVELS]
    gap = 3600 * hours // (len(wanted) + 1)
    if gap <= max(SECONDS) + GRACE:
        raise SystemExit(f"--hours {hours}: faults would overlap; at least 4 are needed")
    random.Random(0).shuffle(wanted)
    return tuple(Fault(*one[:2], gap * (place + 1) + 7, one[2]) for place, one in enumerate(wanted))


def settings() -> dict[str, tuple[str, ...]]:
    """Name of a run -> its options."""
    return {f"setting{number}" if number else "whole": options for number, options in enumerate(SETTINGS.values())}


def uninterrupted(day: Day) -> dict[str, Any]:
    """One day without interruption: CPU seconds, least and most resident memory of each half in MB."""
    for left in day.folder.glob("whole.j*"):
        left.unlink()
    before, process = sum(os.times()[2:4]), subprocess.Popen(day.command("whole", day.inputs))
    seen: list[float] = []
    while process.poll() is None:
        seen.append(_resident(process.pid))
        time.sleep(0.5)
    assert process.returncode == 0
    # The start, before anything is heard, is no part of the day.
    seen = [value for value in seen[20:] if value]
    half = len(seen) // 2
    return {
        "cpu": sum(os.times()[2:4]) - before,
        "first": (min(seen[:half]), max(seen[:half])),
        "second": (min(seen[half:]), max(seen[half:])),
    }


def interrupted(day: Day, kills: int) -> dict[str, Any]:
    """The same day, killed at random moments of its sound, each so long after the start that something was heard."""
    for left in day.folder.glob("killed.j*"):
        left.unlink()
    draw, done = random.Random(1), 0
    # By events of time alone a slow computer would be killed before it hears anything.
    places = sorted(draw.uniform(0.01, 0.99) * day.hours * 3600 for _ in range(kills))
    while True:
        process = subprocess.Popen(day.command("killed", day.inputs))
        while process.poll() is None:
            if done < kills and _heard(day.folder / "killed.journal") >= places[done]:
                time.sleep(draw.uniform(0, 0.5))
                process.kill()
                done += process.wait() != 0
                print(f"killed {done} of {kills}", file=sys.stderr, flush=True)
                break
            time.sleep(0.1)
        else:
            assert process.returncode == 0
            return {"kills": done}


def shorter(day: Day, name: str, options: Sequence[str]) -> dict[str, Any]:
    """The first two inputs with other options."""
    for left in day.folder.glob(f"{name}.j*"):
        left.unlink()
    subprocess.run(day.command(name, 2, *options), check=True)
    return {"options": list(options)}


def found(day: Day, name: str, fault: Fault) -> tuple[float, str] | None:
    """When and what is first told of a fault."""
    for event in day.events(name):
        if event["source"] == "in0" and event["kind"] in ("alarm", "cannot judge"):
            after = int(Path(event["file"]).stem) * 60 + event["offset"] + WINDOW - fault.start
            if 0 <= after <= fault.seconds + GRACE:
                return after, event["kind"]
    return None


def table(day: Day) -> Iterator[str]:
    """Found of each kind, level and length, and after how long."""
    yield "| fault | level | " + " | ".join(f"{seconds} s" for seconds in SECONDS) + " |"
    yield "|---|---|" + "---|" * len(SECONDS)
    for kind in KINDS:
        for level in LEVELS:
            own = [fault for fault in day.faults if (fault.kind, fault.level) == (kind, level)]
            told = [found(day, "whole", fault) for fault in sorted(own, key=lambda fault: fault.seconds)]
            cells = ["missed" if one is None else f"{one[1]} after {one[0]:.0f} s" for one in told]
            yield f"| {kind} | {level} | {' | '.join(cells)} |"


def summary(day: Day) -> Iterator[str]:
    """How many are told within the bar."""
    for level in LEVELS:
        for seconds in SECONDS:
            own = [fault for fault in day.faults if (fault.level, fault.seconds) == (level, seconds)]
            told = [found(day, "whole", fault) for fault in own]
            counts = [sum(one is not None and one[0] <= BAR and one[1] == kind for one in told) for kind in _TOLD]
            yield (
                f"- {level.capitalize()} faults of {seconds} s: {counts[0]} of {len(own)} raise an alarm within "
                f"{BAR:.0f} s, {counts[1]} are told as `cannot judge` within {BAR:.0f} s, "
                f"{sum(one is None for one in told)} are missed."
            )


_TOLD = ("alarm", "cannot judge")


def trade(day: Day, names: Sequence[str]) -> Iterator[str]:
    """What is found and what is false by setting, on the first input and the second."""
    heads = [f"{seconds} s, told within {BAR:.0f} s" for seconds in SECONDS]
    yield f"| an alarm needs | {' | '.join(heads)} | false alarms in {day.hours} h | warnings | cannot judge |"
    yield "|---|" + "---|" * (len(SECONDS) + 3)
    for words, name in zip(SETTINGS, names, strict=False):
        told = {fault: found(day, name, fault) for fault in day.faults}
        cells = []
        for seconds in SECONDS:
            own = [one for fault, one in told.items() if fault.seconds == seconds]
            cells.append(f"{sum(one is not None and one[0] <= BAR for one in own)} of {len(own)}")
        normal = [event["kind"] for event in day.events(name) if event["source"] == "in1"]
        cells += [str(normal.count(kind)) for kind in ("alarm", "warning", "cannot judge")]
        yield f"| {words} | {' | '.join(cells)} |"


def false_alarms(day: Day) -> Iterator[str]:
    """Alarms, warnings and the rest on the inputs without a fault."""
    normal = [event for event in day.events("whole") if event["source"] != "in0"]
    for kind in ("alarm", "warning", "cannot judge", "drift"):
        count = sum(event["kind"] == kind for event in normal)
        yield f"- `{kind}` on {(day.inputs - 1) * day.hours} hours without a fault: {count}."


def comparable(heard: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All but when the computer's clock said that an input was new, and the journal's mark, by input."""
    marked = ("id", "excerpt")
    told = [
        {name: value for name, value in event.items() if name not in marked}
        for event in heard
        if event["kind"] != "started"
    ]
    return sorted(told, key=lambda event: (event["source"], event["number"]))


def _heard(journal: Path) -> float:
    """Seconds of sound of the first input."""
    if not journal.exists():
        return 0.0
    kept = Journal(journal)
    place = kept.place("in0")
    kept.close()
    return 0.0 if place is None else place.position


def _resident(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    main()
