"""How time and memory grow with clips, classes, machines, inputs and ranks, each stage by itself.

Each point is a process of its own: processor seconds of all its threads around the stage, and by how much the stage
raised the peak of memory (0: no higher than what importing took).  The exponent is the slope of the processor seconds
on a log-log scale over the points that took 0.05 s or more.  Embeddings are made, of 64 dimensions; recordings are
noise of 0.2 s, for what is asked is how the number of clips counts.  Ranks are processes on this machine that gloo
connects, with as many clips each whatever their number; the seconds are those of the busiest one, waiting left out.
The
stages are in ``growth_stages.py``.  Writes ``growth.json``, ``growth.md`` and ``growth.svg`` beside this file:

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
from pathlib import Path
from typing import Any

import numpy as np
from growth_stages import PLAN, loss, stage_of, training_step
from results import HERE, keep

from asd_lightning.atomic import write_text_atomically


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


def measured_on_ranks(name: str, ranks: int) -> dict[str, Any]:
    from torch.multiprocessing import spawn

    with tempfile.TemporaryDirectory() as folder:
        spawn(on_rank, (name, ranks, folder), ranks)
        found = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
    return {name: max(one[name] for one in found) for name in found[0]}


def on_rank(rank: int, name: str, ranks: int, folder: str) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    stage = training_step(172) if name.startswith("training step") else loss(172, gather=True)
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
            f"times are inflated, exponents hold); Python {platform.python_version()}.",
            "`python benchmarks/growth.py` measures it again.",
            "",
            "Quadratic by nature are exact nearest neighbours of all left-out clips (`asd enrol --bank-size N` is a",
            "smaller bank) and k-centre to a share of the bank, whose exponent is smaller where most clips wait, as",
            "here. Plots of many machines are limited to 120.",
            "",
        ]
    )


def draw(result: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "growth", "font.size": 8})
    from matplotlib import pyplot

    kinds = list(dict.fromkeys(PLAN[name][0] for name in result["stages"]))
    figure, axes = pyplot.subplots(1, len(kinds), figsize=(4 * len(kinds), 5), squeeze=False)
    for axis, kind in zip(axes[0], kinds, strict=True):
        for name, points in result["stages"].items():
            if PLAN[name][0] == kind:
                label = name if (slope := exponent(points)) is None else f"{name}: {slope:g}"
                seconds = [max(point["processor"], 1e-3) for point in points]
                axis.loglog([point["size"] for point in points], seconds, "o-", ms=3, label=label)
        # Two decades or more: what does not grow looks so.
        low, high = axis.get_ylim()
        axis.set_ylim(min(low, high / 100), high)
        axis.set_xlabel(kind)
        axis.set_ylabel("processor s")
        axis.legend(fontsize=6, loc="upper center", bbox_to_anchor=(0.5, -0.15), title="stage: exponent")
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
        measure = measured_on_ranks if PLAN[arguments.point][0] == "ranks" else measured
        print(json.dumps(measure(arguments.point, arguments.size)))
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
