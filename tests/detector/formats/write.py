"""Writes a detector in this version's format, and its judgements of some sounds, beside this file.

    python -m tests.detector.formats.write

What is there stays: a file of an earlier version cannot be made again.  The sounds are made of whole numbers, so that
every version of NumPy makes the same.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from asd_lightning.detector.detector import Detector
from asd_lightning.detector.file import FORMAT

HERE = Path(__file__).parent
RATE = 16_000


def noise(seed: int) -> np.ndarray:
    """Half a second of uniform noise in [-1, 1): splitmix64."""
    mixed = (np.arange(RATE // 2, dtype=np.uint64) + np.uint64(1 + seed * RATE)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def sound(seed: int, period: int = 100, whine: bool = False) -> np.ndarray:
    """A saw-tooth of ``period`` samples in noise, with another of 6 samples where the machine whines."""
    places = np.arange(RATE // 2)
    made = 0.2 * (places % period) / period + 0.02 * (1 + seed % 3) * noise(seed)
    return (made + (0.1 * (places % 6 - 2.5) / 6 if whine else 0)).astype(np.float32) - np.float32(0.1)


def off(seed: int) -> np.ndarray:
    """The machine does not run."""
    return (0.001 * noise(seed)).astype(np.float32)


def queries(written: int) -> list[np.ndarray]:
    """Normal, whining, and silent; from format 2 on of another speed too, and off."""
    made = [sound(100), sound(101), sound(102, whine=True), np.zeros(RATE // 2, np.float32)]
    return made if written == 1 else [*made, sound(103, 40), sound(104, 40, whine=True), off(105)]


def told(detector: Detector, written: int) -> list[dict[str, str]]:
    """What is compared between versions, of a detector of some format."""
    names = ("score", "threshold", "decision", "p_value", "state")
    return [{name: str(getattr(one, name)) for name in names} for one in detector.judge(queries(written))]


def main() -> None:
    """Write both files, unless they are there."""
    target = HERE / f"format_{FORMAT}.asd"
    if target.exists():
        raise SystemExit(f"{target}: is there already")
    normal = {"slow": [sound(seed) for seed in range(4)], "fast": [sound(seed, 40) for seed in range(10, 14)]}
    normal["off"] = [off(20), off(21)]
    waveforms, filed = zip(*((one, name) for name, own in normal.items() for one in own), strict=True)
    detector = Detector(clip_seconds=0.5, sounds=0).fit(waveforms, filed=filed)
    detector.save(target)
    target.with_suffix(".json").write_text(json.dumps(told(detector, FORMAT), indent=1) + "\n")


if __name__ == "__main__":
    main()
