"""What a smaller bank costs: greedy k-centre against k-means and chance, by official score and left-out scores.

Takes the embeddings of a finished run and fits back-ends to a part of each machine's clips.  k-means replaces the clips
by centres (scikit-learn), chance draws clips; both by domain, with the sizes of the package's k-centre.  Of k-centre
the left-out scores are compared with those of the whole bank too.  Then time and bytes of a back-end of many made
clips.  Writes ``bank_compression.json`` and ``bank_compression.md`` beside this file:

    asd train experiment=statistics data.root=DATA name=statistics
    python benchmarks/bank_compression.py --run runs/statistics
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from results import keep
from scipy.stats import spearmanr

from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.scoring.compressed import CompressedScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.protocol import KeptScorer, Scorer
from asd_lightning.scoring.union import ResidualScorer

# Back-end, and how k-centre compares clips for it.
BACK_ENDS: dict[str, tuple[Callable[[], Scorer], dict[str, Any]]] = {
    "knn": (partial(KNNScorer, smote=None), {"metric": "cosine", "standardize": False}),
    "knn_standardized": (partial(KNNScorer, metric="euclidean", standardize=True, smote=None), {}),
    "knn_whitened": (partial(GridScorer, "euclidean", standardize=True, whiten=True), {}),
    "residual": (ResidualScorer, {}),
}
SHARES = (0.5, 0.2, 0.1)
MANY, DIM, SIZE = 10_000, 640, 1_000


def chance(clips: np.ndarray, is_target: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    some = [
        draw.choice(np.flatnonzero(is_target == flag), (is_target[rows] == flag).sum(), replace=False)
        for flag in (False, True)
    ]
    chosen = np.concatenate(some)
    return clips[chosen], is_target[chosen]


def k_means(clips: np.ndarray, is_target: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.cluster import KMeans

    deviation = np.maximum(clips.std(axis=0), 1e-9)
    centers, flags = [], []
    for flag in (False, True):
        size = int((is_target[rows] == flag).sum())
        if size:
            found = KMeans(size, n_init=1, random_state=0).fit(clips[is_target == flag] / deviation).cluster_centers_
            centers.append(found * deviation)
            flags.append(np.full(size, flag))
    return np.concatenate(centers), np.concatenate(flags)


def official(cache: Any, scores_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> float:
    scores = []
    machines = np.array([clip.machine for clip in cache.reference_clips])
    tested = np.array([clip.machine for clip in cache.query_clips])
    for machine in sorted(set(machines)):
        own = machines == machine
        is_target = np.array([clip.domain == "target" for clip in cache.reference_clips])[own]
        values = scores_of(cache.reference[own].astype(np.float64), is_target, cache.query[tested == machine])
        clips = [clip for clip in cache.query_clips if clip.machine == machine]
        scores += [
            ClipScore(machine, "00", clip.file, clip.domain, clip.condition, "", float(value), 0.0, None)
            for clip, value in zip(clips, values, strict=True)
        ]
    return evaluate(scores).official_score


def compared(cache: Any, name: str, share: float) -> dict[str, Any]:
    make, how = BACK_ENDS[name]
    ranks, changes = [], []

    def smaller(clips: np.ndarray, is_target: np.ndarray) -> CompressedScorer:
        return CompressedScorer(make, max(2, round(share * len(clips))), **how).fit(clips, is_target)

    def k_center(clips: np.ndarray, is_target: np.ndarray, query: np.ndarray) -> np.ndarray:
        scorer, whole = smaller(clips, is_target), make().fit(clips, is_target).leave_one_out_scores()
        own = scorer.leave_one_out_scores()
        ranks.append(spearmanr(own, whole).statistic)
        changes.append(np.median(np.abs(own - whole)) / np.subtract(*np.percentile(whole, [75, 25])))
        return scorer.anomaly_score(query)

    def by(choose: Callable[..., tuple[np.ndarray, np.ndarray]]) -> Callable[..., np.ndarray]:
        def scores(clips: np.ndarray, is_target: np.ndarray, query: np.ndarray) -> np.ndarray:
            part = choose(clips, is_target, smaller(clips, is_target).kept.rows)
            return make().fit(*part).anomaly_score(query)

        return scores

    return {
        "whole": official(cache, lambda clips, is_target, query: make().fit(clips, is_target).anomaly_score(query)),
        "k-centre": official(cache, k_center),
        "k-means": official(cache, by(k_means)),
        "chance": official(cache, by(chance)),
        "rank_correlation": float(np.mean(ranks)),
        "change": float(np.mean(changes)),
    }


def of_many() -> dict[str, Any]:
    """Time and bytes of nearest neighbours in many clips, whole and compressed."""
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(20, DIM))
    clips = centers[draw.integers(0, 20, MANY)] + 0.5 * draw.normal(size=(MANY, DIM))
    is_target, query = np.zeros(MANY, bool), clips[:500] + 0.1
    make = BACK_ENDS["knn_standardized"][0]
    found: dict[str, Any] = {}
    for name, scorer in (("whole", make()), ("compressed", CompressedScorer(make, SIZE))):
        times = [time.process_time()]
        scorer.fit(clips, is_target)
        times.append(time.process_time())
        scorer.anomaly_score(query)
        times.append(time.process_time())
        assert isinstance(scorer, KeptScorer)
        size = sum(array.nbytes for array in scorer.state().arrays.values())
        fit, score = np.diff(times)
        found[name] = {"fit_s": round(fit, 2), "score_ms": round(2 * score, 2), "mb": round(size / 1e6, 1)}
    return found


def table(result: dict[str, Any]) -> str:
    lines = [
        "| back-end | kept | whole | k-centre | k-means | chance | rank correlation | change |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, shares in result["back_ends"].items():
        for share, one in shares.items():
            scores = " | ".join(f"{100 * one[kind]:.1f}" for kind in ("whole", "k-centre", "k-means", "chance"))
            kept = f"{100 * float(share):.0f} %"
            lines.append(f"| {name} | {kept} | {scores} | {one['rank_correlation']:.2f} | {one['change']:.2f} |")
    many = result["many"]
    return "\n".join(
        [
            "# A bank of limited size",
            "",
            f"{result['about']} Official scores in per cent. Rank correlation and change are of the left-out scores, "
            "by k-centre against the whole bank, means over the machines; the change is a median, in interquartile "
            "ranges.",
            "",
            *lines,
            "",
            f"Nearest neighbours among {MANY:,} made clips of {DIM} numbers, and among {SIZE:,} of them:",
            "",
            "| bank | fit, processor s | score, processor ms a clip | state, MB |",
            "|---|---:|---:|---:|",
            *(f"| {name} | {one['fit_s']} | {one['score_ms']} | {one['mb']} |" for name, one in many.items()),
            "",
            f"{result['processors']} processors, shared with other work (load {result['load_after']} at the end); "
            f"Python {platform.python_version()}. `python benchmarks/bank_compression.py --run RUN` measures it again.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--about", default="", help="the recordings, in a sentence")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    cache = embeddings_of_run(arguments.run)
    back_ends: dict[str, dict[str, Any]] = {}
    for name in BACK_ENDS:
        for share in SHARES:
            back_ends.setdefault(name, {})[str(share)] = compared(cache, name, share)
            print(name, share, back_ends[name][str(share)], flush=True)
    result = {
        "about": arguments.about,
        "back_ends": back_ends,
        "many": of_many(),
        "processors": os.cpu_count(),
        "load_after": round(os.getloadavg()[0], 1),
    }
    keep("bank_compression", result, table(result))


if __name__ == "__main__":
    main()
