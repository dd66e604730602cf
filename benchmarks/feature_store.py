"""The feature store in figures: a sweep of 10 poolings x 20 back-ends, sizes of files, and the speed of mn04.

Sweep: 7 machines of 990 + 10 training and 200 test clips, random features of the size of mn04's block 8 with bands kept
(8 x 32), as a test would have stored them; read, scored, thresholds fitted, intervals and differences of 1,000
resamples.  Size: BEATs with bands kept (8 x 768), counted for 18,000 clips and checked on a file of some.  Speed:
waveforms of 10 s at 16 kHz to tokens of mn04, resampling and log-mel included; its weights are random, which takes as
long.

Processor time is given too: other work on the machine moves it less than the time that passes.  Imports are not
counted.
Writes ``feature_store.json`` and ``feature_store.md`` beside this file:

    python benchmarks/feature_store.py
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import keep
from rich.progress import Progress
from scoring import processor
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from asd_lightning.comparison.back_ends import Source, choose_back_ends, load_threshold, sweep
from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.encoders.family import FAMILY
from asd_lightning.encoders.mn04 import MN04, MN04Config
from asd_lightning.features.mn04_log_mel import MN04LogMel
from asd_lightning.scoring.embedding_cache import CacheKey, EmbeddingCache
from asd_lightning.scoring.feature_store import StoredFeatures, read_features, write_features

MACHINES, SOURCE, TARGET, QUERIES = 7, 990, 10, 200
SMALL, BEATS = (8, 32), (8, 768)
BEATS_CLIPS, CHECKED = 18_000, 100
BACK_ENDS = (
    "knn,knn_5,knn_euclidean,knn_no_smote,knn_standardized,knn_whitened,beam,beam_varmin,coupled,varmin,varmin_log,"
    "ldn,ldn_4,ldn_difference,ldn_euclidean,domain_z,domain_ratio,daco_soft,ledoit_wolf,mahalanobis"
)
KEY = CacheKey("random", Preprocessing(), "none")
SECONDS, CLIPS_EMBEDDED = 10, 16


def clips() -> tuple[tuple[Clip, ...], tuple[Clip, ...]]:
    reference, query = [], []
    for number in range(MACHINES):
        kinds = [("train", "source", "normal")] * SOURCE + [("train", "target", "normal")] * TARGET
        kinds += [
            ("test", ("source", "target")[place % 2], ("normal", "anomaly")[place // 2 % 2]) for place in range(QUERIES)
        ]
        for place, (split, domain, condition) in enumerate(kinds):
            name = f"{split}_{place:04d}.wav"
            clip = Clip(
                path=Path(name), machine=f"m{number}", name=name, split=split, domain=domain, condition=condition
            )
            (reference if split == "train" else query).append(clip)
    return tuple(reference), tuple(query)


def features(pooling: str, of: tuple[Clip, ...], others: tuple[Clip, ...], grid: tuple[int, int]) -> StoredFeatures:
    """Around a few operating conditions of each machine; anomalies a little further out."""
    rng = np.random.default_rng(FAMILY.index(pooling))
    centers = rng.normal(size=(MACHINES, 6, *grid))

    def drawn(some: tuple[Clip, ...]) -> np.ndarray:
        condition = [5 if clip.domain == "target" else rng.integers(0, 5) for clip in some]
        spread = np.array([0.6 if clip.condition == "anomaly" else 0.5 for clip in some])[:, None, None]
        middle = centers[[int(clip.machine[1:]) for clip in some], condition]
        return (middle + spread * rng.normal(size=(len(some), *grid))).astype(np.float32)

    return StoredFeatures(pooling, drawn(of), drawn(others), KEY)


def timed(work: Callable[[], object]) -> dict[str, float]:
    wall, own = time.perf_counter(), time.process_time()
    work()
    return {"wall": round(time.perf_counter() - wall, 1), "processor": round(time.process_time() - own, 1)}


def measure_sweep(folder: Path) -> dict[str, Any]:
    reference, query = clips()
    for pooling in FAMILY:
        write_features(folder / f"{pooling}.npz", features(pooling, reference, query, SMALL))
    none = np.empty((len(reference), 1), np.float32), np.empty((len(query), 1), np.float32)
    cache = EmbeddingCache(*none, reference, query, KEY)
    back_ends = choose_back_ends(BACK_ENDS)

    def sources() -> Iterator[Source]:
        for pooling in FAMILY:
            stored = read_features(folder / f"{pooling}.npz")
            yield Source(pooling, stored.instead_of(cache), stored.bands)

    found = []
    with Progress(transient=True) as progress:
        task = progress.add_task("sweep", total=2 * len(FAMILY) * len(back_ends))
        taken = timed(
            lambda: found.extend(
                sweep(sources(), back_ends, load_threshold("gamma"), advance=partial(progress.advance, task))
            )
        )
    failed = sum(bool(one.failure) for one in found)
    return taken | {"rows": len(found), "failed": failed, "clips": len(reference) + len(query)}


def measure_size(folder: Path) -> dict[str, Any]:
    """Bytes of each pooling of a clip, counted, and as they are in a file; the whole family for all clips, in GB."""
    counted = 2 * BEATS[0] * BEATS[1]
    vectors = np.random.default_rng(0).normal(size=(CHECKED, *BEATS)).astype(np.float32)
    path = folder / "size.npz"
    halved = write_features(path, StoredFeatures("mean", vectors[: CHECKED // 2], vectors[CHECKED // 2 :], KEY))
    return {
        "counted_bytes": counted,
        "bytes_in_file": round(path.stat().st_size / CHECKED, 1),
        "halved": halved,
        "gb_each": round(counted * BEATS_CLIPS / 1e9, 3),
        "gb_all": round(counted * BEATS_CLIPS * len(FAMILY) / 1e9, 2),
    }


@torch.inference_mode()
def measure_speed() -> dict[str, float]:
    """Seconds of sound for each second of one thread."""
    torch.manual_seed(0)
    front_end, encoder = MN04LogMel(), MN04(MN04Config(block=8)).eval()
    waveforms = 0.1 * torch.randn(CLIPS_EMBEDDED, 16_000 * SECONDS)
    encoder(front_end(waveforms[:1]))
    wall, own = [], []
    for _ in range(5):
        start, start_own = time.perf_counter(), time.process_time()
        encoder(front_end(waveforms))
        wall.append(time.perf_counter() - start)
        own.append(time.process_time() - start_own)
    sound = CLIPS_EMBEDDED * SECONDS
    return {"by_wall": round(sound / statistics.median(wall), 1), "by_processor": round(sound / min(own), 1)}


def table(result: dict[str, Any]) -> str:
    swept, size, speed = result["sweep"], result["size"], result["mn04"]
    per_machine = SOURCE + TARGET + QUERIES
    rows = {
        f"sweep of {len(FAMILY)} poolings x {result['back_ends']} back-ends over {MACHINES} machines of "
        f"{per_machine:,} clips, {SMALL[0]} x {SMALL[1]} numbers each (mn04, block 8, bands kept), intervals and "
        "differences included": f"{swept['wall']:.0f} s, {swept['processor']:.0f} s of the processors",
        f"BEATs, bands kept, one pooling of {BEATS_CLIPS:,} clips": f"{size['gb_each']} GB",
        f"the same, all {len(FAMILY)} poolings": f"{size['gb_all']} GB",
        f"bytes of a clip in a file of {CHECKED}": f"{size['bytes_in_file']:,} ({size['counted_bytes']:,} counted)",
        f"mn04 to block 8, front-end included, clips of {SECONDS} s, one thread": f"{speed['by_wall']:.0f} x real "
        f"time, {speed['by_processor']:.0f} x by the processor's time",
    }
    about = (
        f"Sweep: {result['threads']} threads. {result['processor']}, {result['logical_processors']} processors, load "
        f"{result['load_after']} at the end; Python {platform.python_version()}, numpy {np.__version__}, torch "
        f"{torch.__version__}. `python benchmarks/feature_store.py` measures it again."
    )
    lines = [f"| {what} | {measured} |" for what, measured in rows.items()]
    return "\n".join(["# The feature store", "", "| what | measured |", "|---|---|", *lines, "", about, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(arguments.threads):
        speed = measure_speed()
        size = measure_size(Path(folder))
        swept = measure_sweep(Path(folder))
    result = {
        "sweep": swept,
        "size": size,
        "mn04": speed,
        "back_ends": len(BACK_ENDS.split(",")),
        "threads": arguments.threads,
        "processor": processor(),
        "logical_processors": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 1),
    }
    keep("feature_store", result, table(result))


if __name__ == "__main__":
    main()
