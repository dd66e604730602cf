"""All back-ends over the embeddings of one made machine: side by side with one thread each, and one after another.

    python benchmarks/sweep.py --before CHECKOUT

1,000 training and 200 test clips of 640 dimensions.  One after another each back-end has as many threads as numerical
libraries take by default; scores must be equal.  ``CHECKOUT`` is another version's, which sweeps in its own way, in
turns with this one.  Writes ``sweep.json`` and ``sweep.md`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from results import keep

from asd_lightning.comparison import back_ends
from asd_lightning.comparison.back_ends import OWN, Source, Swept, known_back_ends, load_threshold, sweep
from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.scoring.embedding_cache import CacheKey, EmbeddingCache
from asd_lightning.scoring.shared_fits import shared_fits

DIM, DIRECTIONS, REPEATS = 640, 160, 3
KINDS = [("train", "source", "normal")] * 990 + [("train", "target", "normal")] * 10
KINDS += [("test", domain, what) for domain in ("source", "target") for what in ("normal", "anomaly")] * 50


def machine() -> EmbeddingCache:
    """Normal clips vary in some directions, anomalies more."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(DIRECTIONS, DIM)) / DIRECTIONS**0.5
    clips: dict[str, list[Clip]] = {"train": [], "test": []}
    rows: dict[str, list[Any]] = {"train": [], "test": []}
    for number, (split, domain, what) in enumerate(KINDS):
        name = f"section_00_{domain}_{split}_{what}_{number:04d}.wav"
        clip = {"path": Path("made") / name, "machine": "made", "name": name, "split": split}
        clips[split].append(Clip(**clip, domain=domain, condition=what, attribute="made"))
        spread = 0.35 if what == "anomaly" else 0.2
        center = 3 * np.eye(DIM)[int(domain == "target")]
        rows[split].append(center + spread * rng.normal(size=DIRECTIONS) @ mixing + 0.05 * rng.normal(size=DIM))
    key = CacheKey("made", Preprocessing.of_options({"clip_seconds": 1.0, "channel": 0, "pad": "tile"}), "made")
    embeddings = (np.array(rows[split], np.float32) for split in ("train", "test"))
    return EmbeddingCache(*embeddings, tuple(clips["train"]), tuple(clips["test"]), key)


def one_after_another(_: None, added: Callable[[Any], None], chosen: Iterable[Any]) -> Iterator[None]:
    """In the place of `back_ends._side_by_side`: all threads for each."""
    with shared_fits():
        yield from (added(one) for one in chosen)


def timed(cache: EmbeddingCache) -> tuple[list[Swept], float, float]:
    """Results, seconds and processor seconds."""
    # Otherwise the first in a process, which the version before always is, would pay for all that is loaded.
    for library in (
        "imblearn.over_sampling",
        "scipy.stats",
        "sklearn.cluster",
        "sklearn.covariance",
        "sklearn.mixture",
    ):
        import_module(library)
    wall, processor = time.perf_counter(), time.process_time()
    swept = sweep([Source(OWN, cache)], known_back_ends(), load_threshold("gamma"))
    return swept, time.perf_counter() - wall, time.process_time() - processor


def measured(cache: EmbeddingCache, name: str) -> tuple[dict[str, Any], list[list[float]]]:
    """A row of the table, and scores."""
    swept, wall, processor = timed(cache)
    row = {"way": name, "wall": round(wall, 1), "processor": round(processor, 1)}
    return row, [[score.anomaly_score for score in one.scores] for one in swept]


def measured_before(checkout: Path) -> tuple[dict[str, Any], list[list[float]]]:
    """The same of another version, in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, __file__, "--alone"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    row, scores = json.loads(done.stdout.splitlines()[-1])
    return row, scores


def measured_ways(cache: EmbeddingCache) -> Iterator[tuple[dict[str, Any], list[list[float]]]]:
    """Of this version, one after another and as it does."""
    own = back_ends._workers, back_ends._side_by_side
    in_place = SimpleNamespace(map=map)
    back_ends._workers, back_ends._side_by_side = lambda: nullcontext(in_place), one_after_another
    yield measured(cache, "one after another")
    back_ends._workers, back_ends._side_by_side = own
    yield measured(cache, "side by side")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="checkout of another version")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.disable(logging.ERROR)
    cache = machine()
    if arguments.alone:
        print(json.dumps(measured(cache, "before")))
        return
    rows: list[dict[str, Any]] = []
    for _ in range(REPEATS):
        found = [measured_before(arguments.before)] if arguments.before else []
        found += measured_ways(cache)
        rows += [row for row, _ in found]
        print(*rows[-len(found) :], sep="\n", flush=True)
        for _, scores in found[1:]:
            # A library's sums depend on its number of threads.
            np.testing.assert_allclose(scores, found[0][1], rtol=1e-6, atol=1e-9)
    result = {"back_ends": len(scores), "cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "rows": rows}
    keep("sweep", result, table(result))


def table(result: dict[str, Any]) -> str:
    lines = ["# Back-ends side by side", "", "| way | s | processor s |", "|---|---|---|"]
    for way in dict.fromkeys(row["way"] for row in result["rows"]):
        own = [row for row in result["rows"] if row["way"] == way]
        cells = (", ".join(str(row[what]) for row in own) for what in ("wall", "processor"))
        lines.append(f"| {way} | {' | '.join(cells)} |")
    told = (
        f"{result['back_ends']} back-ends, one made machine, {result['cores']} cores, load {result['load']} at the end."
    )
    return "\n".join([*lines, "", told, "`python benchmarks/sweep.py --before CHECKOUT` measures it again.", ""])


if __name__ == "__main__":
    main()
