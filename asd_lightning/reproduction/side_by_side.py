"""What was published and what was measured, side by side: the one place where the truth is read."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from asd_lightning.comparison.over_seeds import ENOUGH_SEEDS, ROUNDING
from asd_lightning.comparison.published import AS_PRINTED, CORRECTED
from asd_lightning.comparison.tables import SHOWN
from asd_lightning.evaluation.ground_truth import label_scores
from asd_lightning.evaluation.intervals import Interval, Resampled, mean_intervals, resampled
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.reproduction.plan import Plan
from asd_lightning.reproduction.rehearsal import WARNING
from asd_lightning.reproduction.running import Ground
from asd_lightning.reproduction.targets import PublishedSystem
from asd_lightning.run_folder import ResultSet
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.tables import Row, Table, percent, percent_interval, write_csv, write_tables

logger = logging.getLogger(__name__)

MachineSet = Literal["development", "evaluation"]


class Beside(NamedTuple):
    """One number, as fractions; nan where there is none.

    ``measured`` is the mean over ``seeds``; the intervals are those of ``difference``, measured less published: other
    test clips (bootstrap), and other seeds (t distribution; nan for fewer than three, and where all give the same).
    ``machine`` is ``all`` for the harmonic means over a set, whose ``hmean`` is the official score.
    """

    system: str
    set: MachineSet
    machine: str
    metric: str
    published: float
    measured: float
    seeds: int
    difference: float
    clips_low: float
    clips_high: float
    seeds_low: float
    seeds_high: float


def side_by_side(plan: Plan, ground: Ground, results: Mapping[str, Mapping[int, ResultSet]]) -> list[Beside]:
    """Every number of every system, machines first, of the development and then of the evaluation set.

    Raises:
        UserError: scores that cannot be read, or a truth of other clips.
    """
    rows: list[Beside] = []
    for one in plan.systems:
        runs = results[one.system.name]
        rows += _of_set(one.system, "development", ground.development, runs, None)
        if one.system.official.evaluation is not None:
            rows += _of_set(one.system, "evaluation", ground.evaluation, runs, ground.truth)
    return rows


def _of_set(
    system: PublishedSystem,
    name: MachineSet,
    machines: Sequence[str],
    runs: Mapping[int, ResultSet],
    truth: Path | None,
) -> Iterator[Beside]:
    drawn = [_drawn(results, machines, truth) for results in runs.values()]
    measured = {row.machine for row in drawn[0].rows}
    whole = set(machines) <= measured
    if not whole:
        lacking = ", ".join(machine for machine in machines if machine not in measured)
        logger.warning("%s, %s: no labelled test clips of %s, so no official score", system.name, name, lacking)
    for interval in mean_intervals(drawn):
        if interval.metric in SHOWN and (whole or interval.machine != ALL):
            yield _beside(system, name, interval, drawn)


def _drawn(results: ResultSet, machines: Sequence[str], truth: Path | None) -> Resampled:
    scores = [score for score in read_scores(results.scores) if score.machine in machines]
    return resampled(scores if truth is None else label_scores(scores, truth))


def _beside(system: PublishedSystem, name: MachineSet, interval: Interval, drawn: Sequence[Resampled]) -> Beside:
    published = _published(system, name, interval) / 100
    key = interval.machine, interval.section
    values = [getattr(row, interval.metric) for run in drawn for row in run.rows if (row.machine, row.section) == key]
    half = _half_width(values)
    return Beside(
        *(system.name, name, interval.machine, interval.metric, published, interval.estimate, len(values)),
        difference=interval.estimate - published,
        clips_low=interval.low - published,
        clips_high=interval.high - published,
        seeds_low=interval.estimate - half - published,
        seeds_high=interval.estimate + half - published,
    )


def _published(system: PublishedSystem, name: MachineSet, interval: Interval) -> float:
    """In per cent, nan where nothing is."""
    if interval.machine == ALL and interval.metric == "hmean":
        score = getattr(system.official, name)
        return math.nan if score is None else float(score)
    row = None
    if name == "development":
        row = system.averages if interval.machine == ALL else system.rows.get(interval.machine)
    return math.nan if row is None else float(getattr(row, interval.metric))


def _half_width(values: Sequence[float]) -> float:
    """Of the 95 % interval of the mean over seeds, by the t distribution; nan where they are too few, or all alike."""
    if len(values) < ENOUGH_SEEDS or max(values) - min(values) <= ROUNDING:
        return math.nan
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def short_table(plan: Plan, rows: Sequence[Beside], rehearsed: bool, notes: Sequence[str] = ()) -> Table:
    """For the terminal: what is published of a machine as one number, and the official scores."""
    shown = [row for row in rows if row.metric == "hmean" and not math.isnan(row.published)]
    return _table(plan, shown, rehearsed, notes)


def write_side_by_side(plan: Plan, rows: Sequence[Beside], rehearsed: bool, notes: Sequence[str] = ()) -> list[Path]:
    """``reproduction.csv`` with exact fractions, ``.md`` and ``.tex`` in per cent; of a rehearsal ``rehearsal``."""
    path = plan.output / ("rehearsal" if rehearsed else "reproduction")
    write_csv(path.with_suffix(".csv"), Beside._fields, rows)
    write_tables(path, _table(plan, rows, rehearsed, notes))
    return [path.with_suffix(suffix) for suffix in (".csv", ".md", ".tex")]


def _table(plan: Plan, rows: Sequence[Beside], rehearsed: bool, notes: Sequence[str]) -> Table:
    title = f"{plan.target.name}: published and measured, in %"
    heading = ("system", "machines", "machine", "metric", "published", "measured", "difference")
    enough = len(plan.seeds) >= ENOUGH_SEEDS
    intervals = ("95 % over clips", *((f"95 % over {len(plan.seeds)} seeds",) if enough else ()))
    return Table(
        f"REHEARSAL, without meaning: {title}" if rehearsed else title,
        (*heading, *intervals),
        tuple(_cells(row, enough) for row in rows),
        ((f"{WARNING}.",) if rehearsed else ()) + (*_about(plan, rows), *notes),
        words=4,
        muted=frozenset({heading.index("published")}),
    )


def _cells(row: Beside, over_seeds: bool) -> Row:
    last = row.machine == ALL and row.metric == "hmean"
    difference = "-" if math.isnan(row.difference) else f"{100 * row.difference:+.2f}"
    cells = (
        *(row.system, row.set, "official score" if last else row.machine, "" if last else SHOWN[row.metric]),
        *(percent(row.published), percent(row.measured), difference),
        percent_interval(row.clips_low, row.clips_high, "+"),
        *((percent_interval(row.seeds_low, row.seeds_high, "+"),) if over_seeds else ()),
    )
    return Row(cells, "emphasis" if last else "plain")


def _about(plan: Plan, rows: Sequence[Beside]) -> Iterator[str]:
    yield f"Published: {plan.target.source}."
    seeds = f"seed{'' if len(plan.seeds) == 1 else 's'} {', '.join(map(str, plan.seeds))}"
    yield (
        f"Measured: mean over {seeds}. Intervals are of the difference: over other test clips by a bootstrap, over "
        "other seeds by a t distribution. Where one holds 0, the difference may be chance."
    )
    if 1 < len(plan.seeds) < ENOUGH_SEEDS:
        yield f"{len(plan.seeds)} seeds: no interval over seeds, they are too few."
    elif len(plan.seeds) > 1:
        yield "No interval over seeds where all of them give the same."
    if any((row.machine, row.system) == (CORRECTED[1], "system1") for row in rows):
        printed = " / ".join(f"{value:.2f}" for value in AS_PRINTED)
        yield (
            f"{CORRECTED[0]}, {CORRECTED[1]} is printed as {printed}, a copy of its slider row; the row shown is "
            "solved back from the printed averages (AUC ± 0.02)."
        )
    yield from (f"Open: {text}." for text in plan.target.left_open)
    if plan.changes:
        yield f"Changed here: {' '.join(plan.changes)}."
