"""Systems 1 and 4 and a recipe of 2026 at full size, training in bfloat16 on a GPU: speed, memory, hours for a run.

    python benchmarks/training_gpu.py

Steps go through the package's own module, optimizer and data module, on recordings of noise decoded into the clip
cache.  Weights are random: they cost what pretrained ones cost.  An update of the report's systems sees 128 clips,
eight batches of 16 as in the report or one of 128; that of ``lora_w1_2026`` sees 8, of two channels.  Writes
``training_gpu.json`` and ``training_gpu.md`` beside this file.  Without a CUDA device it runs a few steps of tiny
encoders on the processor, to show that it works, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import soundfile
import torch
from encoders_gpu import CUDA, DEVICE, matrix_rate
from hydra.utils import instantiate
from results import keep_if_measured

from asd_lightning.configuration import compose_train, plain
from asd_lightning.evaluation.complexity import count_macs
from asd_lightning.training.build import build_module

KEPT = Path(__file__).with_suffix(".json")
PRECISION = "bf16-mixed" if CUDA else "32-true"


@dataclass(frozen=True)
class Training:
    """One row: what is trained, clips a step and an update, updates of a run and updates that are measured."""

    experiment: str
    batch: int
    clips_per_update: int
    run_updates: int
    updates: int


MEASURED = (
    Training("system1", 16, 128, 10_000, 20),
    Training("system1", 128, 128, 10_000, 20),
    Training("system4", 16, 128, 10_000, 20),
    Training("system4", 128, 128, 10_000, 20),
    Training("lora_w1_2026", 8, 8, 37_500, 40),
)
SMALL = (
    Training("system1", 4, 8, 10_000, 2),
    Training("system4", 4, 8, 10_000, 2),
    Training("lora_w1_2026", 4, 4, 37_500, 4),
)


class Clock(pl.Callback):
    """When each batch arrived and when its step was done, after a warm-up."""

    def __init__(self) -> None:
        self.arrived: list[float] = []
        self.done: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        self.arrived.append(time.perf_counter())

    def on_train_batch_end(self, *_: Any) -> None:
        if CUDA:
            torch.cuda.synchronize()
        self.done.append(time.perf_counter())

    def shares(self, warm_up: int) -> tuple[float, float]:
        """Seconds per step, and the share of them spent waiting for the loader."""
        ends, starts = np.array(self.done), np.array(self.arrived)
        total = ends[-1] - ends[warm_up - 1]
        waiting = (starts[warm_up:] - ends[warm_up - 1 : -1]).sum()
        return total / (len(ends) - warm_up), float(waiting / total)


def recordings(folder: Path, clips: int, clip_seconds: float) -> Path:
    rng = np.random.default_rng(0)
    for number in range(clips):
        path = folder / f"data/fan/train/section_00_source_train_normal_{number:04d}_speed_{number % 4}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, (round(16_000 * clip_seconds), 2)), 16_000, subtype="PCM_16")
    return folder / "data"


def measure(folder: Path, data: Path, training: Training, clip_seconds: float) -> dict[str, Any]:
    accumulate = training.clips_per_update // training.batch
    overrides = [
        f"experiment={training.experiment}",
        f"encoders={'random' if CUDA else 'tiny'}",
        f"data.root={data}",
        f"data.cache_dir={folder / 'cache'}",
        f"data.clip_seconds={clip_seconds}",
        f"data.batch_size={training.batch}",
        f"data.num_workers={8 if CUDA else 0}",
        f"accumulate={accumulate}",
        "name=benchmark",
    ]
    config = compose_train(overrides, folder)
    datamodule = instantiate(config.data)
    datamodule.prepare_data()
    module = build_module(plain(config.model), datamodule.classes)
    macs = count_macs(module.embedder.eval(), datamodule.num_samples)
    frozen = not all(parameter.requires_grad for parameter in module.embedder.parameters())
    module.train()
    clock = Clock()
    trainer = pl.Trainer(
        max_steps=training.updates, accumulate_grad_batches=accumulate, precision=PRECISION,
        devices=1, callbacks=[clock], logger=False,
        use_distributed_sampler=False, enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
        enable_model_summary=False, accelerator="gpu" if CUDA else "cpu",
    )  # fmt: skip
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    trainer.fit(module, datamodule)
    step, waiting = clock.shares(warm_up=max(1, training.updates // 5) * accumulate)
    rate = matrix_rate("bfloat16" if CUDA else "float32", repeats=5)
    return {
        **asdict(training),
        "clips_per_second": training.batch / step,
        # Forward and backward are three times the forward's products; frozen weights need no gradients of theirs.
        "share_of_matrix_rate": None if frozen else 3 * 2 * macs * training.batch / step / rate,
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if CUDA else None,
        "data_loader_share": waiting,
        "projected_hours": training.run_updates * accumulate * step / 3600,
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"Full size, bfloat16, measured on {result['device']}, torch {result['torch']}.",
        "",
        "| experiment | batch | clips an update | clips/s | share of matrix rate | peak memory | loader's share |"
        " updates of a run | hours |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        memory = "-" if row["peak_memory_gib"] is None else f"{row['peak_memory_gib']:.1f} GiB"
        share = "-" if row["share_of_matrix_rate"] is None else f"{row['share_of_matrix_rate']:.2f}"
        lines.append(
            f"| {row['experiment']} | {row['batch']} | {row['clips_per_update']} | {row['clips_per_second']:.1f} | "
            f"{share} | {memory} | {row['data_loader_share']:.1%} | {row['run_updates']:,} | "
            f"{row['projected_hours']:.2f} |"
        )
    lines += ["", "Frozen weights have no gradients of their own, so of `lora_w1_2026` no share is given."]
    return "\n".join(lines) + "\n"


def earlier(result: dict[str, Any], measured: list[str]) -> list[dict[str, Any]]:
    """Rows of the other experiments, where they were measured on this device with this torch."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"rows": []}
    same = all(kept.get(key) == result[key] for key in ("device", "torch"))
    return [row for row in kept["rows"] if row["experiment"] not in measured] if same else []


def main() -> None:
    names = sorted({training.experiment for training in MEASURED})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", nargs="+", default=names, choices=names, help="the other rows are kept")
    chosen = parser.parse_args().experiments
    trainings = [training for training in (MEASURED if CUDA else SMALL) if training.experiment in chosen]
    clip_seconds = 10.0 if CUDA else 1.0
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if CUDA else str(DEVICE),
        "torch": torch.__version__,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = max(training.updates * training.clips_per_update for training in trainings)
        data = recordings(folder, clips, clip_seconds)
        result["rows"] = earlier(result, chosen) if CUDA else []
        result["rows"] += [measure(folder, data, training, clip_seconds) for training in trainings]
    keep_if_measured("training_gpu", result, table(result), CUDA)


if __name__ == "__main__":
    main()
