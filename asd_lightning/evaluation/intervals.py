"""How far the numbers would move with other test clips: bootstrap intervals.

Clips are drawn with replacement within each (machine, section, domain, condition), so every resample keeps the counts
of the test set; the interval is the percentile interval (Efron and Tibshirani, 1993, chapter 13).  It speaks of the
test clips alone: the spread from training seed to training seed is another matter.

Own AUC and pAUC here, because scikit-learn takes one set of clips at a time: a resample is a row of clip counts, and
all rows go through the same sorted scores at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from asd_lightning.evaluation.metrics import ALL, MAX_FPR, METRICS, MachineMetrics, evaluate
from asd_lightning.scoring.clip_scores import ClipScore

Replicates = dict[str, Float[ndarray, " resamples"]]
"""Metric name -> its value in every resample (nan: undefined)."""


class _Drawn(NamedTuple):
    clips: list[int]
    often: Int[ndarray, "resamples clips"]


@dataclass(frozen=True)
class Interval:
    """One number of ``MachineMetrics`` (or a difference of two) with the ends of its interval."""

    machine: str
    section: str
    metric: str
    estimate: float
    low: float
    high: float


def bootstrap_intervals(
    scores: Sequence[ClipScore], resamples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """An interval for every number of ``evaluate(scores)``, the row ``machine == "all"`` included."""
    replicates = _replicates(scores, _draws(scores, resamples, seed), resamples)
    return _intervals(_rows(scores), replicates, confidence)


def bootstrap_difference(
    first: Sequence[ClipScore],
    second: Sequence[ClipScore],
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Interval]:
    """Intervals of ``first - second`` for two systems scored on the same clips: both see the same resamples.

    Raises ``ValueError`` where the two do not score the same clips with the same truth.
    """
    return next(bootstrap_many([first], second, resamples, confidence, seed))[1]


def bootstrap_many(
    systems: Iterable[Sequence[ClipScore]],
    second: Sequence[ClipScore],
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    each: Callable[..., Iterator[tuple[list[Interval], list[Interval]]]] = map,
) -> Iterator[tuple[list[Interval], list[Interval]]]:
    """``bootstrap_intervals`` of each system, and its ``bootstrap_difference`` to one and the same.

    The numbers of single calls; what they have in common is drawn and evaluated once.

    Args:
        systems: scores of the same clips.
        second: what they are compared with.
        resamples: how many.
        confidence: of the intervals.
        seed: of the draws.
        each: ``map``, or that of a pool of threads.
    """
    other, given = sorted(second), [score[:5] for score in second]
    draws = _draws(other, resamples, seed)
    of_given = draws if list(second) == other else _draws(second, resamples, seed)
    of_second, rows = _replicates(other, draws, resamples), _rows(second)

    def compared(system: Sequence[ClipScore]) -> tuple[list[Interval], list[Interval]]:
        first = sorted(system)
        if [score[:5] for score in first] != [score[:5] for score in other]:
            odd = sorted({score[:5] for score in first} ^ {score[:5] for score in other})[0]
            raise ValueError(f"first and second must score the same clips with the same truth; they differ in {odd}")
        of_first, own = _replicates(first, draws, resamples), _rows(system)
        differences = []
        for row, base in zip(own, rows, strict=True):
            group = row.machine, row.section
            for metric in METRICS:
                estimate = getattr(row, metric) - getattr(base, metric)
                difference = of_first[group][metric] - of_second[group][metric]
                differences.append(_interval(row, metric, estimate, difference, confidence))
        if list(system) != first:  # another order has other resamples
            as_given = [score[:5] for score in system] == given
            of_order = of_given if as_given else _draws(system, resamples, seed)
            of_first = _replicates(system, of_order, resamples)
        return _intervals(own, of_first, confidence), differences

    return each(compared, systems)


@dataclass(frozen=True)
class Resampled:
    """One system's numbers on the clips that it was scored on, and on what the bootstrap draws of them.

    Attributes:
        clips: machine, section, file, domain and condition of each, sorted.
        rows: the metrics, of the machines and over all.
        replicates: the same of every resample, by machine and section.
    """

    clips: tuple[tuple[str, ...], ...]
    rows: tuple[MachineMetrics, ...]
    replicates: Mapping[tuple[str, str], Replicates]


def resampled(scores: Sequence[ClipScore], resamples: int = 1000, seed: int = 0) -> Resampled:
    """Draw clips, the same ones whoever has scored them, and evaluate each draw."""
    ordered = sorted(scores)
    replicates = _replicates(ordered, _draws(ordered, resamples, seed), resamples)
    return Resampled(tuple(score[:5] for score in ordered), tuple(_rows(ordered)), replicates)


def mean_difference(pairs: Sequence[tuple[Resampled, Resampled]], confidence: float = 0.95) -> list[Interval]:
    """Intervals of the mean of ``first - second`` over pairs, such as two systems trained with each of some seeds.

    Of one pair these are the numbers of ``bootstrap_difference``.  The pairs are fixed, the clips are drawn.

    Args:
        pairs: of the same machines.
        confidence: of the intervals.

    Raises:
        ValueError: a pair is of other clips or another truth.
    """
    for first, second in pairs:
        if odd := sorted(set(first.clips) ^ set(second.clips)):
            raise ValueError(f"first and second must score the same clips with the same truth; they differ in {odd[0]}")
    found = []
    for place, row in enumerate(pairs[0][0].rows):
        group = row.machine, row.section
        for metric in METRICS:
            ends = [(getattr(one.rows[place], metric), getattr(other.rows[place], metric)) for one, other in pairs]
            drawn = [one.replicates[group][metric] - other.replicates[group][metric] for one, other in pairs]
            estimate = float(np.mean([one - other for one, other in ends]))
            found.append(_interval(row, metric, estimate, np.mean(drawn, axis=0), confidence))
    return found


def mean_intervals(runs: Sequence[Resampled], confidence: float = 0.95) -> list[Interval]:
    """Intervals of the mean over runs of one system on the same clips, such as its seeds: these are fixed, clips drawn.

    Of one run these are the numbers of ``bootstrap_intervals`` for its clips in order.

    Raises:
        ValueError: runs of other clips or another truth.
    """
    if any(run.clips != runs[0].clips for run in runs):
        raise ValueError("the runs must have scored the same clips with the same truth")
    found = []
    for place, row in enumerate(runs[0].rows):
        for metric in METRICS:
            drawn = np.mean([run.replicates[row.machine, row.section][metric] for run in runs], axis=0)
            estimate = float(np.mean([getattr(run.rows[place], metric) for run in runs]))
            found.append(_interval(row, metric, estimate, drawn, confidence))
    return found


def weighted_auc(
    anomaly_score: Float[ndarray, " clips"],
    is_anomaly: Bool[ndarray, " clips"],
    count: Int[ndarray, "resamples clips"],
) -> Float[ndarray, " resamples"]:
    """AUC of every resample; ``count[r, i]`` says how often clip i is in resample r.  nan where a condition lacks."""
    anomaly, normal = _counts_by_score(anomaly_score, is_anomaly, count)
    normal_below = np.cumsum(normal, axis=1) - normal
    won = (anomaly * (normal_below + 0.5 * normal)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.asarray(won / (anomaly.sum(axis=1) * normal.sum(axis=1)))


def weighted_pauc(
    anomaly_score: Float[ndarray, " clips"],
    is_anomaly: Bool[ndarray, " clips"],
    count: Int[ndarray, "resamples clips"],
    max_fpr: float = MAX_FPR,
) -> Float[ndarray, " resamples"]:
    """McClish-standardised partial AUC up to ``max_fpr`` of every resample, the curve cut by linear interpolation."""
    anomaly, normal = _counts_by_score(anomaly_score, is_anomaly, count)
    with np.errstate(invalid="ignore"):
        # From the highest score down: one step of the ROC curve for each distinct score.
        tpr = np.cumsum(anomaly[:, ::-1], axis=1) / anomaly.sum(axis=1, keepdims=True)
        fpr = np.cumsum(normal[:, ::-1], axis=1) / normal.sum(axis=1, keepdims=True)
    tpr_before, fpr_before = (np.pad(rate, ((0, 0), (1, 0)))[:, :-1] for rate in (tpr, fpr))
    width = np.clip(fpr, 0, max_fpr) - np.clip(fpr_before, 0, max_fpr)
    rise = np.divide(tpr - tpr_before, fpr - fpr_before, out=np.zeros_like(tpr), where=fpr > fpr_before)
    area = (width * (tpr_before + 0.5 * width * rise)).sum(axis=1)
    least = 0.5 * max_fpr**2
    return np.asarray(0.5 * (1 + (area - least) / (max_fpr - least)))


def _counts_by_score(
    anomaly_score: Float[ndarray, " clips"],
    is_anomaly: Bool[ndarray, " clips"],
    count: Int[ndarray, "resamples clips"],
) -> tuple[Float[ndarray, "resamples distinct"], Float[ndarray, "resamples distinct"]]:
    """Anomalies and normals at each distinct score, ascending: tied scores share a column."""
    order = np.argsort(anomaly_score, kind="stable")
    starts = np.flatnonzero(np.diff(anomaly_score[order], prepend=-np.inf))
    ordered = np.take(count, order, axis=1).astype(np.float64)
    anomaly = ordered * is_anomaly[order]
    if len(starts) < len(order):
        anomaly, ordered = (np.add.reduceat(counts, starts, axis=1) for counts in (anomaly, ordered))
    return anomaly, ordered - anomaly


def _rows(scores: Sequence[ClipScore]) -> list[MachineMetrics]:
    result = evaluate(scores)
    return [*result.machines, result.overall]


def _intervals(
    rows: Sequence[MachineMetrics], replicates: Mapping[tuple[str, str], Replicates], confidence: float
) -> list[Interval]:
    return [
        _interval(row, metric, getattr(row, metric), replicates[row.machine, row.section][metric], confidence)
        for row in rows
        for metric in METRICS
    ]


def _interval(
    row: MachineMetrics,
    metric: str,
    estimate: float,
    replicates: Float[ndarray, " resamples"],
    confidence: float,
) -> Interval:
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(row.machine, row.section, metric, estimate, float(low), float(high))


def _draws(clips: Sequence[ClipScore], resamples: int, seed: int) -> dict[tuple[str, str], _Drawn]:
    """(machine, section) -> its clips and how often each is in each resample; where a condition lacks, nothing."""
    rng = np.random.default_rng(seed)
    groups: dict[tuple[str, str], list[int]] = {}
    for index, clip in enumerate(clips):
        if clip.condition != "unknown":
            groups.setdefault((clip.machine, clip.section), []).append(index)
    drawn = {}
    for group, indices in sorted(groups.items()):
        own = [clips[index] for index in indices]
        if len({clip.condition for clip in own}) == 2:
            strata = [f"{clip.domain} {clip.condition}" for clip in own]
            drawn[group] = _Drawn(indices, _stratified_counts(strata, resamples, rng))
    return drawn


def _replicates(
    system: Sequence[ClipScore], draws: Mapping[tuple[str, str], _Drawn], resamples: int
) -> dict[tuple[str, str], Replicates]:
    """(machine, section) -> replicates; the system holds the clips that were drawn from, in their order."""
    replicates = {
        group: _section_replicates([system[index] for index in drawn.clips], drawn.often)
        for group, drawn in draws.items()
    }
    replicates[ALL, ""] = _overall_replicates(list(replicates.values()), resamples)
    return replicates


def _stratified_counts(
    strata: Sequence[str], resamples: int, rng: np.random.Generator
) -> Int[ndarray, "resamples clips"]:
    names = np.array(strata)
    count = np.zeros((resamples, len(names)), dtype=np.int64)
    for name in np.unique(names):
        (members,) = np.nonzero(names == name)
        count[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
    return count


def _section_replicates(clips: Sequence[ClipScore], count: Int[ndarray, "resamples clips"]) -> Replicates:
    anomaly_score = np.array([clip.anomaly_score for clip in clips], dtype=np.float64)
    is_anomaly = np.array([clip.condition == "anomaly" for clip in clips])
    decision = np.array([clip.decision == 1 for clip in clips])
    decided = np.array([clip.decision is not None for clip in clips])
    values = {
        "pauc": weighted_pauc(anomaly_score, is_anomaly, count),
        "auc": weighted_auc(anomaly_score, is_anomaly, count),
    }
    for domain in ("source", "target"):
        in_domain = np.array([clip.domain == domain for clip in clips])
        values[f"auc_{domain}"] = weighted_auc(anomaly_score, is_anomaly, count * (in_domain | is_anomaly))
        names = [f"{name}_{domain}" for name in ("precision", "recall", "f1")]
        values |= zip(names, _precision_recall_f1(is_anomaly, decision, count * (in_domain & decided)), strict=True)
    values["hmean"] = _harmonic_mean([values["auc_source"], values["auc_target"], values["pauc"]])
    return values


def _precision_recall_f1(
    is_anomaly: Bool[ndarray, " clips"], decision: Bool[ndarray, " clips"], count: Int[ndarray, "resamples clips"]
) -> tuple[Float[ndarray, " resamples"], ...]:
    anomalies = count[:, is_anomaly].sum(axis=1).astype(np.float64)
    hits = count[:, is_anomaly & decision].sum(axis=1)
    # Undefined where the domain lacks a condition, as in the point estimate.
    anomalies[(anomalies == 0) | (anomalies == count.sum(axis=1))] = np.nan
    precision = hits / np.maximum(count[:, decision].sum(axis=1), sys.float_info.epsilon) + 0 * anomalies
    recall = hits / anomalies
    f1 = 2 * precision * recall / np.maximum(precision + recall, sys.float_info.epsilon)
    return precision, recall, f1


def _overall_replicates(sections: Sequence[Replicates], resamples: int) -> Replicates:
    values = {metric: _harmonic_mean([section[metric] for section in sections], resamples) for metric in METRICS}
    scored = [section[metric] for section in sections for metric in ("auc_source", "auc_target", "pauc")]
    values["hmean"] = _harmonic_mean(scored, resamples)
    return values


def _harmonic_mean(values: Sequence[Float[ndarray, " resamples"]], resamples: int = 0) -> Float[ndarray, " resamples"]:
    """Over what is not nan, zero counted as the machine epsilon; what is undefined is so in every resample."""
    defined = [value for value in values if not np.isnan(value).any()]
    if not defined:
        return np.full(len(values[0]) if values else resamples, np.nan)
    return np.asarray(len(defined) / np.sum(1 / np.maximum(defined, sys.float_info.epsilon), axis=0))
