"""Two checkouts of this package on the same trainings: what a change of structure must leave equal to the last bit.

    python benchmarks/side_by_side.py ../before . [--only system1 processes ...]

Trains systems 1 to 4 with tiny encoders, the spectrum CNN and the statistics, scores every back-end, trains in two
processes, kills a training and resumes it, and lets the new code test, resume and compare runs of the old.  Compared
are scores.csv, metrics.csv and the averaged weights.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

SYSTEMS = ("system1", "system2", "system3", "system4", "fft", "statistics")
TABLES = ("scores.csv", "metrics.csv")


class Checkout:
    """A checkout, and a folder in which its commands run."""

    def __init__(self, code: Path, folder: Path, data: Path) -> None:
        self.code, self.folder, self.data = code.resolve(), folder, data
        folder.mkdir()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": str(self.code), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "asd_lightning.cli", *arguments]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def asd(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output, _ = process.communicate()
        if process.returncode:
            sys.exit(f"{self.code}: asd {' '.join(arguments)}\n{output}")
        return output

    def training(self, system: str, name: str, *more: str, updates: int = 6) -> list[str]:
        steps = 0 if system == "statistics" else updates
        sizes = ["data.clip_seconds=1.0", "data.batch_size=8", f"trainer.max_steps={steps}", "trainer.accelerator=cpu"]
        return ["train", "scale=demo", f"experiment={system}", f"data.root={self.data}", *sizes, f"name={name}", *more]

    def run(self, name: str) -> Path:
        return self.folder / "runs" / name


def differences(one: Path, other: Path, weights: bool = True) -> Iterator[str]:
    """What differs between two runs."""
    for name in TABLES:
        if (one / "results" / name).read_bytes() != (other / "results" / name).read_bytes():
            yield name
    if weights:
        first, second = (_weights(run) for run in (one, other))
        if first.keys() != second.keys():
            yield "names of weights"
        elif not all(torch.equal(first[name], second[name]) for name in first):
            yield "averaged weights"


def _weights(run: Path) -> dict[str, torch.Tensor]:
    state = torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    return {name.replace("loss.heads.", "head.perturbations."): value for name, value in state.items()}


def system(old: Checkout, new: Checkout, name: str) -> list[str]:
    for checkout in (old, new):
        checkout.asd(*checkout.training(name, name))
    return list(differences(old.run(name), new.run(name)))


def back_ends(old: Checkout, new: Checkout) -> list[str]:
    for checkout in (old, new):
        checkout.asd(*checkout.training("fft", "swept"))
        checkout.asd("score-sweep", "runs/swept")
    tables = [checkout.run("swept") / "score_sweep/scorers.csv" for checkout in (old, new)]
    return [] if tables[0].read_bytes() == tables[1].read_bytes() else ["scorers.csv"]


def processes(old: Checkout, new: Checkout) -> list[str]:
    for checkout in (old, new):
        checkout.asd(*checkout.training("fft", "two", "trainer=ddp", "devices=2"))
    return list(differences(old.run("two"), new.run("two")))


def resumed(old: Checkout, new: Checkout) -> list[str]:
    """Killed in the old code and resumed in the new, and in the new alone, against the old code uninterrupted."""
    old.asd(*old.training("fft", "whole", updates=60))
    found = []
    for start, name in ((old, "old_then_new"), (new, "new")):
        process = start.start(*start.training("fft", name, "callbacks.checkpoint.every_n_train_steps=5", updates=60))
        while not (start.run(name) / "checkpoints/last.ckpt").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if start is old:
            shutil.copytree(old.run(name), new.run(name))
        more = ["callbacks.checkpoint.every_n_train_steps=5", "resume=true"]
        new.asd(*new.training("fft", name, *more, updates=60))
        found += [f"{name}: {what}" for what in differences(old.run("whole"), new.run(name))]
    return found


def tested(old: Checkout, new: Checkout) -> list[str]:
    """A run of the old code, tested and compared by the new."""
    old.asd(*old.training("system1", "passed_on"))
    shutil.copytree(old.run("passed_on"), new.run("passed_on"))
    new.asd("test", "run=runs/passed_on", "out=again")
    found = [
        name
        for name in TABLES
        if (new.folder / "again" / name).read_bytes() != (old.run("passed_on") / "results" / name).read_bytes()
    ]
    return found if "official score" in new.asd("compare", "runs/passed_on") else [*found, "compare"]


def main() -> int:
    parts: dict[str, Callable[[Checkout, Checkout], list[str]]] = {
        name: lambda old, new, name=name: system(old, new, name)  # type: ignore[misc]
        for name in SYSTEMS
    }
    parts |= {"back_ends": back_ends, "processes": processes, "resumed": resumed, "tested": tested}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        Checkout(arguments.new, Path(folder, "made"), data).asd("synth", "--preset", "tiny", "--out", str(data))
        old, new = (Checkout(getattr(arguments, name), Path(folder, name), data) for name in ("old", "new"))
        for name in arguments.only:
            found = parts[name](old, new)
            failed |= bool(found)
            print(f"{name:<12} {', '.join(found) or 'equal to the last bit'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
