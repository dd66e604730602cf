"""The rows of the report's tables, and the two charts over all machines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from asd_lightning.comparison.published import AS_PRINTED, CORRECTED
from asd_lightning.comparison.tables import TABLE_2_MACHINES, published_row, published_systems
from asd_lightning.evaluation.intervals import Interval, bootstrap_difference
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.pages.charts import IntervalRow, interval_chart
from asd_lightning.pages.runs import OVERALL, MachineKey, ReportedRun
from asd_lightning.pages.template import series_css
from asd_lightning.scoring.clip_scores import machine_name

SHOWN = ("auc_source", "auc_target", "pauc", "hmean")
_OVERALL_LABEL = "all machines"


@dataclass(frozen=True)
class MetricCell:
    """A fraction with its interval; nan: undefined, or no interval."""

    estimate: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class MetricRow:
    """One machine of one run, or of a published system; ``css`` marks the run, "" what is published."""

    machine: str
    system: str
    css: str
    published: bool
    marked: bool
    overall: bool
    cells: tuple[MetricCell, ...]


@dataclass(frozen=True)
class Rate:
    """How many of how many clips; ``share`` is nan where there are none."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """``count`` as a fraction of ``of``."""
        return self.count / self.of if self.of else math.nan


@dataclass(frozen=True)
class DecisionRow:
    """What the threshold does on one machine: false alarms and misses by domain."""

    machine: str
    run: str
    css: str
    threshold: float
    rates: tuple[Rate, Rate, Rate, Rate]


@dataclass(frozen=True)
class DifferenceRow:
    """Official score of a run less that of the first run; ``reason``: why there is none."""

    run: str
    css: str
    difference: Interval | None
    reason: str


def metric_rows(runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> list[MetricRow]:
    """Every machine of every run and, where the report has that machine, of the published systems; then the means."""
    rows = []
    for key in (*keys, OVERALL):
        for index, run in enumerate(runs):
            found = [run.interval(key, metric) for metric in SHOWN]
            if all(found):
                cells = tuple(MetricCell(cell.estimate, cell.low, cell.high) for cell in found if cell)
                overall = key == OVERALL
                name = _OVERALL_LABEL if overall else machine_name(*key)
                rows.append(MetricRow(name, run.label, series_css(index), False, False, overall, cells))
        rows += _published(runs, key, _measured(runs, keys))
    return rows


def difference_rows(runs: Sequence[ReportedRun], resamples: int) -> list[DifferenceRow]:
    """Paired differences of the official score to the first run's."""
    rows = []
    for index, run in enumerate(runs[1:], start=1):
        try:
            intervals = bootstrap_difference(run.scores, runs[0].scores, resamples)
        except ValueError:
            reason = "none: it was not tested on the same clips"
            rows.append(DifferenceRow(run.label, series_css(index), None, reason))
            continue
        official = next(row for row in intervals if (row.machine, row.section, row.metric) == (*OVERALL, "hmean"))
        rows.append(DifferenceRow(run.label, series_css(index), official, ""))
    return rows


def decision_rows(runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> list[DecisionRow]:
    """Observed false alarms and misses of every machine that has labelled clips and a threshold."""
    rows = []
    for key in keys:
        for index, run in enumerate(runs):
            clips = [clip for clip in run.clips_of(key) if clip.condition != "unknown"]
            if not clips or math.isnan(clips[0].threshold):
                continue
            rates = []
            for condition, wrong in (("normal", 1), ("anomaly", 0)):
                for domain in ("source", "target"):
                    group = [clip for clip in clips if (clip.condition, clip.domain) == (condition, domain)]
                    rates.append(Rate(sum(clip.decision == wrong for clip in group), len(group)))
            a, b, c, d = rates
            rows.append(DecisionRow(machine_name(*key), run.label, series_css(index), clips[0].threshold, (a, b, c, d)))
    return rows


def official_chart(runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> Markup | None:
    """Official score of every run with its interval, and of the published systems over the same machines."""
    rows = [_interval_row(run, index, OVERALL, run.label) for index, run in enumerate(runs)]
    measured = _measured(runs, keys)
    for system in _shown_systems(runs, measured):
        row = published_row(system, ALL, measured)
        if row:
            rows.append(IntervalRow(system, "published", others=(row.hmean,)))
    drawn = [row for row in rows if row is not None]
    return interval_chart("Official scores with 95 % intervals", drawn) if drawn else None


def machine_chart(runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> Markup | None:
    """The hmean of every machine and run with its interval; published systems are ticks on a line of their own."""
    measured = _measured(runs, keys)
    rows: list[IntervalRow] = []
    for key in keys:
        own = [_interval_row(run, index, key, "") for index, run in enumerate(runs)]
        lines = [row for row in own if row is not None]
        found = [published_row(system, key[0], measured) for system in _shown_systems(runs, measured)]
        values = tuple(row.hmean for row in found if row)
        if lines:
            rows += [lines[0]._replace(label=machine_name(*key)), *lines[1:]]
            rows += [IntervalRow("published", "published", others=values)] if values else []
    return interval_chart("Harmonic mean of AUC source, AUC target and pAUC by machine", rows) if rows else None


def published_notes(runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> Iterator[str]:
    """What to know before comparing with published numbers."""
    measured = _measured(runs, keys)
    if not _shown_systems(runs, measured):
        return
    yield (
        "Published: Table 2 of the XJU report on the recordings of DCASE 2025; its averages are harmonic means, cut to "
        "two decimals. No interval is published."
    )
    if CORRECTED[1] in measured:
        printed = " / ".join(f"{value:.2f}" for value in AS_PRINTED)
        yield (
            f"*: {CORRECTED[0]}, {CORRECTED[1]} is printed as {printed}, a copy of its slider row; the row shown is "
            "solved back from the printed averages (AUC ± 0.02)."
        )
    if set(measured) != TABLE_2_MACHINES:
        yield "Published official scores are over the seven development machines: not shown beside others."


def _measured(runs: Sequence[ReportedRun], keys: Sequence[MachineKey]) -> list[str]:
    return [key[0] for key in keys if any(run.interval(key, "hmean") for run in runs)]


def _shown_systems(runs: Sequence[ReportedRun], measured: Sequence[str]) -> list[str]:
    """None beside synthetic machines, which share no more than names with the published ones."""
    return [] if any(run.synthetic for run in runs) else published_systems(measured)


def _published(runs: Sequence[ReportedRun], key: MachineKey, measured: Sequence[str]) -> Iterator[MetricRow]:
    for system in _shown_systems(runs, measured):
        row = published_row(system, key[0], measured)
        if row:
            cells = tuple(MetricCell(getattr(row, metric) / 100) for metric in SHOWN)
            overall = key == OVERALL
            name = _OVERALL_LABEL if overall else machine_name(*key)
            yield MetricRow(name, system, "", True, (system, key[0]) == CORRECTED, overall, cells)


def _interval_row(run: ReportedRun, index: int, key: MachineKey, label: str) -> IntervalRow | None:
    found = run.interval(key, "hmean")
    if found is None or math.isnan(found.estimate):
        return None
    return IntervalRow(label, series_css(index), 100 * found.estimate, 100 * found.low, 100 * found.high)
