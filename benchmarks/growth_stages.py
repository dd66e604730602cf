"""What `growth` measures: each stage's sizes, and all that is made before it begins."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

DIM, BATCH, RESAMPLES, STEPS = 64, 16, 1000, 5
Stage = Callable[[], Any]

# Stage -> what grows, and its sizes.
PLAN: dict[str, tuple[str, tuple[int, ...]]] = {
    "data module, first time": ("clips", (1_000, 4_000, 15_000)),
    "data module, decoded": ("clips", (1_000, 4_000, 15_000)),
    "knn of one machine, left-out scores and threshold": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "residual of one machine, left-out scores and threshold": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "residual of 15 machines, left-out scores and thresholds": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "metrics and intervals of 15 machines": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "k-centre to a tenth": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "OS-SCL, forward and backward": ("classes", (15, 172, 2_000)),
    "metrics and intervals": ("machines", (15, 150, 1_500)),
    "tables": ("machines", (15, 150, 1_500)),
    "plots": ("machines", (15, 150)),
    "report of one run": ("machines", (15, 150, 1_500)),
    "asd watch, a minute of each input, each a machine of its own": ("inputs", (1, 8, 64)),
    "OS-SCL with gathering, each rank": ("ranks", (1, 2, 4)),
    "training step of the spectrum CNN under DDP, each rank": ("ranks", (1, 2, 4)),
}


def stage_of(name: str, size: int, folder: Path) -> Stage:
    """Everything but the stage itself is done here."""
    if name.startswith("data module"):
        return data_module(size, folder, name.endswith("decoded"))
    if name.startswith(("knn", "residual")):
        return scoring(name, size)
    if name.startswith("k-centre"):
        return compression(size)
    if name.startswith("OS-SCL, forward"):
        return loss(size)
    if name.startswith("asd watch"):
        return watching(size, folder)
    machines = size if PLAN[name][0] == "machines" else 15
    each = 5 if PLAN[name][0] == "machines" else max(size // 60, 1)
    return of_scores(name, machines, each, folder)


def data_module(clips: int, folder: Path, decoded: bool) -> Stage:
    import soundfile

    from asd_lightning.data.datamodule import ClipDataModule

    draw = np.random.default_rng(0)
    for number in range(clips):
        split = "test" if number % 6 == 5 else "train"
        domain = "target" if number % 100 == 0 else "source"
        condition = "anomaly" if split == "test" and number % 2 else "normal"
        file = f"section_00_{domain}_{split}_{condition}_{number:06}_a_{number % 7}.wav"
        path = folder / f"data/machine{number % 15:02}" / split / file
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, (0.1 * draw.normal(size=3_200)).clip(-1, 1), 16_000, subtype="PCM_16")
    options = {"clip_seconds": 0.2, "num_workers": 0, "cache_dir": folder / "cache"}
    if decoded:
        ClipDataModule(folder / "data", **options).prepare_data()
    return ClipDataModule(folder / "data", **options).prepare_data


def made(clips: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(20, DIM))
    return centers[draw.integers(0, 20, clips)] + 0.5 * draw.normal(size=(clips, DIM)), np.arange(clips) % 100 == 0


def scoring(name: str, clips: int) -> Stage:
    from asd_lightning.data.layout import Clip
    from asd_lightning.scoring.knn import KNNScorer
    from asd_lightning.scoring.machines import fit_machines
    from asd_lightning.scoring.thresholds import GammaThreshold
    from asd_lightning.scoring.union import ResidualScorer

    embeddings, is_target = made(clips)
    machines = 15 if "15 machines" in name else 1
    rows = [
        Clip(
            path=Path(f"{n}.wav"),
            machine=f"m{n % machines}",
            name=f"{n}.wav",
            split="train",
            domain="target" if target else "source",
            condition="normal",
        )
        for n, target in enumerate(is_target)
    ]
    make = KNNScorer if name.startswith("knn") else ResidualScorer
    KNNScorer().fit(embeddings[:300], is_target[:300])  # imports
    return lambda: fit_machines(rows, (np.arange(clips), embeddings), make, GammaThreshold())


def compression(clips: int) -> Stage:
    from asd_lightning.scoring.compressed import k_center

    embeddings, _ = made(clips)
    return lambda: k_center(embeddings, clips // 10)


def loss(classes: int, gather: bool = False) -> Stage:
    import torch

    from asd_lightning.data.labels import ClassLabel
    from asd_lightning.losses.one_stage import OneStageLoss

    torch.manual_seed(0)
    labels = [ClassLabel(f"m{number}", "a") for number in range(classes)]
    head = OneStageLoss(256, labels, gather=gather)
    embedding, label = torch.randn(BATCH, 256, requires_grad=True), torch.randint(classes, (BATCH,))
    head(embedding, label, None).total.backward()

    def steps() -> None:
        for _ in range(STEPS):
            head(embedding, label, None).total.backward()

    return steps


def training_step(classes: int) -> Stage:
    """Forward, backward with the ranks' gradients, and AdamW; four clips of 10 s."""
    import torch
    from torch import Tensor, nn

    from asd_lightning.configuration import compose_train, plain
    from asd_lightning.data.labels import ClassLabel
    from asd_lightning.features.mixup import mixup
    from asd_lightning.training.build import build_module

    torch.manual_seed(0)
    config = plain(compose_train(["experiment=fft"]))["model"]
    module = build_module(config, [ClassLabel(f"m{number}", "a") for number in range(classes)])

    class Loss(nn.Module):
        """As DDP wants it: the loss is the output."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, waveform: Tensor, label: Tensor) -> Tensor:
            mixed = mixup(waveform, label)
            total: Tensor = module.loss(module.head(module.embedder(mixed.waveform)), label, mixed).total
            return total

    trained = nn.parallel.DistributedDataParallel(Loss().train())
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3)
    waveform, label = 0.1 * torch.randn(4, 160_000), torch.randint(classes, (4,))

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            trained(waveform, label).backward()
            optimizer.step()

    steps()
    return steps


def watching(inputs: int, folder: Path) -> Stage:
    """Each input hears a machine of 100 normal recordings of 1 s, with ``statistics``."""
    # In another process: enrolling has all machines in memory too, and what it took would be the peak.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as others:
        others.submit(enrolled, inputs, folder).result()
    watch(folder, "first", 1)  # imports
    return lambda: watch(folder, "plant", inputs)


def watch(folder: Path, detector: str, inputs: int) -> None:
    from asd_lightning.cli import main as asd

    words = ["watch", str(folder / f"{detector}.asd"), "--once", "-o", str(folder / f"{detector}.jsonl")]
    for number in range(inputs):
        words += ["--input", f"m{number}={folder / f'heard/m{number}'}", "--machine", f"m{number}=m{number}"]
    if asd(words):
        raise SystemExit("asd watch failed")


def enrolled(inputs: int, folder: Path) -> None:
    import soundfile

    from asd_lightning.detector.actions import enrol

    draw = np.random.default_rng(0)
    for number in range(inputs):
        for kind, count in (("normal", 100), ("heard", 60)):
            place = folder / kind / f"m{number}"
            place.mkdir(parents=True)
            for second in range(count):
                soundfile.write(place / f"{second:04}.wav", 0.1 * draw.uniform(-1, 1, 16_000), 16_000)
        for detector in ("first", "plant") if number == 0 else ("plant",):
            enrol(folder / f"normal/m{number}", folder / f"{detector}.asd", clip_seconds=1.0, sounds=0)


def of_scores(name: str, machines: int, each: int, folder: Path) -> Stage:
    from asd_lightning.evaluation.intervals import bootstrap_intervals
    from asd_lightning.evaluation.metrics import evaluate, write_metrics
    from asd_lightning.pages.plots import plot_roc, plot_scores
    from asd_lightning.scoring.clip_scores import ClipScore, write_challenge_files, write_scores

    draw = np.random.default_rng(0)
    scores = [
        ClipScore(
            f"m{m:04}", "00", f"section_00_{d}_test_{c}_{n:04}_x_1.wav", d, c, "x_1", value, 0.5, int(value > 0.5)
        )
        for m in range(machines)
        for d in ("source", "target")
        for c in ("normal", "anomaly")
        for n in range(each)
        for value in [float(draw.normal() + (c == "anomaly"))]
    ]
    evaluate(scores[: 4 * each])  # imports

    def tables() -> None:
        write_scores(folder / "scores.csv", scores)
        write_challenge_files(folder / "challenge", scores)
        write_metrics(evaluate(scores), folder)

    def plots() -> None:
        plot_scores(scores, folder / "scores.png")
        plot_roc(scores, folder / "roc.png")

    def report() -> None:
        from asd_lightning.pages.page import write_report

        page = write_report([folder / "run"], folder / "report.html")
        print(f"report: {page.stat().st_size / 1e6:.2f} MB", file=sys.stderr)

    if name.startswith("report"):
        (folder / "run/.hydra").mkdir(parents=True)
        write_scores(folder / "run/results/scores.csv", scores)
        write_metrics(evaluate(scores), folder / "run/results")
        summary = {"name": "run", "experiment": "fft", "seed": 0, "official_score": evaluate(scores).official_score}
        (folder / "run/results/summary.json").write_text(json.dumps(summary))
        return report
    return {"tables": tables, "plots": plots}.get(name, lambda: bootstrap_intervals(scores, RESAMPLES))
