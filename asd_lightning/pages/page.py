"""The report: one HTML file that loads nothing else."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from rich.progress import Progress

from asd_lightning import __version__
from asd_lightning.atomic import write_atomically
from asd_lightning.comparison.systems import Comparison, compare_runs
from asd_lightning.errors import UserError
from asd_lightning.figures import TINTS
from asd_lightning.pages.charts import MapCharts, det_chart, map_charts, roc_chart, score_histogram, series_css
from asd_lightning.pages.mistakes import AUDIO_BUDGET, MediaBudget, Mistake, per_kind, worst_clips
from asd_lightning.pages.policy import content_policy
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
    seed_rows,
)
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
    labelled: bool
    roc: Markup
    det: Markup
    mistakes: tuple[Mistake, ...]


def write_report(folders: Sequence[Path], out: Path, resamples: int = RESAMPLES) -> Path:
    """Write the report of the runs at or below ``folders`` to ``out``, with a progress bar; returns ``out``.

    Raises:
        UserError: no finished run there, or ``out`` cannot be written.
    """
    with Progress(transient=True) as progress:
        runs, failed = read_runs(folders, resamples, progress)
        keys = machines_of(runs)
        budget = MediaBudget(runs)
        task = progress.add_task("drawing machines", total=len(keys))
        sections = []
        for number, key in enumerate(keys):
            sections.append(_section(number, key, runs, budget, per_kind(len(keys))))
            progress.advance(task)
        page = _render(runs, failed, sections, keys, budget, resamples, compare_runs(folders))
    try:
        with write_atomically(out) as file:
            file.write(page.encode())
    except OSError as error:
        raise UserError(f"cannot write {out} ({error}): name another file with --output") from error
    return out


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
    mistakes = [budget.mistake(*worst) for worst in worst_clips(runs, key, count)]
    labelled = any(len(_conditions(clips)) == 2 for _, clips in scores)
    roc, det = roc_chart(name, scores), det_chart(name, scores)
    return MachineSection(f"m{number}", name, tuple(parts), labelled, roc, det, tuple(mistakes))


def _conditions(clips: Sequence[ClipScore]) -> set[str]:
    return {clip.condition for clip in clips} - {"unknown"}


def _render(
    runs: Sequence[ReportedRun],
    failed: Sequence[tuple[str, str]],
    sections: Sequence[MachineSection],
    keys: Sequence[MachineKey],
    budget: MediaBudget,
    resamples: int,
    comparison: Comparison,
) -> str:
    environment = Environment(
        loader=PackageLoader("asd_lightning.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "number": _number, "css": series_css, "facts": run_facts}
    rows = metric_rows(runs, keys)
    script = environment.get_template("report.js").render()
    shown: dict[str, Any] = {
        "title": runs[0].label if len(runs) == 1 else f"{len(runs)} runs",
        "made": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        "runs": runs,
        "tints": TINTS,
        "failed": failed,
        "notes": _notes(runs, keys),
        "synthetic": any(run.synthetic for run in runs) and any(row.published for row in rows),
        "official_chart": official_chart(runs, keys),
        "machine_chart": machine_chart(runs, keys),
        "machines": comparison.machines,
        "seed_rows": seed_rows(comparison),
        "metric_rows": rows,
        "differences": difference_rows(runs, resamples),
        "decisions": decision_rows(runs, keys),
        "rules": [(index, rule) for index, run in enumerate(runs) if (rule := threshold_rule(run))],
        "sections": sections,
        "settings": differing_settings(runs),
        "environment": environment_rows(runs),
        "resamples": resamples,
        "audio_seconds": AUDIO_SECONDS,
        "audio_megabytes": AUDIO_BUDGET / 1e6,
        "missing": budget.missing,
        "without_audio": budget.silent,
        "data_folders": budget.folders,
        "script": Markup(script),
        "policy": content_policy(script),
    }
    return environment.get_template("report.html").render(shown)


def _notes(runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> list[str]:
    notes = [*published_notes(runs, keys)]
    for run in runs:
        prefix = "" if len(runs) == 1 else f"{run.label}: "
        notes += [f"{prefix}{note}" for note in (*run.result.notes, *run.notes)]
    return list(dict.fromkeys(notes))


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
