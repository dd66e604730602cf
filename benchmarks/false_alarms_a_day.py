"""What `--false-alarms-a-day` finds from an hour to three days of normal sound, and what comes on other days.

    python benchmarks/false_alarms_a_day.py [--days 2] [--hours 72] [--folder DIR] [--output FILE]

The pump of `plant` at 4 kHz with windows of 10 s, statistics and the default back-end; every recording is a minute.
Days of other seeds are new: their alarms are counted by the logic that `asd watch` runs.  With ``--folder`` embeddings
stay, and the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from plant import sound
from scipy import stats

from asd_lightning.data.layout import Clip
from asd_lightning.detector.bank import Bank, Item
from asd_lightning.detector.defaults import Preset, preset
from asd_lightning.detector.hearing import Hearing, Sound
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.promise import promise
from asd_lightning.detector.thresholds import fit_bank
from asd_lightning.live.false_alarms import FalseAlarms, false_alarms, level_for
from asd_lightning.live.levels import left_out_windows, levels_of
from asd_lightning.live.logic import Options

RATE, SECONDS = 4000, 10.0
WINDOWS = round(60 / SECONDS)
BLOCK = 60
AIM = 1.0
AMOUNTS = {
    "1 h in one piece": range(60),
    "1 h, a minute of each 24 in a day": range(0, 1440, 24),
    "8 h, a minute of each 3 in a day": range(0, 1440, 3),
    "24 h": range(1440),
    "72 h": range(4320),
}


def main() -> None:
    """Embed, enrol, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=2, help="of new sound")
    parser.add_argument("--hours", type=int, default=72, help="of the largest amount that is enrolled")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/false_alarms_a_day.md"))
    args = parser.parse_args()
    if args.folder is not None:
        write(args, args.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write(args, Path(folder))


def write(args: argparse.Namespace, folder: Path) -> None:
    """The table."""
    amounts = {words: minutes for words, minutes in AMOUNTS.items() if max(minutes) < 60 * args.hours}
    last = 1 + max(max(minutes) for minutes in amounts.values())
    new = [embedded(folder, f"new{number}", 1440, args.workers) for number in range(args.days)]
    enrolled = embedded(folder, "enrolled", math.ceil(last / BLOCK) * BLOCK, args.workers)
    lines = [
        "# False alarms a day: promised and measured",
        "",
        f"`python benchmarks/false_alarms_a_day.py --days {args.days} --hours {args.hours}`",
        "",
        f"Aim: `--false-alarms-a-day {AIM:g}`. Bounds are upper ends of one-sided 90 % intervals for a Poisson count.",
        "",
        *table(amounts, enrolled, new),
    ]
    args.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def table(amounts: dict[str, range], enrolled: np.ndarray, new: Sequence[np.ndarray]) -> Iterator[str]:
    """A row for each amount of normal sound."""
    yield (
        "| enrolled | level | left-out sound | false alarms in it | a day, at most | "
        f"measured on {24 * len(new)} h of other days | a day, at most | warnings |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for words, minutes in amounts.items():
        machine = enrol(enrolled, minutes)
        scores, _, ends = left_out_windows(machine, SECONDS)
        found = level_for(AIM, scores, ends, levels_of(machine), Options())
        alarms, warnings, hours = measured(machine, found, new)
        most = stats.chi2.ppf(0.9, 2 * (alarms + 1)) / 2 / hours * 24
        yield (
            f"| {words} | {found.level:.3g} | {found.hours:.1f} h | {found.count} | {found.bound:.2g} | "
            f"{alarms} | {most:.2g} | {warnings} |"
        )


def measured(machine: Machine, found: FalseAlarms, new: Sequence[np.ndarray]) -> tuple[int, int, float]:
    """Alarms and warnings on days that nobody has enrolled, and their hours."""
    levels, alarms, warnings, hours = levels_of(machine, found.level), 0, 0, 0.0
    for embeddings in new:
        scores = machine.anomaly_score(embeddings.reshape(-1, embeddings.shape[-1]))
        told = false_alarms(scores, SECONDS * np.arange(1, len(scores) + 1), levels, Options())
        alarms, hours = alarms + told.count, hours + told.hours
        warnings += int((scores > levels.warning).sum())
    return alarms, warnings, hours


def enrol(embeddings: np.ndarray, minutes: Sequence[int]) -> Machine:
    """A machine of some minutes, each a recording."""
    chosen = np.array(minutes)
    items = tuple(
        Item(f"{minute:04d}", f"{minute:04d}", SECONDS * number, SECONDS, "", "source", "bank", 0)
        for minute in minutes
        for number in range(WINDOWS)
    )
    bank = Bank(items, embeddings[chosen].reshape(-1, embeddings.shape[-1]))
    made = ears()
    fitted = fit_bank(bank, made.maker, "max")
    normal = fitted.normal()
    promised = promise(normal, normal.smallest_rate)
    return Machine("pump", bank, made.maker, fitted.scorer, normal, promised, None, None, ())


@cache
def ears() -> Preset:
    """Statistics at the rate of this sound, with the back-end that suits them."""
    made = preset("statistics", SECONDS)
    hearing = Hearing(
        made.hearing.preprocessing.__class__(sample_rate=RATE, clip_seconds=SECONDS), made.hearing.embedder
    )
    return Preset(hearing, made.maker)


def embedded(folder: Path, day: str, minutes: int, workers: int) -> np.ndarray:
    """Shape (minutes, windows of a minute, dimensions); hours that are in the folder stay."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = [folder / f"{day}-{first:04d}.npy" for first in range(0, minutes, BLOCK)]
    with ProcessPoolExecutor(workers) as pool:
        for done in [pool.submit(_embed, path, day) for path in blocks if not path.exists()]:
            done.result()
    return np.concatenate([np.load(path) for path in blocks])


def _embed(path: Path, day: str) -> None:
    first = int(path.stem.rpartition("-")[2])
    hearing, length = ears().hearing, round(SECONDS * RATE)
    waveforms = np.concatenate([sound(first + minute, day, rate=RATE).reshape(-1, length) for minute in range(BLOCK)])
    clip = Clip(path=path, machine="pump", name="", split="train", domain="source", condition="normal")
    heard = hearing.embed([Sound(clip, waveform) for waveform in waveforms], lambda *_: None)
    half = path.with_suffix(".part")
    with half.open("wb") as file:
        np.save(file, heard.embeddings.reshape(BLOCK, WINDOWS, -1))
    half.rename(path)


if __name__ == "__main__":
    main()
