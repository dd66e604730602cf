"""Runs as candidates: the embeddings of their normal training clips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.progress import Progress

from asd_lightning.errors import UserError
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.selection.choice import Candidate, Selection, check_candidates, conclude, judge
from asd_lightning.selection.normals import Score


def candidate_of(run: Path) -> Candidate:
    """A run's embedding: of its test clips nothing goes into it."""
    cache = embeddings_of_run(run)
    made_by = json.dumps([cache.key.model, asdict(cache.key.preprocessing)], sort_keys=True)
    return Candidate(run.resolve().name, cache.reference, cache.reference_clips, made_by)


def select_runs(runs: Sequence[Path], score: Score = "nearest", progress: Progress | None = None) -> Selection:
    """Judge the embeddings of runs, the first of which is the default.

    Raises:
        UserError: see ``embeddings_of_run`` and ``check_candidates``; two runs of one name.
    """
    names = [run.resolve().name for run in runs]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{twice}: two runs of that name; give runs with names of their own")
    candidates = [candidate_of(run) for run in runs]
    check_candidates(candidates)
    task = progress.add_task("judging", total=len(candidates)) if progress else None
    judged = []
    for one in candidates:
        judged.append(judge(one, score))
        if progress and task is not None:
            progress.advance(task)
    return conclude(judged)
