"""The whole way at full size: synthesis, training-free and trained system, back-end sweep, report; where time goes.

The preset ``full`` (15 machines, 172 classes, 15,000 training and 3,000 test clips), or a share of the clips of each
class: decoding and embedding grow with the clips, fits and the report's plots do not, so a share says of those less.
Each command is a process of its own, with timers around its stages; a stage's processor time is that of all threads.
Processor time moves less with other work on the machine than the time that passes.  Needs 12 GB of disk for the
whole, less for a share; ``--folder`` is removed at the end unless ``--keep`` is given.  Writes ``full_preset.json`` and
``full_preset.md`` beside this file, or what ``--name`` says:

    python benchmarks/full_preset.py --folder DIR
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from results import keep

from asd_lightning.synthetic.presets import PRESETS, Preset

# What is timed within each command, by what it is called in the table.
STAGES = {
    "train": {
        "decode into the cache": "asd_lightning.data.datamodule:ClipDataModule.prepare_data",
        "train": "pytorch_lightning:Trainer.fit",
        "test": "pytorch_lightning:Trainer.test",
        "of it: fits and thresholds": "asd_lightning.training.module:fit_machines",
        "of it: scores": "asd_lightning.training.module:score_clips",
        "of it: results": "asd_lightning.experiment.results:ResultsWriter.on_test_end",
        "of the results: plots": "asd_lightning.experiment.results:plot_scores",
        "of the results: curves": "asd_lightning.experiment.results:plot_roc",
    },
    "score-sweep": {
        "fits, thresholds and scores": "asd_lightning.comparison.back_ends:score_machines",
        "intervals": "asd_lightning.evaluation.intervals:_replicates",
    },
    "report": {
        "intervals": "asd_lightning.pages.runs:bootstrap_intervals",
        "pictures and sound": "asd_lightning.pages.mistakes:MediaBudget.mistake",
        "maps": "asd_lightning.pages.page:map_charts",
    },
}
_TIMES = "ASD_BENCHMARK_TIMES"


def smaller(preset: Preset, share: float) -> Preset:
    """A share of the training clips of each class, at least one, and of the test clips."""
    machines = tuple(
        replace(
            machine,
            classes=tuple(
                row._replace(clips=row.clips and max(1, round(share * row.clips))) for row in machine.classes
            ),
        )
        for machine in preset.machines
    )
    return Preset(preset.name, machines, max(1, round(share * preset.test_clips)))


@contextmanager
def timed(times: dict[str, list[float]], stage: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        spent = times.setdefault(stage, [0.0, 0.0])
        spent[0] += time.process_time() - processor
        spent[1] += time.perf_counter() - wall


def watched(function: Callable[..., Any], times: dict[str, list[float]], stage: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with timed(times, stage):
            return function(*args, **kwargs)

    return wrapper


def run_command(arguments: list[str]) -> int:
    """In the process of its own: the command, with timers around its stages."""
    from asd_lightning.cli import main

    times: dict[str, list[float]] = {}
    for stage, place in STAGES[arguments[0]].items():
        module, _, path = place.partition(":")
        *inner, name = path.split(".")
        try:
            holder = functools.reduce(getattr, inner, importlib.import_module(module))
            setattr(holder, name, watched(getattr(holder, name), times, stage))
        except (ImportError, AttributeError) as error:
            print(f"not timed: {stage} ({error})", file=sys.stderr)
    status = main(arguments)
    Path(os.environ[_TIMES]).write_text(json.dumps(times))
    return status


def measured(arguments: list[str], folder: Path, log: Path) -> dict[str, Any]:
    """A command's processor seconds, seconds and peak memory, and those of its stages."""
    times = folder / "times.json"
    times.unlink(missing_ok=True)
    start = time.perf_counter()
    own = [sys.executable, __file__, "--command", json.dumps(arguments)]
    with log.open("w") as file:
        process = subprocess.Popen(own, stdout=file, stderr=file, env={**os.environ, _TIMES: str(times)}, cwd=folder)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{log.read_text()[-2000:]}")
    return {
        "processor": round(used.ru_utime + used.ru_stime, 1),
        "wall": round(time.perf_counter() - start, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
        "stages": {
            stage: [round(value, 1) for value in spent] for stage, spent in json.loads(times.read_text()).items()
        },
    }


def measure(folder: Path, share: float, updates: int) -> dict[str, Any]:
    from asd_lightning.synthetic import synthesize

    folder.mkdir(parents=True, exist_ok=True)
    preset = smaller(PRESETS["full"], share) if share < 1 else PRESETS["full"]
    made: dict[str, Any] = {}
    if not (folder / "data").exists():
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        synthesize(folder / "data", preset, jobs=os.cpu_count() or 1)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        made["synthesis"] = {"processor": round(spent, 1), "wall": round(time.perf_counter() - start, 1)}
        print("synthesis", made["synthesis"], flush=True)
    data = f"data.root={folder / 'data'}"
    cache = f"data.cache_dir={folder / 'cache'}"
    shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.rmtree(folder / "runs", ignore_errors=True)
    train = ["train", data, cache]
    commands = {
        "statistics, nothing decoded yet": [*train, "experiment=statistics", "name=cold"],
        "statistics, decoded": [*train, "experiment=statistics", "name=statistics"],
        f"spectrum CNN, {updates} updates": [*train, "experiment=fft", f"trainer.max_steps={updates}", "name=fft"],
        "sweep of all back-ends": ["score-sweep", "runs/statistics"],
        "report of both": ["report", "runs/statistics", "runs/fft", "-o", "report.html"],
    }
    for name, arguments in commands.items():
        made[name] = measured(arguments, folder, folder / "log.txt")
        print(name, made[name], flush=True)
    clips = preset.clips()
    return {
        "share": share,
        "machines": len(preset.machines),
        "classes": len({(clip.machine, clip.attributes) for clip in clips if clip.split == "train"}),
        "training_clips": sum(clip.split == "train" for clip in clips),
        "test_clips": sum(clip.split == "test" for clip in clips),
        "data_mb": size(folder / "data"),
        "cache_mb": size(folder / "cache"),
        "report_mb": round((folder / "report.html").stat().st_size / 1e6, 2),
        "commands": made,
        "processors": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 1),
    }


def size(folder: Path) -> int:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6)


def table(result: dict[str, Any], name: str) -> str:
    clips = result["training_clips"] + result["test_clips"]
    rows = ["| command, stage | processor s | s | peak MiB |", "|---|---:|---:|---:|"]
    for command, spent in result["commands"].items():
        rows.append(f"| **{command}** | {spent['processor']} | {spent['wall']} | {spent.get('peak_mib', '')} |")
        rows += [f"| {stage} | {of[0]} | {of[1]} | |" for stage, of in spent.get("stages", {}).items() if of[0] >= 0.1]
    options = "" if result["share"] == 1 else f" --share {result['share']:g}"
    options += "" if name == "full_preset" else f" --name {name}"
    return "\n".join(
        [
            "# The full preset, from synthesis to report",
            "",
            f"{result['machines']} machines, {result['classes']} classes, {result['training_clips']:,} training and "
            f"{result['test_clips']:,} test clips; {result['data_mb']:,} MB of recordings, {result['cache_mb']:,} MB",
            f"decoded; the report of both runs has {result['report_mb']} MB. Per clip, statistics from recordings to "
            f"table: {1e3 * result['commands']['statistics, nothing decoded yet']['processor'] / clips:.1f} ms of the",
            "processors, start included.",
            "",
            *rows,
            "",
            "A stage may hold others (test: embeddings, fits, scores, results). The peak of memory includes pages",
            "of the decoded clips, which are mapped from the disk and are the kernel's to drop.",
            "",
            f"{result['processors']} processors, shared with other work (load {result['load_after']} at the end); "
            f"Python {platform.python_version()}.",
            f"`python benchmarks/full_preset.py{options}` measures it again.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="in which a new one is made (default: where the system keeps such)")
    parser.add_argument("--share", type=float, default=1.0, help="of the clips of each class")
    parser.add_argument("--updates", type=int, default=20, help="of the spectrum CNN")
    parser.add_argument("--name", default="full_preset")
    parser.add_argument("--keep", action="store_true", help="keep recordings, cache and runs")
    parser.add_argument("--command", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.command:
        raise SystemExit(run_command(json.loads(arguments.command)))
    # A new one: what is removed at the end is this script's own.
    folder = Path(tempfile.mkdtemp(prefix="full_preset_", dir=arguments.folder)).absolute()
    result = measure(folder, arguments.share, arguments.updates)
    keep(arguments.name, result, table(result, arguments.name))
    if not arguments.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
