"""What the report knows of a run: read from its folder, never computed again from audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.progress import Progress

from asd_lightning.comparison.systems import Comparison, Run, is_synthetic
from asd_lightning.errors import UserError
from asd_lightning.evaluation.intervals import Interval, bootstrap_intervals
from asd_lightning.evaluation.metrics import ALL, EvaluationResult, evaluate
from asd_lightning.foreign_files import YAML_BYTES, ForeignFileError, parse_yaml, read_text
from asd_lightning.plain_text import natural_order
from asd_lightning.run_folder import UNRESOLVED, ResultSet
from asd_lightning.scoring.clip_scores import ClipScore, read_scores
from asd_lightning.scoring.embedding_cache import EmbeddingCache, read_embeddings

MachineKey = tuple[str, str]
"""Machine and section; ``(ALL, "")`` is the row over all of them."""
OVERALL: MachineKey = (ALL, "")


@dataclass(frozen=True)
class ReportedRun:
    """One finished run.

    Attributes:
        folder: the run's.
        label: its name, made unique within the report.
        summary: of ``results/summary.json``.
        scores: of the test clips.
        result: the official numbers of ``scores``.
        intervals: machine and metric -> 95 % bootstrap interval.
        embeddings: with the table of clips; ``None`` where the run has none that can be read.
        config: the composed configuration, as YAML.
        notes: what is missing, in sentences.
    """

    folder: Path
    label: str
    summary: dict[str, Any]
    scores: tuple[ClipScore, ...]
    result: EvaluationResult
    intervals: dict[tuple[MachineKey, str], Interval]
    embeddings: EmbeddingCache | None
    config: str
    notes: tuple[str, ...]

    def clips_of(self, key: MachineKey) -> list[ClipScore]:
        """Scores of one machine's clips."""
        return self._by_key.get(key, [])

    @cached_property
    def _by_key(self) -> dict[MachineKey, list[ClipScore]]:
        own: dict[MachineKey, list[ClipScore]] = {}
        for score in self.scores:
            own.setdefault((score.machine, score.section), []).append(score)
        return own

    def interval(self, key: MachineKey, metric: str) -> Interval | None:
        """Estimate and interval of a metric; ``None`` for a machine that this run has no metric of."""
        return self.intervals.get((key, metric))

    @property
    def synthetic(self) -> bool:
        """Whether the run's data folder is still there and holds synthetic machines."""
        return is_synthetic(self.summary) or is_synthetic({"data": _data(self.config)})


def read_runs(
    comparison: Comparison, resamples: int, progress: Progress
) -> tuple[list[ReportedRun], list[tuple[str, str]]]:
    """What the page shows in full, and (folder, state and reason) of those without results.

    These are all finished runs; where some system was trained several times, the first run of each system: what its
    seeds have in common is told in numbers.

    Raises:
        UserError: no run has finished.
    """
    failed = [(str(run.folder), f"{run.state}: {run.failure}") for run in comparison.runs if run.failure]
    systems = [system for system in comparison.systems if system.finished]
    if not comparison.over_seeds:
        # The first run that was named is what the others are compared with.
        systems.sort(key=lambda system: comparison.runs.index(system.finished[0]))
    if not systems:
        raise _nothing_to_report(failed)
    task = progress.add_task("reading runs", total=len(systems))
    runs = []
    for run, label in ((system.finished[0], system.name) for system in systems):
        try:
            runs.append(_read(run, label, resamples))
        except UserError as error:
            failed.append((str(run.folder), str(error)))
        progress.advance(task)
    if not runs:
        raise _nothing_to_report(failed)
    return runs, failed


def _nothing_to_report(failed: Sequence[tuple[str, str]]) -> UserError:
    reasons = "; ".join(f"{folder}: {reason}" for folder, reason in failed)
    return UserError(f"no finished run to report on ({reasons})")


def machines_of(runs: Sequence[ReportedRun]) -> list[MachineKey]:
    """Every machine with scores in any run, in the order the published table has them: ToyCar after slider."""
    keys = {(score.machine, score.section) for run in runs for score in run.scores}
    return sorted(keys, key=lambda key: (natural_order(key[0]), key[1]))


def _read(run: Run, label: str, resamples: int) -> ReportedRun:
    results = run.results
    scores = tuple(read_scores(results.scores))
    embeddings, notes = None, list[str]()
    try:
        embeddings = read_embeddings(results.embeddings)
    except UserError as error:
        notes.append(f"No embedding map and no sound: {error}")
    rows = bootstrap_intervals(scores, resamples)
    return ReportedRun(
        folder=run.folder,
        label=label,
        summary=results.read_summary(),
        scores=scores,
        result=evaluate(scores),
        intervals={((row.machine, row.section), row.metric): row for row in rows},
        embeddings=embeddings,
        config=_config(results),
        notes=tuple(notes),
    )


def parsed_config(config: str) -> dict[str, Any]:
    """The configuration; nothing, where it cannot be read: the page shows the text as it is."""
    try:
        content = parse_yaml(config, "config.yaml")
    except ForeignFileError:
        return {}
    return content if isinstance(content, dict) else {}


def _config(results: ResultSet) -> str:
    path = results.config_of_run
    if path is None and results.run is not None:
        path = results.run / UNRESOLVED
    return read_text(path, YAML_BYTES, errors="replace") if path is not None and path.is_file() else ""


def _data(config: str) -> dict[str, Any]:
    data = parsed_config(config).get("data")
    return data if isinstance(data, dict) else {}
