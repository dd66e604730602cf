"""How often is drift found, and how often where there is none?  Simulated machines, into ``benchmarks/drift.md``.

python benchmarks/drift.py
"""

from __future__ import annotations

import math

import numpy as np
from folders import REPOSITORY
from rich.progress import track

from asd_lightning.atomic import write_text_atomically
from asd_lightning.detector.drift import WITHIN, DriftState, DriftTest, Sides
from asd_lightning.tables import Row, Table, markdown_lines, percent

KINDS = ((9, 4, 0.5), (9, 17, 0.7), (40, 10, 0.3), (30, 1, 0.0))
ENROLMENTS, RUNS, CLIPS = 50, 10, 200
DRAWS = {"up": "gamma, skewness 1", "both": "normal"}


def machine(rng: np.random.Generator, sides: Sides, recordings: int, clips: int, between: float) -> np.ndarray:
    """Values of variance 1, of which recordings have the share ``between``."""

    def draw(*shape: int) -> np.ndarray:
        return (rng.gamma(4.0, size=shape) - 4) / 2 if sides == "up" else rng.normal(size=shape)

    return draw(recordings, 1) * math.sqrt(between) + draw(recordings, clips) * math.sqrt(1 - between)


def drifted(test: DriftTest, values: np.ndarray) -> bool:
    state = DriftState()
    for value in values:
        state = test.update(state, float(value))
    return state.drifted_at > 0


def row(rng: np.random.Generator, sides: Sides, kind: tuple[int, int, float]) -> Row:
    recordings, clips, between = kind
    early, late, smallest = [], [], []
    for _ in range(ENROLMENTS):
        values = machine(rng, sides, *kind)
        test = DriftTest.fit(values.ravel(), np.repeat(np.arange(recordings), clips), sides, CLIPS)
        smallest.append(test.smallest)
        for _ in range(RUNS):
            new = machine(rng, sides, math.ceil(CLIPS / clips), clips, between).ravel()[:CLIPS]
            early.append(drifted(test, new))
            late.append(drifted(test, new[:WITHIN] + test.smallest))
    # Runs of one enrolment are alike.
    error = np.reshape(early, (ENROLMENTS, RUNS)).mean(axis=1).std(ddof=1) / math.sqrt(ENROLMENTS)
    told = f"{percent(float(np.mean(early)))} ± {percent(float(error))}"
    cells = (f"{recordings} x {clips}, {between}", f"{np.median(smallest):.1f}", told, percent(float(np.mean(late))))
    return Row((f"{sides}: {DRAWS[sides]}", *cells))


def main() -> None:
    rng = np.random.default_rng(0)
    sides: tuple[Sides, ...] = ("up", "both")
    rows = [row(rng, side, kind) for side in sides for kind in track(KINDS, f"sides={side}")]
    table = Table(
        "Drift",
        (
            *("sides: values", "recordings x clips, share of variance between", "smallest drift"),
            *(f"called drifted in {CLIPS} clips without drift", f"smallest drift found in {WITHIN} clips"),
        ),
        tuple(rows),
        words=2,
    )
    lines = [
        "# Drift that is found, and drift that is not there",
        "",
        f"{ENROLMENTS} simulated enrolments a row, {RUNS} runs each; per cent, with the standard error over enrolments."
        " The smallest drift is the median over enrolments, in standard deviations of a clip of a new recording.",
        "",
        *markdown_lines(table),
    ]
    write_text_atomically(REPOSITORY / "benchmarks" / "drift.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
