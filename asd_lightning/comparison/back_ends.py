"""Many back-ends over the embeddings of a run, and over other poolings of the same clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from threadpoolctl import threadpool_info, threadpool_limits

from asd_lightning.configuration import CONF_DIR, NO_PARTIAL, choices_of, own_folders
from asd_lightning.errors import UserError
from asd_lightning.evaluation.intervals import Interval, bootstrap_intervals, bootstrap_many
from asd_lightning.own_code import why_not_built
from asd_lightning.plain_text import did_you_mean
from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.scoring.embedding_cache import EmbeddingCache
from asd_lightning.scoring.fitted import MachineKey
from asd_lightning.scoring.machines import score_machines
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.shared_fits import shared_fits
from asd_lightning.scoring.thresholds import Threshold
from asd_lightning.scoring.windows import WindowReduction
from asd_lightning.trust import read_part

EVERY = "all"
BASELINE = "knn"
"""The report's back-end: the others are compared with it."""
OWN = "run"
"""The pooling of the run's own embeddings."""
_MOST_AT_A_TIME = 8


@dataclass(frozen=True)
class Source:
    """Vectors of a run's clips, which back-ends score.

    Attributes:
        pooling: its name; ``OWN`` for the run's embeddings.
        cache: the clips and their vectors.
        bands: of frequency in each vector, one behind the other; ``None``: as the back-ends' files say.
    """

    pooling: str
    cache: EmbeddingCache
    bands: int | None = None


@dataclass(frozen=True)
class Swept:
    """One back-end's result over one pooling.

    Attributes:
        pooling: of the vectors.
        name: of the back-end's configuration.
        scores: of every test clip; empty where the back-end failed.
        intervals: of every metric, see ``bootstrap_intervals``.
        differences: of every metric to ``BASELINE``'s over the first pooling, on the same clips; empty where that was
            not swept.
        failure: why there are no scores; "" where there are.
    """

    pooling: str
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
        meant = did_you_mean(next((name for name in names if name not in known), ""), list(known))
        own = "" if own_folders() or folders else "; one of your own takes --config-dir FOLDER"
        raise UserError(f"scorer={choice}: unknown {unknown}{meant}; choose all, or from {', '.join(known)}{own}")
    return {name: known[name] for name in names}


def load_threshold(name: str, seed: int = 0) -> Threshold:
    """The configured decision threshold called ``name``.

    Raises:
        UserError: no file under ``conf/model/threshold`` has that name.
    """
    known = choices_of("model/threshold")
    if name not in known:
        raise UserError(f"threshold={name}: choose from {', '.join(known)}")
    threshold: Threshold = instantiated(read_part(_place("threshold", name, ()), "model", seed))
    return threshold


def sweep(
    sources: Iterable[Source],
    back_ends: Mapping[str, Path],
    threshold: Threshold,
    seed: int = 0,
    resamples: int = 1000,
    advance: Callable[[float], object] = lambda steps: None,
    label: Callable[[list[ClipScore]], list[ClipScore]] = list,
    reduction: WindowReduction = "max",
) -> list[Swept]:
    """Score each source with each back-end.

    A back-end that cannot be fitted to some vectors is a row with a reason, and the others go on.

    Args:
        sources: vectors of the same training and test clips; each is let go before the next is asked for.
        back_ends: names and files, see ``choose_back_ends``.
        threshold: of the decisions, for every back-end.
        seed: of the back-ends.
        resamples: of the bootstrap.
        advance: called with how many steps, or what part of one, are done; a source has two for each back-end.
        reduction: from a recording's windows to its score, as the run has it.
        label: says of finished scores what their clips were, where the clips are anonymous.
    """
    swept: dict[tuple[str, str], tuple[tuple[ClipScore, ...], str]] = {}
    with _workers() as workers:
        for source in sources:
            scored = {name: _Scored(path, seed, source.bands) for name, path in back_ends.items()}
            machines = _machines(source.cache)
            for rows in machines:
                own = _rows_of(source.cache, *rows)
                added = partial(_Scored.add, cache=own, threshold=threshold, reduction=reduction)
                for _ in _side_by_side(workers, added, scored.values()):
                    advance(1 / len(machines))
            swept |= {(source.pooling, name): one.labeled(label) for name, one in scored.items()}
        return _with_intervals(swept, resamples, workers, advance)


def _with_intervals(
    swept: Mapping[tuple[str, str], tuple[tuple[ClipScore, ...], str]],
    resamples: int,
    workers: ThreadPoolExecutor,
    advance: Callable[[float], object],
) -> list[Swept]:
    """By pooling and name, scores (with their reason, where there are none) and what the bootstrap says of them."""
    first = next(iter(swept), (OWN, ""))[0]
    baseline = swept.get((first, BASELINE), ((), ""))[0]
    scored = [scores for scores, _ in swept.values() if scores]
    found = (
        bootstrap_many(scored, baseline, resamples, each=workers.map)
        if baseline
        else workers.map(lambda scores: (bootstrap_intervals(scores, resamples), []), scored)
    )
    results = []
    for (pooling, name), (scores, failure) in swept.items():
        intervals, differences = next(found) if scores else ([], [])
        # Of what the others are compared with, there is no difference.
        between = () if (pooling, name) == (first, BASELINE) else tuple(differences)
        results.append(Swept(pooling, name, scores, tuple(intervals), between, failure))
        advance(1)
    return results


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Threads that score side by side, in each of which libraries compute in one thread.

    The matrices are small, and threads that share one wait for one another most of the time.  There are as many as a
    library would have used, or eight: each holds the distances of a machine's clips.
    """
    # What is loaded later would not know of the limit.
    import sklearn.cluster
    import sklearn.mixture  # noqa: F401

    threads = max((library["num_threads"] for library in threadpool_info()), default=1)
    # OpenMP has a limit for each thread, other libraries one for all, which is lifted at the end.
    pool = ThreadPoolExecutor(min(threads, _MOST_AT_A_TIME), initializer=threadpool_limits, initargs=(1,))
    with threadpool_limits(1), pool:
        try:
            yield pool
        finally:
            # Where one has failed or the user interrupts, those that have not begun do not begin.
            pool.shutdown(cancel_futures=True)


def _side_by_side(
    workers: ThreadPoolExecutor, added: Callable[[_Scored], None], back_ends: Iterable[_Scored]
) -> Iterator[None]:
    """Score one machine with each back-end; yields when the next of them is done.

    Back-ends that whiten fit the same to the same clips, whole and by folds: of one machine all of that can be kept
    until the last back-end has come to it, of many machines it cannot.
    """
    with shared_fits():
        running = [workers.submit(copy_context().run, added, back_end) for back_end in back_ends]
        yield from (one.result() for one in running)


def _machines(cache: EmbeddingCache) -> list[tuple[list[int], list[int]]]:
    """Rows of each machine and section in reference and query, in the order in which the test clips name them."""
    rows: dict[MachineKey, tuple[list[int], list[int]]] = {}
    for part, clips in ((1, cache.query_clips), (0, cache.reference_clips)):
        for row, clip in enumerate(clips):
            rows.setdefault((clip.machine, clip.section), ([], []))[part].append(row)
    return list(rows.values())


def _rows_of(cache: EmbeddingCache, reference: Sequence[int], query: Sequence[int]) -> EmbeddingCache:
    return replace(
        cache,
        reference=cache.reference[reference],
        query=cache.query[query],
        reference_clips=tuple(cache.reference_clips[row] for row in reference),
        query_clips=tuple(cache.query_clips[row] for row in query),
    )


class _Scored:
    """Scores by one back-end, machine after machine, until it fails."""

    def __init__(self, path: Path, seed: int, bands: int | None) -> None:
        self._scores: list[ClipScore] = []
        self._failure = ""
        self._path = path
        with self._failing():
            self._make: Callable[[], Scorer] = instantiated(_with_bands(read_part(path, "model", seed), bands))
            if not callable(self._make):
                raise UserError(f"{path}: {NO_PARTIAL}")

    def add(self, cache: EmbeddingCache, threshold: Threshold, reduction: WindowReduction) -> None:
        if not self._failure:
            with self._failing():
                self._scores += _scores(cache, self._make, threshold, reduction)

    def labeled(self, label: Callable[[list[ClipScore]], list[ClipScore]]) -> tuple[tuple[ClipScore, ...], str]:
        if not self._failure:
            with self._failing():
                return tuple(label(self._scores)), ""
        return (), self._failure

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            self._failure = str(error)
        except InstantiationException as error:
            # Of a file under conf/ it is a mistake of this package.
            if self._path.is_relative_to(CONF_DIR):
                raise
            self._failure = " ".join(f"{self._path}: {why_not_built(error) or error.__cause__ or error}".split())


def _with_bands(part: Any, bands: int | None) -> Any:
    """A back-end's file (plain data) for vectors of so many bands, where it compares band by band."""
    if bands is None:
        return part
    if isinstance(part, dict):
        changed = {key: _with_bands(value, bands) for key, value in part.items()}
        banded = part.get("match") in ("coupled", "beam")
        return changed | ({"bands": bands, "band_order": "first"} if banded else {})
    return [_with_bands(value, bands) for value in part] if isinstance(part, list) else part


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


def instantiated(part: Any) -> Any:
    """What a part of a configuration (plain data, of trusted targets) describes."""
    return instantiate(OmegaConf.create(part), _convert_="all")
