"""What a detector costs: a cold `asd score`, warm listening, a file of a thousand machines, and enrolling an hour.

    OMP_NUM_THREADS=1 python benchmarks/detector_speed.py

CPU seconds, user and system, since a busy machine stretches every other time; of processes the best of five, in turns
with the one that they are compared with.  Weights are random, which changes no time.  Writes ``detector_speed.md``
beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from folders import REPOSITORY
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from asd_lightning.atomic import write_text_atomically
from asd_lightning.configuration import compose_train, hydra_as_before, plain
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector.constructors import embedder_spec
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.enrolment import look
from asd_lightning.detector.hearing import Hearing, Sound
from asd_lightning.tables import Row, Table, markdown_lines

RATE, SECONDS = 16_000, 10
MANY = 1000
EXPERIMENTS = {"statistics": 30, "mn04": 6, "beats_frozen": 2}
"""Experiment -> clips heard."""

_SCORE_ONE = """
import json, resource, sys, time
from asd_lightning.detector.detector import Detector
import torch
begun, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
detector = Detector.load(sys.argv[1])
loaded = time.process_time()
detector.judge(sys.argv[2], "pump7")
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([loaded - begun, time.process_time() - loaded, (after - before) / 1024]))
"""


def clip(seed: int, seconds: float = SECONDS) -> np.ndarray:
    """A hum in noise."""
    draw = np.random.default_rng(seed)
    now = np.arange(round(seconds * RATE)) / RATE
    hum = sum(np.sin(2 * np.pi * 120 * k * now + draw.uniform(0, 6)) / k for k in range(1, 6))
    return np.asarray(0.05 * draw.uniform(0.9, 1.1) * (hum + 0.5 * draw.normal(size=len(now))), np.float32)


def cpu_of(command: list[str]) -> float:
    """CPU seconds of a process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cold(detector: Path, recording: Path) -> tuple[float, float, float]:
    """`import torch`, the same without looking for garbage at exit, and `asd score`: best of five in turns."""
    commands = (
        [sys.executable, "-c", "import torch"],
        [sys.executable, "-c", "import atexit, gc, torch; atexit.register(gc.freeze)"],
        [sys.executable, "-m", "asd_lightning.cli", "score", str(detector), str(recording)],
    )
    times = [[cpu_of(command) for command in commands] for _ in range(6)][1:]
    torch_alone, torch_left, score = np.min(times, axis=0).tolist()
    return torch_alone, torch_left, score


def hearing_of(experiment: str) -> Hearing:
    """As `asd enrol --embedder` hears, with random weights."""
    overrides = [f"experiment={experiment}", f"data.clip_seconds={SECONDS}"]
    if experiment != "statistics":
        overrides.append(f"encoders.{experiment.partition('_')[0]}.weights=random")
    with hydra_as_before():
        config = plain(compose_train(overrides, Path()))
    model, data = config["model"], config["data"]
    head = model["loss"].get("head", "joint") if model["score_after_head"] else "none"
    return Hearing(Preprocessing.of_options(data), embedder_spec(model["embedder"], head), model["recording_score"])


def warm(experiment: str) -> float:
    """Seconds of sound in a CPU second, once the embedder is built; best of two."""
    hearing, clips = hearing_of(experiment), EXPERIMENTS[experiment]
    sounds = [one for number in range(clips) for one in _sounds(hearing, number)]
    hearing.embed(sounds[:2], look)
    best = np.inf
    for _ in range(2):
        begun = time.process_time()
        hearing.embed(sounds, look)
        best = min(best, time.process_time() - begun)
    return clips * SECONDS / best


def _sounds(hearing: Hearing, number: int) -> list[Sound]:
    from asd_lightning.data.recordings import clips_of

    named = clips_of([Path(f"{number}.wav")], "pump")[0]
    return hearing.pieces_of_waveform(clip(number), named)


def thousand(detector: Detector, folder: Path, recording: Path) -> dict[str, Any]:
    """A file of a thousand machines, and one of them scored in a process of its own; likewise of a single machine."""
    machine = detector.machines_["pump7"]
    one = detector.save(folder / "one.asd")
    for number in range(MANY):
        detector.with_machine(dataclasses.replace(machine, name=f"pump{number}"))
    many = detector.save(folder / "many.asd")
    found: dict[str, Any] = {}
    for name, path in (("one", one), ("many", many)):
        command = [sys.executable, "-c", _SCORE_ONE, str(path), str(recording)]
        told = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(3)]
        found[name] = [*np.min(told, axis=0).tolist(), path.stat().st_size / 1e6]
    return found


def hour() -> tuple[float, Detector]:
    """CPU seconds of enrolling 60 recordings of a minute."""
    waveforms = [clip(seed, 60.0) for seed in range(60)]
    detector = Detector(clip_seconds=float(SECONDS), machine="hour", sounds=0)
    begun = time.process_time()
    detector.fit(waveforms)
    return time.process_time() - begun, detector


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        recording = folder / "one.wav"
        soundfile.write(recording, clip(1000), RATE, subtype="PCM_16")
        detector = Detector(clip_seconds=float(SECONDS), machine="pump7", sounds=0)
        detector.fit([clip(seed) for seed in range(30)])
        torch_alone, torch_left, score = cold(detector.save(folder / "pump.asd"), recording)
        files = thousand(detector, folder, recording)
        rates = {experiment: warm(experiment) for experiment in EXPERIMENTS}
        enrolled = hour()[0]
    rows = [
        ("import torch, cold", f"{torch_alone:.2f} s"),
        ("import torch, cold, leaving without a look for garbage", f"{torch_left:.2f} s"),
        ("asd score of one recording, cold: it leaves likewise", f"{score:.2f} s"),
        ("... as a ratio to import torch, and beyond it", f"{score / torch_alone:.2f}, {score - torch_alone:+.2f} s"),
        ("... likewise to import torch that leaves so", f"{score / torch_left:.2f}, {score - torch_left:+.2f} s"),
        *(
            (f"experiment={name}, warm: seconds of sound in a CPU second, one thread", f"{rate:.0f}")
            for name, rate in rates.items()
        ),
        *(
            (f"a file of {count}: load, score one recording", f"{loaded:.2f} s, {scored:.2f} s")
            for count, (loaded, scored, _, _) in zip(("one machine", f"{MANY:,} machines"), files.values(), strict=True)
        ),
        *(
            (f"a file of {count}: memory for that, size", f"{memory:.0f} MB, {size:.2f} MB")
            for count, (_, _, memory, size) in zip(("one machine", f"{MANY:,} machines"), files.values(), strict=True)
        ),
        ("enrolling an hour (60 recordings of a minute, statistics)", f"{enrolled:.1f} s"),
    ]
    lines = [
        "# What a detector costs",
        "",
        "`OMP_NUM_THREADS=1 python benchmarks/detector_speed.py`",
        "",
        "CPU seconds, user and system. 30 clips of 10 s are in each machine's bank. Memory is what loading and scoring "
        "add to the process's peak, which its imports have set.",
        "",
        "A process that has imported torch looks through all its objects for cyclic garbage when it leaves. `asd` does "
        "not, except of training, and so a whole `asd score` may cost less than `import torch` alone.",
        "",
        *markdown_lines(Table("", ("what", "how much"), tuple(Row(row) for row in rows), words=2)),
    ]
    write_text_atomically(REPOSITORY / "benchmarks" / "detector_speed.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
