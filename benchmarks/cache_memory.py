"""Anonymous memory of reading a year's training clips: 15 machines, 1,000 ten-second clips each, through the cache.

    python benchmarks/cache_memory.py --folder /a/disk/with/10/GB

Makes the recordings (hard links to a few WAV files, under names of their own), decodes them into the clip cache once,
and iterates the training loader.  What counts is RssAnon, summed over this process and its workers: pages of the
memory-mapped cache are the kernel's to drop, and are no part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import soundfile
import torch

from asd_lightning.data.datamodule import ClipDataModule

RATE, SECONDS = 16_000, 10
DISTINCT = 8


def make_recordings(root: Path, machines: int, clips: int) -> None:
    """``machines`` folders of ``clips`` training clips each: one in a hundred of the target domain."""
    root.mkdir()
    originals = []
    for number in range(DISTINCT):
        path = root.parent / f"original_{number}.wav"
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, RATE * SECONDS)
        soundfile.write(path, noise, RATE, subtype="PCM_16")
        originals.append(path)
    for machine in range(machines):
        folder = root / f"machine{machine:02d}" / "train"
        folder.mkdir(parents=True)
        for index in range(clips):
            domain = "target" if index % 100 == 99 else "source"
            name = f"section_00_{domain}_train_normal_{index:04d}_spd_{index % 12}.wav"
            (folder / name).hardlink_to(originals[index % DISTINCT])


def memory_mb() -> dict[str, float]:
    """RssAnon and RssFile of this process and its descendants, in MB, and how many processes that is."""
    fields = {"RssAnon": 0, "RssFile": 0}
    own = _with_descendants(os.getpid())
    for pid in own:
        for line in _lines(Path(f"/proc/{pid}/status")):
            name, _, value = line.partition(":")
            if name in fields:
                fields[name] += int(value.split()[0])
    return {name: value / 1024 for name, value in fields.items()} | {"processes": len(own)}


def _with_descendants(root: int) -> set[int]:
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (lines := _lines(folder / "stat")):
            # The name, in parentheses, may hold anything.
            parents[int(folder.name)] = int(lines[0].rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return []


def trainer(steps: int) -> Any:
    """As much of a trainer as the training loader asks of one."""
    return SimpleNamespace(
        accumulate_grad_batches=1,
        max_steps=steps,
        global_step=0,
        global_rank=0,
        world_size=1,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to work, in a folder that is removed at the end")
    parser.add_argument("--machines", type=int, default=15)
    parser.add_argument("--clips", type=int, default=1000, help="training clips of each machine")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cache_memory_", dir=args.folder) as folder:
        figures = measure(args, Path(folder))
    text = json.dumps(figures, indent=1)
    print(text)
    if args.json is not None:
        args.json.write_text(text + "\n")


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    root = folder / "recordings"
    make_recordings(root, args.machines, args.clips)
    module = ClipDataModule(
        root, clip_seconds=SECONDS, batch_size=16, num_workers=args.workers, cache_dir=folder / "cache"
    )
    begun = time.perf_counter()
    module.prepare_data()
    decoding = time.perf_counter() - begun
    decoded = memory_mb()
    module.trainer = trainer(args.steps)
    peak, begun = decoded, time.perf_counter()
    for step, batch in enumerate(module.train_dataloader()):
        assert batch.waveform.shape == (16, RATE * SECONDS)
        if step % 20 == 0:
            peak = max(peak, memory_mb(), key=lambda memory: memory["RssAnon"])
    reading = time.perf_counter() - begun
    store = sum(path.stat().st_size for path in (folder / "cache").rglob("samples.bin"))
    return {
        "clips": len(module.clips),
        "store_gb": round(store / 1e9, 2),
        "workers": args.workers,
        "steps": args.steps,
        "decoding_seconds": round(decoding, 1),
        "clips_per_second_read": round(16 * args.steps / reading),
        "after_decoding_mb": {name: round(value) for name, value in decoded.items()},
        "peak_mb": {name: round(value) for name, value in peak.items()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


if __name__ == "__main__":
    main()
