"""The report: one HTML file that loads nothing else."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from rich.progress import Progress

from asd_lightning.comparison.over_seeds import PairedDifference, paired_differences, resample_runs
from asd_lightning.comparison.systems import Comparison, compare_runs
from asd_lightning.comparison.tables import choices, conclusions
from asd_lightning.evaluation.attributes import attribute_results
from asd_lightning.evaluation.worst_clips import worst_clips
from asd_lightning.pages.charts import MapCharts, det_chart, map_charts, roc_chart, score_histogram
from asd_lightning.pages.mistakes import AUDIO_BUDGET, MediaBudget, Mistake, per_kind
from asd_lightning.pages.over_seeds import systems_over_seeds
from asd_lightning.pages.runs import MachineKey, ReportedRun, machines_of, read_runs
from asd_lightning.pages.settings import differing_settings, environment_rows, run_facts, threshold_rule
from asd_lightning.pages.sound import AUDIO_SECONDS
from asd_lightning.pages.tables import (
    decision_rows,
    difference_rows,
    machine_chart,
    metric_rows,
    official_chart,
    published_notes,
)
from asd_lightning.pages.template import refuse_other_file, series_css, write_page
from asd_lightning.scoring.clip_scores import ClipScore, machine_name

RESAMPLES = 1000


@dataclass(frozen=True)
class RunOfMachine:
    """One run's part of a machine's section."""

    run: ReportedRun
    css: str
    histogram: Markup | None
    maps: MapCharts | None


@dataclass(frozen=True)
class MachineSection:
    """Everything the page shows of one machine; ``anchor`` is its place in the page."""

    anchor: str
    name: str
    runs: tuple[RunOfMachine, ...]
    labeled: bool
    roc: Markup
    det: Markup
    mistakes: tuple[Mistake, ...]


def write_report(folders: Sequence[Path], out: Path, resamples: int = RESAMPLES) -> Path:
    """Write the report of the runs at or below ``folders`` to ``out``, with a progress bar; returns ``out``.

    Raises:
        UserError: no finished run there, or ``out`` is a file that is no page of this package, or cannot be written.
    """
    refuse_other_file(out)
    comparison = compare_runs(folders)
    with Progress(transient=True) as progress:
        runs, failed = read_runs(comparison, resamples, progress)
        clips = resample_runs(comparison.systems, progress, resamples)
        differences = tuple(paired_differences(comparison.systems, clips))
        keys = machines_of(runs)
        budget = MediaBudget(runs)
        task = progress.add_task("drawing machines", total=len(keys))
        sections = []
        for number, key in enumerate(keys):
            sections.append(_section(number, key, runs, budget, per_kind(len(keys))))
            progress.advance(task)
        shown = _shown(runs, failed, sections, keys, budget, resamples, comparison)
    return write_page(out, "report.html", shown | _compared(comparison, differences))


def _section(
    number: int, key: MachineKey, runs: Sequence[ReportedRun], budget: MediaBudget, count: int
) -> MachineSection:
    name = machine_name(*key)
    scores = [(run.label, run.clips_of(key)) for run in runs]
    parts = []
    for index, (run, (_, clips)) in enumerate(zip(runs, scores, strict=True)):
        histogram = score_histogram(f"{name}, {run.label}", clips) if clips else None
        maps = map_charts(*key, run.embeddings, clips) if run.embeddings else None
        parts.append(RunOfMachine(run, series_css(index), histogram, maps))
    mistakes = [budget.mistake(worst) for worst in worst_clips([clips for _, clips in scores], count)]
    labeled = any(len(_conditions(clips)) == 2 for _, clips in scores)
    roc, det = roc_chart(name, scores), det_chart(name, scores)
    return MachineSection(f"m{number}", name, tuple(parts), labeled, roc, det, tuple(mistakes))


def _conditions(clips: Sequence[ClipScore]) -> set[str]:
    return {clip.condition for clip in clips} - {"unknown"}


def _shown(
    runs: Sequence[ReportedRun],
    failed: Sequence[tuple[str, str]],
    sections: Sequence[MachineSection],
    keys: Sequence[MachineKey],
    budget: MediaBudget,
    resamples: int,
    comparison: Comparison,
) -> dict[str, Any]:
    rows = metric_rows(runs, keys)
    return {
        "title": _title(comparison, runs),
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "runs": runs,
        "facts": run_facts,
        "failed": failed,
        "notes": _notes(comparison, runs, keys),
        "synthetic": any(run.synthetic for run in runs),
        "official_chart": official_chart(runs, keys),
        "machine_chart": machine_chart(runs, keys),
        "metric_rows": rows,
        "differences": difference_rows(runs, resamples),
        "decisions": decision_rows(runs, keys),
        "rules": [(index, rule) for index, run in enumerate(runs) if (rule := threshold_rule(run))],
        "attributes": [(series_css(index), run.label, attribute_results(run.scores)) for index, run in enumerate(runs)],
        "sections": sections,
        "settings": differing_settings(runs),
        "environment": environment_rows(runs),
        "resamples": resamples,
        "audio_seconds": AUDIO_SECONDS,
        "audio_megabytes": AUDIO_BUDGET / 1e6,
        "missing": budget.missing,
        "without_audio": budget.silent,
        "data_folders": budget.folders,
    }


def _compared(comparison: Comparison, differences: Sequence[PairedDifference]) -> dict[str, Any]:
    return {
        "systems": systems_over_seeds(comparison, differences),
        "conclusions": conclusions(comparison, differences),
        "choices": choices(comparison),
    }


def _title(comparison: Comparison, runs: Sequence[ReportedRun]) -> str:
    if comparison.over_seeds:
        count = sum(not run.failure for run in comparison.runs)
        return f"{len(runs)} system{'' if len(runs) == 1 else 's'}, {count} runs"
    return runs[0].label if len(runs) == 1 else f"{len(runs)} runs"


def _notes(comparison: Comparison, runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> list[str]:
    notes = [*comparison.notes, *published_notes(runs, keys)]
    for run in runs:
        prefix = "" if len(runs) == 1 else f"{run.label}: "
        notes += [f"{prefix}{note}" for note in (*run.result.notes, *run.notes)]
    return list(dict.fromkeys(notes))
