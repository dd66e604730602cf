"""The README's picture: five minutes of a synthetic pump whose bearing begins to fail in the third.

    python benchmarks/timeline.py [--output docs/timeline.svg]

Eight minutes of the pump at different loads are enrolled, and the five are scored and drawn as `asd score --plot` does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import soundfile
from folders import REPOSITORY

from asd_lightning.detector.actions import enrol, score
from asd_lightning.detector.timeline import plot_timelines

RATE = 16_000
NORMAL, NORMAL_SECONDS = 24, 20.0
SECONDS, FAULT, WORST = 300.0, 150.0, 0.35


def pump(seed: int, seconds: float) -> np.ndarray:
    """Harmonics of the shaft, a load that wanders slowly, and the hiss of the flow."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * (49.5 + 0.5 * draw.uniform(-1, 1)) * time
    wander = np.interp(time, np.linspace(0, seconds, 12), draw.uniform(0.8, 1.2, 12))
    tones = sum(np.sin(k * phase + draw.uniform(0, 6)) / k for k in range(1, 12))
    hiss = np.convolve(draw.normal(size=len(time) + 4), (0.1, 0.2, 0.4, 0.2, 0.1), "valid")
    return 0.05 * wander * (tones + draw.uniform(0.8, 1.2) * hiss)


def bearing(seed: int, seconds: float) -> np.ndarray:
    """An outer race: 107 impacts per second, each ringing at 3.4 kHz, from ``FAULT`` on stronger and stronger."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    since = (time * 107.0) % 1.0 / 107.0
    strength = np.clip((time - FAULT) / (seconds - FAULT), 0.0, 1.0)
    return 0.05 * WORST * strength * np.exp(-since / 0.002) * np.sin(2 * np.pi * 3400 * since + draw.uniform(0, 6))


def main() -> None:
    """Render, enrol, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "timeline.svg")
    args = parser.parse_args()
    # The same file every time.
    mpl.rcParams["svg.hashsalt"] = "timeline"
    with tempfile.TemporaryDirectory() as folder:
        normal, today = Path(folder) / "pump/normal", Path(folder) / "today.wav"
        normal.mkdir(parents=True)
        for number in range(NORMAL):
            soundfile.write(normal / f"{number:02}.wav", pump(number, NORMAL_SECONDS), RATE)
        soundfile.write(today, pump(1000, SECONDS) + bearing(1000, SECONDS), RATE)
        detector = enrol(normal, Path(folder) / "pump.asd", false_alarms=0.1, sounds=0)
        judgments = score(Path(folder) / "pump.asd", today)
        plot_timelines(judgments, {"pump": detector.machines_["pump"].promise.alarm}, args.output)
    print(f"{args.output}: {args.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
