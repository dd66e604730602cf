"""Many back-ends over one set of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.progress import Progress

from asd_lightning.configuration import CONF_DIR, choices_of
from asd_lightning.errors import UserError
from asd_lightning.evaluation.intervals import Interval, bootstrap_difference, bootstrap_intervals
from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.scoring.embedding_cache import EmbeddingCache
from asd_lightning.scoring.machines import WindowReduction, score_machines
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.thresholds import Threshold
from asd_lightning.trust import read_part

EVERY = "all"
BASELINE = "knn"
"""The report's back-end: the others are compared with it."""


@dataclass(frozen=True)
class Swept:
    """One back-end's result.

    Attributes:
        name: of the back-end's configuration.
        scores: of every test clip; empty where the back-end failed.
        intervals: of every metric, see ``bootstrap_intervals``.
        differences: of every metric to ``BASELINE``'s on the same clips; empty where that was not swept.
        failure: why there are no scores; "" where there are.
    """

    name: str
    scores: tuple[ClipScore, ...]
    intervals: tuple[Interval, ...]
    differences: tuple[Interval, ...]
    failure: str


def known_back_ends(folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Names and files of all configured back-ends, here and in ``folders`` of one's own; the report's first."""
    names = sorted(choices_of("model/scorer", folders), key=lambda name: (name != BASELINE, name))
    return {name: _place("scorer", name, folders) for name in names}


def choose_back_ends(choice: str, folders: Sequence[Path] = ()) -> dict[str, Path]:
    """The back-ends of ``all`` or of a comma-separated list, each once.

    Raises:
        UserError: a name that no file under ``conf/model/scorer`` has.
    """
    known = known_back_ends(folders)
    if choice == EVERY:
        return known
    names = [name.strip() for name in choice.split(",") if name.strip()]
    if not names or set(names) - set(known):
        unknown = ", ".join(name for name in names if name not in known) or "(none named)"
        raise UserError(f"scorer={choice}: unknown {unknown}; choose all, or from {', '.join(known)}")
    return {name: known[name] for name in names}


def load_threshold(name: str, seed: int = 0) -> Threshold:
    """The configured decision threshold called ``name``.

    Raises:
        UserError: no file under ``conf/model/threshold`` has that name.
    """
    known = choices_of("model/threshold")
    if name not in known:
        raise UserError(f"threshold={name}: choose from {', '.join(known)}")
    threshold: Threshold = _load(_place("threshold", name, ()), seed)
    return threshold


def sweep(
    cache: EmbeddingCache,
    back_ends: Mapping[str, Path],
    threshold: Threshold,
    seed: int = 0,
    resamples: int = 1000,
    progress: Progress | None = None,
    label: Callable[[list[ClipScore]], list[ClipScore]] = list,
    reduction: WindowReduction = "max",
) -> list[Swept]:
    """Score one set of embeddings with each back-end.

    A back-end that cannot be fitted to these embeddings is a row with a reason, and the others go on.

    Args:
        cache: embeddings of training and test clips.
        back_ends: names and files, see ``choose_back_ends``.
        threshold: of the decisions, for every back-end.
        seed: of the back-ends.
        resamples: of the bootstrap.
        progress: shows how far the sweep is.
        reduction: from a recording's windows to its score, as the run has it.
        label: says of finished scores what their clips were, where the clips are anonymous.
    """
    swept: dict[str, tuple[tuple[ClipScore, ...], str]] = {}
    task = progress.add_task("scoring", total=2 * len(back_ends)) if progress else None
    for name, path in back_ends.items():
        try:
            swept[name] = tuple(label(_scores(cache, _load(path, seed), threshold, reduction))), ""
        except UserError as error:
            swept[name] = (), str(error)
        if progress and task is not None:
            progress.advance(task)
    baseline = swept[BASELINE][0] if BASELINE in swept else ()
    results = []
    for name, (scores, failure) in swept.items():
        intervals = bootstrap_intervals(scores, resamples) if scores else []
        with_baseline = bool(scores and baseline and name != BASELINE)
        differences = bootstrap_difference(scores, baseline, resamples) if with_baseline else []
        results.append(Swept(name, scores, tuple(intervals), tuple(differences), failure))
        if progress and task is not None:
            progress.advance(task)
    return results


def _scores(
    cache: EmbeddingCache, make_scorer: Callable[[], Scorer], threshold: Threshold, reduction: WindowReduction
) -> list[ClipScore]:
    clips = [*cache.reference_clips, *cache.query_clips]
    reference_ids, query_ids = np.split(np.arange(len(clips)), [len(cache.reference)])
    reference, query = (reference_ids, cache.reference), (query_ids, cache.query)
    return score_machines(clips, reference, query, make_scorer, threshold, reduction)


def _place(group: str, name: str, folders: Sequence[Path]) -> Path:
    places = [folder / "model" / group / f"{name}.yaml" for folder in (CONF_DIR, *folders)]
    return next(place for place in places if place.is_file())


def _load(path: Path, seed: int) -> Any:
    return instantiate(OmegaConf.create(read_part(path, "model", seed)), _convert_="all")
