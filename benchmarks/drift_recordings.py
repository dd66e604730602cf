"""How `asd score` tells drift of whole recordings: made pumps, from waveform to sentence.

    python benchmarks/drift_recordings.py

Ten detectors of 30 clips of a hum with noise, five runs each of 40 further normal clips, and of 20 of those followed by
20 whose noise is 25 % louder in power.  Writes `benchmarks/drift_recordings.md`.
"""

from __future__ import annotations

import re

import numpy as np
from folders import REPOSITORY
from rich.progress import track

from asd_lightning import Detector
from asd_lightning.atomic import write_text_atomically
from asd_lightning.live.over_recordings import drift_note

RATE = 16_000
DETECTORS, RUNS, NORMAL, CLIPS, BEFORE = 10, 5, 30, 40, 20
NOISE, MORE = 0.025, 0.0125


def hum(seed: int, more: float = 0.0) -> np.ndarray:
    """One second of a hum at 120 Hz with noise, somewhat different each time; ``more`` noise on top."""
    draw = np.random.default_rng(seed)
    time = np.arange(RATE) / RATE
    tones = sum(np.sin(2 * np.pi * 120 * k * time + draw.uniform(0, 6)) / k for k in range(1, 6))
    clip = draw.uniform(0.9, 1.1) * (0.05 * tones + NOISE * draw.normal(size=RATE))
    return (clip + more * draw.normal(size=RATE)).astype(np.float32)


def main() -> None:
    """Enrol, judge, count."""
    without, found = 0, []
    for number in track(range(DETECTORS), "detectors"):
        seeds = iter(range(100_000 * number, 100_000 * (number + 1)))
        detector = Detector(clip_seconds=1.0, sounds=0).fit([hum(next(seeds)) for _ in range(NORMAL)])
        machine = detector.machines_["machine"]
        for _ in range(RUNS):
            normal = detector.judge([hum(next(seeds)) for _ in range(CLIPS)])
            drifted = detector.judge([hum(next(seeds), MORE) for _ in range(CLIPS - BEFORE)])
            without += bool(drift_note(machine, normal, (), 1.0))
            note = re.search(r"by number (\d+)", drift_note(machine, [*normal[:BEFORE], *drifted], (), 1.0))
            found.append(int(note[1]) - BEFORE if note else CLIPS)
    runs = DETECTORS * RUNS
    late = sum(place > BEFORE for place in found)
    lines = [
        "# Drift of whole recordings, as `asd score` tells it",
        "",
        "    python benchmarks/drift_recordings.py",
        "",
        f"{DETECTORS} detectors of {NORMAL} clips, {RUNS} runs of {CLIPS} clips each.",
        "",
        f"- without drift: told in {without} of {runs} runs",
        f"- noise 25 % louder in power from clip {BEFORE + 1} on: told in {runs - late} of {runs} runs, by the drifted "
        f"clip number {int(np.median(found))} in the median, {max(found)} at the latest",
    ]
    write_text_atomically(REPOSITORY / "benchmarks/drift_recordings.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
