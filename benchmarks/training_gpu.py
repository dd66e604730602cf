"""Systems 1 and 4 and a recipe of 2026 at full size, training in bfloat16 on a GPU: speed, memory, hours for a run.

    python benchmarks/training_gpu.py

Steps go through the package's own module, optimizer, data module and trainer, average of the weights included, on
recordings of noise decoded into the clip cache.  Weights are random: they cost what pretrained ones cost.  An update
of the report's systems sees 128 clips, eight batches of 16 as in the report or one of 128; that of ``lora_w1_2026``
sees 8, of two channels.  ``compiled`` is ``compile=true``; compiling is in the first step, which no speed counts.

Of system 1 at batch 16 one more update is profiled: with which kinds of kernel the GPU is busy, and for how much of the
time.  Writes ``training_gpu.json`` and ``training_gpu.md`` beside this file, after each row: a run that is cut off
keeps what it has.  Without a CUDA device it runs a few steps of tiny encoders on the processor, to show that it works,
and writes nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import soundfile
import torch
from encoders_gpu import CUDA, DEVICE, matrix_rate
from hydra.utils import instantiate
from kernels import Profiled, by_kind
from results import HERE, keep_if_measured, write

from asd_lightning.configuration import compose_train, plain
from asd_lightning.evaluation.complexity import count_macs
from asd_lightning.experiment.quiet import hide_irrelevant_messages
from asd_lightning.experiment.train import make_trainer
from asd_lightning.training import compilation
from asd_lightning.training.build import build_module

KEPT = HERE / "training_gpu.json"
PRECISION = "bf16-mixed" if CUDA else "32-true"
CLIPS = 512 if CUDA else 16
# Of a run that is not watched, tested and saved.
LEFT_OUT = ("results", "checkpoint", "learning_rate", "progress", "model_summary", "wandb_test", "long_training")


@dataclass(frozen=True)
class Training:
    """One row: what is trained, clips a step and an update, updates of a run, and here after ``warm_up`` others."""

    experiment: str
    compiled: bool
    batch: int
    clips_per_update: int
    run_updates: int
    updates: int
    warm_up: int = 2

    @property
    def accumulate(self) -> int:
        return self.clips_per_update // self.batch

    @property
    def is_profiled(self) -> bool:
        return self.experiment == "system1" and self.batch < self.clips_per_update


# What matters most comes first.
MEASURED = (
    Training("system1", True, 16, 128, 10_000, 6),
    Training("system1", False, 16, 128, 10_000, 6),
    Training("system4", True, 16, 128, 10_000, 6),
    Training("system4", False, 16, 128, 10_000, 6),
    Training("system1", True, 128, 128, 10_000, 8),
    Training("system4", True, 128, 128, 10_000, 8),
    Training("system1", False, 128, 128, 10_000, 8),
    Training("system4", False, 128, 128, 10_000, 8),
    Training("lora_w1_2026", False, 8, 8, 37_500, 40, warm_up=8),
)
SMALL = (
    Training("system1", True, 4, 8, 10_000, 2, warm_up=1),
    Training("system1", False, 4, 8, 10_000, 2, warm_up=1),
    Training("system4", True, 4, 4, 10_000, 1, warm_up=1),
    Training("lora_w1_2026", False, 4, 4, 37_500, 2, warm_up=1),
)


class Clock(pl.Callback):
    """When each batch arrived and when its step was handed to the device.

    The device's queue is emptied where measuring begins and where it ends, and not between: nor does a run.
    """

    def __init__(self, warm_up: int, steps: int) -> None:
        self.warm_up, self.steps = warm_up, steps
        self.arrived: list[float] = []
        self.done: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.arrived.append(time.perf_counter())

    def on_train_batch_end(self, *_: Any) -> None:
        if CUDA and len(self.done) + 1 in (1, self.warm_up, self.warm_up + self.steps):
            torch.cuda.synchronize()
        self.done.append(time.perf_counter())

    @property
    def first_step(self) -> float:
        return self.done[0] - self.arrived[0]

    def shares(self) -> tuple[float, float]:
        """Seconds per step, and the share of them spent waiting for the loader."""
        last = self.warm_up + self.steps
        ends, starts = np.array(self.done[:last]), np.array(self.arrived[:last])
        total = ends[-1] - ends[self.warm_up - 1]
        waiting = (starts[self.warm_up :] - ends[self.warm_up - 1 : -1]).sum()
        return float(total) / self.steps, float(waiting / total)


def recordings(folder: Path, clips: int, clip_seconds: float) -> Path:
    rng = np.random.default_rng(0)
    for number in range(clips):
        path = folder / f"data/fan/train/section_00_source_train_normal_{number:04d}_speed_{number % 4}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, (round(16_000 * clip_seconds), 2)), 16_000, subtype="PCM_16")
    return folder / "data"


def measure(
    folder: Path, data: Path, training: Training, clip_seconds: float, rate: float
) -> tuple[dict[str, Any], Profiled | None]:
    """One row, and the profile of one update more where it has one."""
    updates = training.warm_up + training.updates + training.is_profiled
    overrides = [
        f"experiment={training.experiment}",
        f"encoders={'random' if CUDA else 'tiny'}",
        f"data.root={data}",
        f"data.cache_dir={folder / 'cache'}",
        f"data.clip_seconds={clip_seconds}",
        f"data.batch_size={training.batch}",
        f"data.num_workers={8 if CUDA else 0}",
        f"accumulate={training.accumulate}",
        f"compile={training.compiled}",
        f"trainer.max_steps={updates}",
        f"trainer.precision={PRECISION}",
        f"trainer.accelerator={'gpu' if CUDA else 'cpu'}",
        "+trainer.enable_checkpointing=false",
        "+trainer.enable_progress_bar=false",
        "logger=[]",
        "name=benchmark",
        *(f"~callbacks.{name}" for name in LEFT_OUT),
    ]
    config = compose_train(overrides, folder)
    datamodule = instantiate(config.data)
    datamodule.prepare_data()
    module = build_module(plain(config.model), datamodule.classes)
    macs = count_macs(module.embedder.eval(), datamodule.num_samples)
    frozen = not all(parameter.requires_grad for parameter in module.embedder.parameters())
    module.train()
    accumulate = training.accumulate
    clock = Clock(training.warm_up * accumulate, training.updates * accumulate)
    profiled = Profiled(clock.warm_up + clock.steps, accumulate) if training.is_profiled else None
    trainer = make_trainer(config, folder)
    trainer.callbacks += [clock, *([profiled] if profiled else [])]
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    torch.compiler.reset()
    device = trainer.strategy.root_device
    with compilation.compiled(module.embedder, device) if config.compile else nullcontext():
        trainer.fit(module, datamodule)
    step, waiting = clock.shares()
    row = {
        **asdict(training),
        "clips_per_second": training.batch / step,
        # Forward and backward are three times the forward's products; frozen weights need no gradients of theirs.
        "share_of_matrix_rate": None if frozen else 3 * 2 * macs * training.batch / step / rate,
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if CUDA else None,
        "data_loader_share": waiting,
        "first_step_seconds": clock.first_step,
        "projected_hours": training.run_updates * accumulate * step / 3600,
    }
    return row, profiled


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Full size, bfloat16, torch {result['torch']}.",
        "",
        "| GPU | experiment | batch | clips an update | compiled | clips/s | share of matrix rate | peak memory |"
        " loader's share | first step | updates of a run | hours |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(result["rows"], key=of):
        memory = "-" if row["peak_memory_gib"] is None else f"{row['peak_memory_gib']:.1f} GiB"
        share = "-" if row["share_of_matrix_rate"] is None else f"{row['share_of_matrix_rate']:.2f}"
        first = "before *" if "first_step_seconds" not in row else f"{row['first_step_seconds']:.1f} s"
        lines.append(
            f"| {row['device']} | {row['experiment']} | {row['batch']} | {row['clips_per_update']} | "
            f"{'yes' if row['compiled'] else 'no'} | "
            f"{row['clips_per_second']:.1f} | {share} | {memory} | {row['data_loader_share']:.1%} | {first} | "
            f"{row['run_updates']:,} | {row['projected_hours']:.2f} |"
        )
    lines += ["", "Frozen weights have no gradients of their own, so of `lora_w1_2026` no share is given."]
    if any("first_step_seconds" not in row for row in result["rows"]):
        lines += ["", "\\* Of an earlier version, measured without the average of the weights."]
    for profile in result.get("profiles", []):
        kinds = "; ".join(f"{kind} {spent:.1f}" for kind, spent in profile["milliseconds"].items())
        lines += [
            "",
            f"{profile['device']}, {profile['experiment']} at batch {profile['batch']}, "
            f"{'' if profile['compiled'] else 'not '}compiled: "
            f"{profile['kernels_a_step']:,.0f} kernels a step, "
            f"the GPU is busy {profile['busy']:.0%} of the time; milliseconds of a step: {kinds}.",
        ]
    return "\n".join(lines) + "\n"


def of(row: dict[str, Any]) -> tuple[str, str, int, bool]:
    """Which row it is."""
    return row["device"], row["experiment"], row["batch"], row["compiled"]


def earlier() -> dict[str, Any]:
    """Rows and profiles of before, of other devices too, where they were measured with this torch."""
    kept = json.loads(KEPT.read_text()) if CUDA and KEPT.exists() else {}
    same = kept.get("torch") == torch.__version__
    return {name: kept[name] if same else [] for name in ("rows", "profiles")}


def replaced(rows: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(other for other in rows if of(other) != of(row)), row]


def main() -> None:
    names = sorted({training.experiment for training in MEASURED})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", nargs="+", default=names, choices=names, help="the other rows are kept")
    chosen = parser.parse_args().experiments
    trainings = [training for training in (MEASURED if CUDA else SMALL) if training.experiment in chosen]
    clip_seconds = 10.0 if CUDA else 1.0
    hide_irrelevant_messages()
    if not CUDA:
        # The steps are the same where nothing can be compiled.
        compilation.BACKEND = "eager"
        compilation.refuse_without_compiler = lambda _: None
    device = torch.cuda.get_device_name() if CUDA else str(DEVICE)
    result: dict[str, Any] = {"torch": torch.__version__, **earlier()}
    rate = matrix_rate("bfloat16" if CUDA else "float32", repeats=5)
    profiles: list[tuple[Training, Profiled]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = recordings(folder, CLIPS, clip_seconds)
        for training in trainings:
            row, profiled = measure(folder, data, training, clip_seconds, rate)
            print(row, flush=True)
            result["rows"] = replaced(result["rows"], {"device": device, **row})
            if CUDA:
                write("training_gpu", result, table(result))
                gc.collect()
                torch.cuda.empty_cache()
            profiles += [(training, profiled)] if profiled else []
    for training, profiled in profiles:
        profile = {"device": device, **asdict(training), **by_kind(profiled)}
        result["profiles"] = replaced(result["profiles"], profile)
    keep_if_measured("training_gpu", result, table(result), CUDA)


if __name__ == "__main__":
    main()
