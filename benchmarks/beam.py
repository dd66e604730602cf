"""Time of BEAM with VarMin beside that of the matrix products in it: 1,000 x 1,000 clips of 8 bands of 768 numbers.

A ratio says more than seconds, which are the machine's: queries are compared with the bank in eight products of
1,000 x 768 by 768 x 1,000, and so are the clips of the bank with each other.  Prints the ratios and the memory:

    python benchmarks/beam.py
"""

from __future__ import annotations

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from asd_lightning.scoring.grid import GridScorer

CLIPS, QUERIES, BANDS, DIM = 1000, 1000, 8, 768


def embeddings(count: int, seed: int) -> np.ndarray:
    """Around twenty operating conditions, bands x dim."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(20, BANDS * DIM))
    return centers[rng.integers(0, 20, count)] + 0.3 * rng.normal(size=(count, BANDS * DIM))


def products(queries: np.ndarray, bank: np.ndarray) -> None:
    """What no exact search can do without."""
    for band in range(BANDS):
        columns = slice(band * DIM, (band + 1) * DIM)
        queries[:, columns] @ bank[:, columns].T


def seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak(work: Callable[[], object]) -> int:
    """Largest memory at once, in bytes, beyond what was there."""
    tracemalloc.start()
    work()
    _, largest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    bank, queries, is_target = embeddings(CLIPS, 1), embeddings(QUERIES, 2), np.arange(CLIPS) >= CLIPS - 10
    with threadpool_limits(arguments.threads):
        unit = seconds(lambda: products(queries, bank), arguments.repeats)
        for name, alpha in (("BEAM", 0.0), ("BEAM + VarMin", "fitted")):
            scorer = GridScorer("beam", BANDS, alpha=alpha).fit(bank, is_target)
            stages = {
                "fit": lambda alpha=alpha: GridScorer("beam", BANDS, alpha=alpha).fit(bank, is_target),
                "score": lambda scorer=scorer: scorer.anomaly_score(queries),
                "leave one out": scorer.leave_one_out_scores,
            }
            for stage, work in stages.items():
                ratio = seconds(work, arguments.repeats) / unit
                print(f"{name:<14} {stage:<14} {ratio:5.1f} x the products, {peak(work) / 2**20:5.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
