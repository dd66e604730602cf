"""Which faults of a sensor are found, and are faults of machines taken for them?  Into ``benchmarks/sensor_faults.md``.

Plants faults of the sensor into the normal test clips of the machines in a folder (DCASE layout):

    python benchmarks/sensor_faults.py --machines MACHINES
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from folders import REPOSITORY
from rich.progress import track
from scipy.signal import resample_poly

from asd_lightning.atomic import write_text_atomically
from asd_lightning.detector.health import SensorReference
from asd_lightning.tables import Row, Table, markdown_lines


def stored(waveform: np.ndarray) -> np.ndarray:
    """As 16 bits keep it."""
    return np.round(np.clip(waveform, -1, 1 - 2**-15) * 2**15) / 2**15


def gain(decibels: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda waveform: stored(10 ** (decibels / 20) * waveform)


def rate(up: int, down: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda waveform: stored(resample_poly(resample_poly(waveform, up, down), down, up))


def looped(samples: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda waveform: np.tile(waveform[:samples], len(waveform) // samples + 1)[: len(waveform)]


def standing(samples: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda waveform: np.concatenate([waveform[:9000], np.full(samples, value), waveform[9000 + samples :]])


PLANTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "silence": lambda waveform: 0 * waveform,
    "gain - 25 dB": gain(-25),
    "gain - 30 dB": gain(-30),
    "gain - 40 dB": gain(-40),
    "gain + 25 dB": gain(25),
    "gain + 30 dB": gain(30),
    "gain + 40 dB": gain(40),
    "a tenth of the samples clipped": lambda waveform: np.clip(waveform, *np.quantile(waveform, (0.05, 0.95))),
    "offset of 0.02": lambda waveform: waveform + 0.02,
    "offset of 0.1": lambda waveform: waveform + 0.1,
    "at 3/4 of the sampling rate": rate(3, 4),
    "at half of it": rate(1, 2),
    "at a quarter": rate(1, 4),
    "a loop of 1,600 samples": looped(1600),
    "a loop of 16,000 samples": looped(16_000),
    "320 samples lost": standing(320, 0.0),
    "100 samples held": standing(100, 0.001),
}


def column(machine: Path) -> tuple[list[str], list[str]]:
    """Cells: planted faults found, and clips that cannot be judged as they are."""
    train, test = (sorted(machine.glob(f"{part}/*.wav")) for part in ("train", "test"))
    reference = SensorReference.fit((soundfile.read(path)[0] for path in train), soundfile.info(train[0]).samplerate)
    clips = [(path, soundfile.read(path)[0]) for path in test]
    normal = [waveform for path, waveform in clips if "_normal_" in path.name]
    faulty = [waveform for path, waveform in clips if "_anomaly_" in path.name]
    found = [
        f"{sum(bool(reference.reasons(plant(waveform))) for waveform in normal)} of {len(normal)}"
        for plant in track(PLANTED.values(), machine.name)
    ]
    refused = [f"{sum(bool(reference.reasons(one)) for one in kind)} of {len(kind)}" for kind in (normal, faulty)]
    return found, refused


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=Path, required=True, help="folder of machines in DCASE layout")
    machines = sorted(path.parent for path in parser.parse_args().machines.glob("*/train"))
    columns = [column(machine) for machine in machines]
    names = ("as they are: normal clips", "as they are: clips of faulty machines", *PLANTED)
    rows = [
        Row((name, *cells))
        for name, *cells in zip(names, *(refused + found for found, refused in columns), strict=True)
    ]
    table = Table("Sensor", ("clips", *(machine.name for machine in machines)), tuple(rows))
    lines = [
        "# Sensors that cannot be believed",
        "",
        "Test clips of which the detector says that it cannot judge: none should be as they are, and all with a planted"
        " fault of the sensor (in normal clips).",
        "",
        *markdown_lines(table),
    ]
    write_text_atomically(REPOSITORY / "benchmarks" / "sensor_faults.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
