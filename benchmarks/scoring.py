"""Time of scoring a year of DCASE Task 2: 15 machines of 990 + 10 training clips, 200 test clips, 384 dimensions.

For each machine: fit, score the test clips, score the training clips left out, fit the gamma threshold.  Imports are
not counted.  Processor time is given too: other work on the machine moves it less than the time that passes.  Writes
``scoring.json`` and ``scoring.md`` beside this file:

    python benchmarks/scoring.py
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import imblearn
import numpy as np
import sklearn
from results import keep
from rich.progress import track
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from asd_lightning.scoring.centers import KMeansScorer
from asd_lightning.scoring.gaussian import GaussianMixtureScorer, MahalanobisScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.thresholds import GammaThreshold

MACHINES, SOURCE, TARGET, QUERIES, DIM = 15, 990, 10, 200, 384
BACK_ENDS: dict[str, Callable[[], Scorer]] = {
    "k-NN, SMOTE (default)": KNNScorer,
    "k-NN, no SMOTE": lambda: KNNScorer(smote=None),
    "k-NN, local density": lambda: KNNScorer(local_density=1, smote=None),
    "k-NN, SMOTE, z per domain": lambda: KNNScorer(fusion="domain_z"),
    "k-means": KMeansScorer,
    "Mahalanobis": MahalanobisScorer,
    "Gaussian mixture": GaussianMixtureScorer,
}


def machines() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Embeddings around a few operating conditions; the target domain has one of its own."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(MACHINES):
        centers = rng.normal(size=(6, DIM))
        condition = np.concatenate([rng.integers(0, 5, SOURCE), np.full(TARGET, 5)])
        clips = centers[condition] + 0.5 * rng.normal(size=(SOURCE + TARGET, DIM))
        queries = centers[rng.integers(0, 6, QUERIES)] + 0.6 * rng.normal(size=(QUERIES, DIM))
        made.append((clips.astype(np.float32), condition == 5, queries.astype(np.float32)))
    return made


def seconds(back_end: Callable[[], Scorer], data: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Seconds of each stage, summed over the machines, and of the processors in all stages."""
    stages = {"fit": 0.0, "score": 0.0, "leave_one_out": 0.0, "threshold": 0.0}
    processor_start = time.process_time()
    for clips, is_target, queries in data:
        times = [time.perf_counter()]
        scorer = back_end().fit(clips, is_target)
        times.append(time.perf_counter())
        scorer.anomaly_score(queries)
        times.append(time.perf_counter())
        left_out = scorer.leave_one_out_scores()
        times.append(time.perf_counter())
        GammaThreshold().fit(left_out, is_target)
        times.append(time.perf_counter())
        for stage, start, end in zip(stages, times[:-1], times[1:], strict=True):
            stages[stage] += end - start
    return {**stages, "total": sum(stages.values()), "processor_time": time.process_time() - processor_start}


def measure(threads: int, repeats: int) -> dict[str, object]:
    """Median of ``repeats`` runs of every back-end, after one run to warm up."""
    data = machines()
    results = {}
    with threadpool_limits(threads):
        for name, back_end in track(BACK_ENDS.items(), description="scoring"):
            seconds(back_end, data[:1])
            runs = [seconds(back_end, data) for _ in range(repeats)]
            results[name] = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    return {
        "task": {"machines": MACHINES, "source": SOURCE, "target": TARGET, "queries": QUERIES, "dim": DIM},
        "threads": threads,
        "repeats": repeats,
        "processor": processor(),
        "logical_processors": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 1),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "imbalanced-learn": imblearn.__version__,
        },
        "seconds": {name: {stage: round(value, 3) for stage, value in one.items()} for name, one in results.items()},
    }


def processor() -> str:
    """Model name of the processor, where the system tells it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(result: dict[str, object]) -> str:
    """The result as a Markdown page."""
    seconds_of = result["seconds"]
    assert isinstance(seconds_of, dict)
    versions = result["versions"]
    assert isinstance(versions, dict)
    lines = [
        "# Scoring 15 machines",
        "",
        f"{MACHINES} machines, each {SOURCE} source and {TARGET} target training clips and {QUERIES} test clips "
        f"of {DIM} dimensions. Seconds for all machines, median of {result['repeats']} runs, "
        f"{result['threads']} threads; "
        "imports are not counted.",
        "",
        "| back-end | fit | score | leave one out | gamma threshold | total | processor time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in seconds_of.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in one.values()) + " |")
    lines += [
        "",
        f"{result['processor']}, {result['logical_processors']} processors, load {result['load_after']} at the end; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". `python benchmarks/scoring.py` measures it again.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    result = measure(arguments.threads, arguments.repeats)
    keep("scoring", result, table(result))


if __name__ == "__main__":
    main()
