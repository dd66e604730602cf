"""The numbers of DCASE Task 2, as the organisers' evaluator of 2024 computes them.

AUC of a domain: that domain's normal clips against the anomalies of *both* domains (task description of DCASE 2023).
pAUC: all clips of the section, false-positive rates up to 0.1, standardised after McClish (1989) so that chance is
0.5.  Precision, recall and F1 of a domain: that domain's clips alone.  Official score: harmonic mean of AUC_source,
AUC_target and pAUC over all machines and sections.  All numbers are fractions in [0, 1]; nan = undefined.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from asd_lightning.errors import UserError
from asd_lightning.evaluation.areas import auc, partial_auc
from asd_lightning.foreign_files import read_csv
from asd_lightning.scoring.clip_scores import ClipScore, machine_name
from asd_lightning.tables import Row, Table, percent, write_csv, write_tables

MAX_FPR = 0.1
ALL = "all"
"""Name of the summary row: harmonic means over the machines; its ``hmean`` is the official score."""


@dataclass(frozen=True)
class MachineMetrics:
    """The metrics of one section of one machine, or (``overall``) their harmonic means.

    ``auc``: all clips of both domains.  ``hmean``: harmonic mean of those of ``auc_source``, ``auc_target``, ``pauc``
    that are defined.
    """

    machine: str
    section: str
    auc_source: float
    auc_target: float
    pauc: float
    hmean: float
    auc: float
    precision_source: float
    precision_target: float
    recall_source: float
    recall_target: float
    f1_source: float
    f1_target: float

    @property
    def overall(self) -> bool:
        """Whether this is the row of means: a machine may be named like it, but has a section."""
        return self.machine == ALL and not self.section


METRICS = tuple(field.name for field in fields(MachineMetrics))[2:]


@dataclass(frozen=True)
class MeanMetrics:
    """One row of means in the organisers' result file."""

    auc: float
    pauc: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Means:
    """The four rows of means in the organisers' result file; the first two go over both domains."""

    arithmetic: MeanMetrics
    harmonic: MeanMetrics
    source_harmonic: MeanMetrics
    target_harmonic: MeanMetrics


@dataclass(frozen=True)
class EvaluationResult:
    """``machines``: one row per machine and section that has a metric; ``overall``: the row of harmonic means.

    ``notes`` says, in sentences, what could not be computed and what the official score is taken over.
    """

    machines: tuple[MachineMetrics, ...]
    overall: MachineMetrics
    means: Means
    official_score: float
    notes: tuple[str, ...]


def evaluate(scores: Sequence[ClipScore]) -> EvaluationResult:
    """Metrics of every section of every machine in ``scores``, in alphabetical order.

    Clips of unknown condition are left out, those of unknown domain count in ``auc`` and ``pauc`` and, if anomalous,
    against the normal clips of either domain.  What is undefined is nan, and the means are over what is defined.
    Raises ``UserError`` on no scores, on a clip that comes twice, and on a score that is not finite.

    >>> clips = [("a", "source", "normal", 0.1), ("b", "target", "normal", 0.4), ("c", "source", "anomaly", 0.3)]
    >>> result = evaluate([ClipScore("fan", "00", *clip[:3], "", clip[3], 0.2, 1) for clip in clips])
    >>> result.machines[0].auc_source, result.machines[0].auc_target
    (1.0, 0.0)
    """
    _check(scores)
    groups: dict[tuple[str, str], list[ClipScore]] = {}
    for score in scores:
        groups.setdefault((score.machine, score.section), []).append(score)
    # One's own machines have no target domain, and nothing to be said of it one by one.
    domains = [domain for domain in ("source", "target") if any(score.domain == domain for score in scores)]
    machines: list[MachineMetrics] = []
    notes: list[str] = []
    for (machine, section), clips in sorted(groups.items()):
        labeled = [clip for clip in clips if clip.condition != "unknown"]
        notes += _section_notes(machine_name(machine, section), clips, labeled, domains)
        if len({clip.condition for clip in labeled}) == 2:
            machines.append(section_metrics(machine, section, labeled))
    overall = overall_metrics(machines)
    if machines and not _official(machines):
        notes.append("The score is the harmonic mean of those AUCs and pAUCs that exist: a domain is lacking.")
    if not machines:
        notes.append("No machine has clips known as normal and clips known as anomalous: scores only, no metric.")
    return EvaluationResult(tuple(machines), overall, means_over(machines), overall.hmean, tuple(notes))


def _official(machines: Sequence[MachineMetrics]) -> bool:
    """Whether all is there that the official score is a mean of."""
    return not any(math.isnan(value) for row in machines for value in (row.auc_source, row.auc_target))


def _title(result: EvaluationResult) -> str:
    return "Official score" if _official(result.machines) else "Score"


def section_metrics(machine: str, section: str, clips: Sequence[ClipScore]) -> MachineMetrics:
    """Metrics of one section; every clip's condition is known and both conditions occur."""
    anomaly_score = np.array([clip.anomaly_score for clip in clips], dtype=np.float64)
    is_anomaly = np.array([clip.condition == "anomaly" for clip in clips])
    decision = np.array([clip.decision == 1 for clip in clips])
    decided = np.array([clip.decision is not None for clip in clips])
    of_domain = {domain: np.array([clip.domain == domain for clip in clips]) for domain in ("source", "target")}
    auc_of = {domain: _auc(anomaly_score, is_anomaly, mask | is_anomaly) for domain, mask in of_domain.items()}
    source = _precision_recall_f1(is_anomaly, decision, of_domain["source"] & decided)
    target = _precision_recall_f1(is_anomaly, decision, of_domain["target"] & decided)
    pauc = partial_auc(is_anomaly, anomaly_score, MAX_FPR)
    return MachineMetrics(
        machine=machine,
        section=section,
        auc_source=auc_of["source"],
        auc_target=auc_of["target"],
        pauc=pauc,
        hmean=harmonic_mean([auc_of["source"], auc_of["target"], pauc]),
        auc=_auc(anomaly_score, is_anomaly, np.ones_like(is_anomaly)),
        precision_source=source[0],
        precision_target=target[0],
        recall_source=source[1],
        recall_target=target[1],
        f1_source=source[2],
        f1_target=target[2],
    )


def harmonic_mean(values: Iterable[float]) -> float:
    """Harmonic mean of the values that are not nan (none: nan); a zero counts as the machine epsilon, as officially."""
    defined = [value for value in values if not math.isnan(value)]
    return float(1 / np.mean(1 / np.maximum(defined, sys.float_info.epsilon))) if defined else math.nan


def overall_metrics(machines: Sequence[MachineMetrics]) -> MachineMetrics:
    """Harmonic mean of every column over the machines; ``hmean`` is the official score."""
    means = {metric: harmonic_mean(getattr(row, metric) for row in machines) for metric in METRICS}
    means["hmean"] = harmonic_mean(value for row in machines for value in (row.auc_source, row.auc_target, row.pauc))
    return MachineMetrics(machine=ALL, section="", **means)


def means_over(rows: Sequence[MachineMetrics]) -> Means:
    """The four rows of means that the organisers print for one machine's sections, and again for all machines."""

    def mean(average: Callable[[Iterable[float]], float], *domains: str) -> MeanMetrics:
        def column(name: str) -> float:
            return average(getattr(row, f"{name}_{domain}") for domain in domains for row in rows)

        pauc = average(row.pauc for row in rows)
        return MeanMetrics(column("auc"), pauc, column("precision"), column("recall"), column("f1"))

    return Means(
        arithmetic=mean(_arithmetic_mean, "source", "target"),
        harmonic=mean(harmonic_mean, "source", "target"),
        source_harmonic=mean(harmonic_mean, "source"),
        target_harmonic=mean(harmonic_mean, "target"),
    )


def write_metrics(result: EvaluationResult, directory: Path) -> None:
    """Write ``metrics.csv`` (exact fractions, last row ``machine=all``), ``metrics.md`` and ``.tex`` (per cent)."""
    columns = [field.name for field in fields(MachineMetrics)]
    write_csv(directory / "metrics.csv", columns, [astuple(row) for row in [*result.machines, result.overall]])
    write_tables(directory / "metrics", metrics_table(result))


def read_metrics(path: Path) -> list[MachineMetrics]:
    """The rows of a ``metrics.csv``, the last of which is ``machine=all``; ``UserError`` if it is something else."""
    expected = [field.name for field in fields(MachineMetrics)]
    header, *rows = read_csv(path) or [[]]
    if header != expected:
        raise UserError(f"{path}: the first row must be {','.join(expected)}")
    try:
        metrics = [MachineMetrics(row[0], row[1], *map(float, row[2:])) for row in rows]
    except (IndexError, TypeError, ValueError):
        raise UserError(f"{path}: every row needs a machine, a section and {len(METRICS)} numbers") from None
    if not metrics or not metrics[-1].overall:
        raise UserError(f"{path}: the last row must be machine={ALL}; test the run again")
    return metrics


def metrics_table(result: EvaluationResult, headings: Sequence[str] | None = None) -> Table:
    """All metrics in per cent, or those named by their ``headings``."""
    shown = [_HEADINGS.index(heading) for heading in headings or _HEADINGS]
    rows = []
    for row in [*result.machines, result.overall]:
        cells = [row.machine, row.section, *(percent(getattr(row, metric)) for metric in METRICS)]
        rows.append(Row(tuple(cells[index] for index in shown), "total" if row.overall else "plain"))
    return Table(
        f"{_title(result)} {percent(result.official_score)} %",
        tuple(_HEADINGS[index] for index in shown),
        tuple(rows),
        (_LEGEND, *result.notes) if headings is None else tuple(result.notes),
    )


_HEADINGS = ("machine", "sec", "AUC s", "AUC t", "pAUC", "hmean", "AUC", "P s", "P t", "R s", "R t", "F1 s", "F1 t")
TERMINAL_HEADINGS = ("machine", "AUC s", "AUC t", "pAUC", "hmean", "AUC", "F1 s", "F1 t")
"""Of the columns that fit a terminal of 80 characters."""
_LEGEND = "Per cent. s: source, t: target, P: precision, R: recall. Last row: harmonic means over the machines."


def _arithmetic_mean(values: Iterable[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else math.nan


def _check(scores: Sequence[ClipScore]) -> None:
    if not scores:
        raise UserError("no scores: there is nothing to evaluate")
    counts = Counter((score.machine, score.section, score.file) for score in scores)
    clip, count = counts.most_common(1)[0]
    if count > 1:
        raise UserError(f"{'/'.join(clip)} has {count} scores; each clip may have one")
    for score in scores:
        if not math.isfinite(score.anomaly_score):
            raise UserError(
                f"{score.machine}/{score.file}: anomaly_score is {score.anomaly_score}, not finite; test the run again"
            )


def _section_notes(
    name: str, clips: Sequence[ClipScore], labeled: Sequence[ClipScore], domains: Sequence[str]
) -> list[str]:
    if not labeled:
        return [f"{name}: the condition of its {len(clips)} clips is unknown, scores only."]
    notes = []
    if len(labeled) < len(clips):
        notes.append(f"{name}: {len(clips) - len(labeled)} of {len(clips)} clips have no known condition, left out.")
    conditions = {clip.condition for clip in labeled}
    if len(conditions) == 1:
        return [*notes, f"{name}: every clip is {conditions.pop()}, so AUC is undefined; scores only."]
    with_normal = {clip.domain for clip in labeled if clip.condition == "normal"}
    missing = [domain for domain in domains if domain not in with_normal]
    return notes + [f"{name}: no normal {domain} clip, so AUC_{domain} is undefined." for domain in missing]


def _auc(
    anomaly_score: Float[ndarray, " clips"], is_anomaly: Bool[ndarray, " clips"], keep: Bool[ndarray, " clips"]
) -> float:
    if is_anomaly[keep].all():
        return math.nan
    return auc(is_anomaly[keep], anomaly_score[keep])


def _precision_recall_f1(
    is_anomaly: Bool[ndarray, " clips"], decision: Bool[ndarray, " clips"], keep: Bool[ndarray, " clips"]
) -> tuple[float, float, float]:
    """NaN where the domain lacks a condition or decisions; 0 where nothing was called anomalous, as officially."""
    truth, called = is_anomaly[keep], decision[keep]
    if truth.all() or not truth.any():
        return math.nan, math.nan, math.nan
    hits = float((truth & called).sum())
    precision = hits / max(float(called.sum()), sys.float_info.epsilon)
    recall = hits / float(truth.sum())
    return precision, recall, 2 * precision * recall / max(precision + recall, sys.float_info.epsilon)
