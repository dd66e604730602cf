"""How time and memory grow with clips, classes, machines and ranks, each stage by itself.

Each point is a process of its own: processor seconds of all its threads around the stage, and by how much the stage
raised the peak of memory (0: no higher than what importing took).  The exponent is the slope of the processor seconds
on a log-log scale over the points that took 0.05 s or more.  Embeddings are made, of 64 dimensions; recordings are
noise of 0.2 s, for what is asked is how the number of clips counts.  Writes ``growth.json``, ``growth.md`` and
``growth.svg`` beside this file:

    python benchmarks/growth.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from results import HERE, keep

from asd_lightning.atomic import write_text_atomically

DIM, BATCH, RESAMPLES = 64, 16, 1000
Stage = Callable[[], Any]

# Stage -> what grows, and its sizes.
PLAN: dict[str, tuple[str, tuple[int, ...]]] = {
    "data module, first time": ("clips", (1_000, 4_000, 15_000)),
    "data module, decoded": ("clips", (1_000, 4_000, 15_000)),
    "knn of one machine, left-out scores and threshold": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "residual of one machine, left-out scores and threshold": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "residual of 15 machines, left-out scores and thresholds": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "metrics and intervals of 15 machines": ("clips", (1_000, 4_000, 15_000, 60_000)),
    "k-centre to a tenth": ("clips", (1_000, 4_000, 15_000)),
    "OS-SCL, forward and backward": ("classes", (15, 172, 2_000)),
    "metrics and intervals": ("machines", (15, 150, 1_500)),
    "tables": ("machines", (15, 150, 1_500)),
    "plots": ("machines", (15, 150)),
    "report of one run": ("machines", (15, 150, 1_500)),
    "OS-SCL with gathering, each rank": ("ranks", (1, 2, 4)),
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
        for _ in range(5):
            head(embedding, label, None).total.backward()

    return steps


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


def measured(name: str, size: int) -> dict[str, Any]:
    """In the process of its own."""
    import logging

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        stage = stage_of(name, size, Path(folder))
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        stage()
        spent = time.process_time() - start
        raised = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "processor": round(spent, 3),
        "raised_mib": round(raised / 1024),
        "peak_mib": round((before + raised) / 1024),
    }


def measured_on_ranks(ranks: int) -> dict[str, Any]:
    import torch.multiprocessing as multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(on_rank, (ranks, folder), ranks)
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
    return {name: max(one[name] for one in found) for name in found[0]}


def on_rank(rank: int, ranks: int, folder: str) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    stage = loss(172, gather=True)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    stage()
    raised = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    spent = {"processor": round(time.process_time() - start, 3), "raised_mib": round(raised)}
    (Path(folder) / f"{rank}.json").write_text(json.dumps(spent | {"peak_mib": round(before / 1024 + raised)}))
    dist.destroy_process_group()


def one(name: str, size: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--point", name, "--size", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}, {size}: {done.stderr[-2000:]}")
    told = [line for line in done.stderr.splitlines() if line.startswith("report: ")]
    return json.loads(done.stdout.splitlines()[-1]) | {"size": size} | ({"told": told[0]} if told else {})


def exponent(points: list[dict[str, Any]]) -> float | None:
    """Slope on a log-log scale; none where fewer than two points took long enough."""
    long = [(point["size"], point["processor"]) for point in points if point["processor"] >= 0.05]
    if len(long) < 2:
        return None
    size, seconds = np.log(np.array(long)).T
    return round(float(np.polyfit(size, seconds, 1)[0]), 2)


def table(result: dict[str, Any]) -> str:
    lines = [
        "| stage | grows | sizes | processor s | memory raised by, MiB | exponent of time |",
        "|---|---|---|---|---|---:|",
    ]
    for name, points in result["stages"].items():
        columns = [", ".join(f"{point[key]:,}" for point in points) for key in ("size", "processor", "raised_mib")]
        slope = exponent(points)
        lines.append(f"| {name} | {PLAN[name][0]} | " + " | ".join(columns) + f" | {'' if slope is None else slope} |")
    told = [
        f"{point['size']:,} machines: {point['told']}"
        for points in result["stages"].values()
        for point in points
        if "told" in point
    ]
    return "\n".join(
        [
            "# Growth",
            "",
            "![processor seconds by size](growth.svg)",
            "",
            *lines,
            "",
            *(["; ".join(told) + ".", ""] if told else []),
            f"{result['processors']} processors, shared with other work (load {result['load_after']} at the end: "
            f"times are inflated, exponents hold); Python {platform.python_version()}. `python benchmarks/growth.py` "
            "measures it again.",
            "",
        ]
    )


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 8})
    from matplotlib import pyplot

    kinds = list(dict.fromkeys(PLAN[name][0] for name in result["stages"]))
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(4 * len(kinds), 3.6), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        for name, points in result["stages"].items():
            if PLAN[name][0] == kind:
                axis.loglog(
                    [p["size"] for p in points], [max(p["processor"], 1e-3) for p in points], "o-", ms=3, label=name
                )
        axis.set_xlabel(kind)
        axis.set_ylabel("processor s")
        axis.legend(fontsize=5)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default="", help="stages whose names hold this; the others stay as they are in growth.json"
    )
    parser.add_argument("--most", type=int, default=100_000, help="no larger sizes")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        ranks = arguments.point.startswith("OS-SCL with")
        print(json.dumps(measured_on_ranks(arguments.size) if ranks else measured(arguments.point, arguments.size)))
        return
    path = HERE / "growth.json"
    stages = json.loads(path.read_text())["stages"] if path.exists() else {}
    for name, (_, sizes) in PLAN.items():
        if arguments.only not in name:
            continue
        stages[name] = [one(name, size) for size in sizes if size <= arguments.most]
        print(name, stages[name], flush=True)
        # After every stage: what has been measured is kept where the next one is interrupted.
        result = {
            "stages": {known: stages[known] for known in PLAN if known in stages},
            "processors": os.cpu_count(),
            "load_after": round(os.getloadavg()[0], 1),
        }
        write_text_atomically(path, json.dumps(result, indent=1) + "\n")
    result = json.loads(path.read_text())
    keep("growth", result, table(result))
    draw(result, HERE / "growth.svg")


if __name__ == "__main__":
    main()
