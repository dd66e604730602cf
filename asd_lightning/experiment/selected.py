"""Runs, and poolings that their tests have stored, as candidates: what is kept of their normal training clips."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.progress import Progress

from asd_lightning.comparison.back_ends import OWN, Source
from asd_lightning.errors import UserError
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.experiment.stored_features import stored_sources
from asd_lightning.selection.choice import Candidate, Judged, Selection, conclude, judge, refuse_unlike
from asd_lightning.selection.normals import Score


def candidates_of(run: Path, poolings: Sequence[str] = (OWN,)) -> Iterator[Candidate]:
    """A run's embeddings, and stored poolings of the same clips: of its test clips nothing goes into them.

    Args:
        run: its folder.
        poolings: see ``stored_sources``.
    """
    name = run.resolve().name
    own = tuple(poolings) == (OWN,)
    for source in [Source(OWN, embeddings_of_run(run))] if own else stored_sources(run, poolings)[1]:
        cache, pooling = source.cache, source.pooling
        made_by = json.dumps([cache.key.model, asdict(cache.key.preprocessing), pooling], sort_keys=True)
        called = name if pooling == OWN else f"{name}:{pooling}"
        yield Candidate(called, cache.reference, cache.reference_clips, made_by)


def select_runs(
    runs: Sequence[Path], score: Score = "nearest", poolings: Sequence[str] = (OWN,), progress: Progress | None = None
) -> Selection:
    """Judge the embeddings of runs, the first of which is the default; each is let go before the next is read.

    Raises:
        UserError: see ``embeddings_of_run``, ``stored_sources`` and ``refuse_unlike``; two runs of one name.
    """
    names = [run.resolve().name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{twice}: two runs of that name; give runs with names of their own")
    task = progress.add_task("judging", total=None) if progress else None
    before: list[Candidate] = []
    judged: list[Judged] = []
    for one in (candidate for run in runs for candidate in candidates_of(run, poolings)):
        refuse_unlike(one, before)
        judged.append(judge(one, score))
        before.append(one.without_embeddings())
        if progress and task is not None:
            progress.update(task, advance=1, description=f"judged {one.name}")
    return conclude(judged)
