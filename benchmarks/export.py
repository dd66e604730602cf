"""Exports beside their detectors: difference, speed, size and memory, 1, 5 and 32 windows at a time.

    OMP_NUM_THREADS=1 ASD_CACHE=CACHE python benchmarks/export.py
    OMP_NUM_THREADS=1 python benchmarks/export.py --systems beats_frozen system1 system4

``CACHE`` holds mn04's weights (``asd weights fetch mn04_as``); all other weights are random, of the published sizes.
Each system is scored by two processes in turns, one with torch and this package, one with onnxruntime and numpy alone,
on one thread: CPU seconds, user and system, since a busy machine stretches every other time, and the peak of resident
memory after each batch.  Rows are added to ``export.json``, from which ``export.md`` is written, both beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from folders import REPOSITORY

from asd_lightning.api import export
from asd_lightning.atomic import write_text_atomically
from asd_lightning.configuration import compose_train, hydra_as_before, plain
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector import detector as detectors
from asd_lightning.detector.constructors import embedder_spec, spec_of
from asd_lightning.detector.defaults import Preset
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.hearing import Hearing
from asd_lightning.tables import Row, Table, markdown_lines

RATE, BATCHES = 16_000, (1, 5, 32)
JSON, PAGE = (REPOSITORY / "benchmarks" / f"export.{end}" for end in ("json", "md"))


class System(NamedTuple):
    """What is exported, of how many recordings, and on how many windows it is compared."""

    overrides: tuple[str, ...] = ()
    seconds: float = 10.0
    recordings: int = 40
    windows: int = 100
    alone: int = 100
    """Of the windows, how many are scored 1 and 5 at a time too."""


SYSTEMS = {
    "statistics": System(),
    "mn04": System(),
    "fft": System(),
    "system1": System(("encoders=random",), seconds=2.0, recordings=12, windows=32, alone=5),
    "system4": System(("encoders=random",), seconds=2.0, recordings=12, windows=32, alone=5),
    "beats_frozen": System(("encoders=random",), seconds=2.0, recordings=12, windows=32, alone=5),
}

_TORCH = """
import torch
from asd_lightning.detector.detector import Detector
from asd_lightning.exporting.export import exact_scores
torch.set_num_threads(1)
detector = Detector.load(sys.argv[1])
score = exact_scores(detector.machines_["pump"], detector.hearing_)
"""
_ONNX = """
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])
def score(windows):
    return session.run(None, {"waveform": windows})[0]
"""
_MEASURE = """
windows = np.load(sys.argv[3])
score(windows[:1])
found = {}
limit, *sizes = map(int, sys.argv[4:])
for size in sizes:
    begun = time.process_time()
    heard = windows[: limit if size < 32 else None]
    scores = np.concatenate([score(heard[first : first + size]) for first in range(0, len(heard), size)])
    seconds = (time.process_time() - begun) / len(heard)
    # Not what getrusage says, which a process has from the one that started it.
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
    found[size] = [seconds, peak / 1024, scores.tolist()]
print(json.dumps(found))
"""


def recording(seed: int, seconds: float) -> np.ndarray:
    """A hum of some pitch in noise of some level, now and then with a whine."""
    draw = np.random.default_rng(seed)
    now = np.arange(round(seconds * RATE)) / RATE
    pitch = draw.uniform(110, 130)
    hum = sum(np.sin(2 * np.pi * pitch * k * now + draw.uniform(0, 6)) / k for k in range(1, 6))
    whine = draw.uniform(0, 0.02) * np.sin(2 * np.pi * draw.uniform(1000, 5000) * now) * (draw.uniform() < 0.3)
    noise = draw.uniform(0.3, 0.7) * draw.normal(size=len(now))
    return np.asarray(0.05 * draw.uniform(0.5, 2) * (hum + noise) + whine, np.float32)


def enrolled(name: str, system: System) -> Detector:
    """A detector of made recordings by the system's own preset."""
    with hydra_as_before():
        config = plain(compose_train([f"experiment={name}", f"data.clip_seconds={system.seconds}", *system.overrides]))
    torch.manual_seed(0)
    model = config["model"]
    head = model["loss"].get("head", "joint") if model["score_after_head"] else "none"
    hearing = Hearing(Preprocessing.of_options(config["data"]), embedder_spec(model["embedder"], head))
    made = Preset(hearing.with_weights(hearing.model, True, {}), spec_of(model["scorer"]))
    detectors.preset = lambda *_: made  # type: ignore[assignment]
    detector = Detector(machine="pump", sounds=0, states="none")
    return detector.fit([recording(seed, system.seconds) for seed in range(system.recordings)])


def measured(name: str, system: System) -> dict[str, Any]:
    """One row: everything of a system."""
    with tempfile.TemporaryDirectory() as place:
        asd, onnx, sound = (Path(place) / f"pump.{end}" for end in ("asd", "onnx", "npy"))
        detector = enrolled(name, system)
        detector.save(asd)
        np.save(sound, np.stack([recording(1000 + number, system.seconds) for number in range(system.windows)]))
        made = export(asd, onnx)
        found = [_process(code, system.alone, asd, onnx, sound) for code in (_TORCH, _ONNX)]
        normal = detector.machines_["pump"].normal.scores
        size = onnx.stat().st_size / 1e6
    return {
        "seconds": system.seconds,
        "windows": system.windows,
        "back_end": made.metadata["back_end"],
        "megabytes": size,
        "checked": made.difference,
        "batches": {size: _compared(*(one[size] for one in found), normal) for size in map(str, BATCHES)},
        "decisions": _same_decisions(detector, *found),
    }


def _process(code: str, alone: int, *paths: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", f"import json, sys, time\nimport numpy as np\n{code}{_MEASURE}"]
    done = subprocess.run([*command, *map(str, (*paths, alone, *BATCHES))], check=True, capture_output=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _compared(torch_s: list[Any], onnx_s: list[Any], normal: np.ndarray) -> dict[str, float]:
    apart = np.abs(np.array(torch_s[2]) - np.array(onnx_s[2])).max() / normal.std()
    return {
        "difference": float(apart),
        "speed": torch_s[0] / onnx_s[0],
        "torch_megabytes": torch_s[1],
        "onnx_megabytes": onnx_s[1],
    }


def _same_decisions(detector: Detector, *found: dict[str, Any]) -> bool:
    machine = detector.machines_["pump"]
    told = [[machine.decision(score) for score in one[str(size)][2]] for one in found for size in BATCHES]
    return all(one == told[-1][: len(one)] for one in told)


def page(rows: dict[str, Any]) -> str:
    """The rows as Markdown."""
    columns = (
        *("system", "window", "back-end", "at a time", "difference / spread", "same decisions"),
        *("speed against torch", "file, MB", "memory, MB", "with torch, MB"),
    )
    cells = [
        Row(
            (
                *(name, f"{one['seconds']:g} s", one["back_end"], size, f"{own['difference']:.1e}"),
                *("yes" if one["decisions"] else "no", f"{own['speed']:.2f}", f"{one['megabytes']:.1f}"),
                *(f"{own['onnx_megabytes']:.0f}", f"{own['torch_megabytes']:.0f}"),
            )
        )
        for name, one in rows.items()
        for size, own in one["batches"].items()
    ]
    lines = [
        "# Exports beside their detectors",
        "",
        "`OMP_NUM_THREADS=1 python benchmarks/export.py` (see there for the weights)",
        "",
        "Difference: the largest of the scores of 100 windows (of systems 1 and 4 and BEATs 5, 5 and 32), in standard "
        "deviations of normal sound's left-out scores. Speed: CPU seconds of the detector over those of onnxruntime, "
        "one thread each, in turns in one run; above 1 the export is faster. Memory: peak of a process that does "
        "nothing else, after the smaller batches.",
        "",
        *markdown_lines(Table("", columns, tuple(cells), words=6)),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    torch.set_num_threads(1)
    for name in parser.parse_args().systems:
        row = measured(name, SYSTEMS[name])
        rows = json.loads(JSON.read_text()) if JSON.exists() else {}
        rows = {each: row if each == name else rows[each] for each in SYSTEMS if each == name or each in rows}
        write_text_atomically(JSON, json.dumps(rows, indent=1) + "\n")
        write_text_atomically(PAGE, page(rows))
        print(name, json.dumps(row))


if __name__ == "__main__":
    main()
