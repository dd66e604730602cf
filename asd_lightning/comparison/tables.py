"""A comparison in tables, beside the published scores of the same machines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from asd_lightning.comparison.elsewhere import ChosenElsewhere, choice_note, chosen_elsewhere
from asd_lightning.comparison.over_seeds import ENOUGH_SEEDS, PairedDifference, shared_seeds
from asd_lightning.comparison.published import (
    AS_PRINTED,
    AS_REPORTED,
    CORRECTED,
    TABLE_2,
    TABLE_2_AVERAGES,
    PublishedRow,
)
from asd_lightning.comparison.systems import Comparison, Spread, System
from asd_lightning.comparison.unfinished import FAILED, INTERRUPTED, TRAINING
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.tables import Row, Table, percent, write_csv, write_tables

SHOWN = {"auc_source": "AUC_s", "auc_target": "AUC_t", "pauc": "pAUC", "hmean": "hmean"}
"""The metrics of the report's table and their headings there."""
COLUMNS = ("source", "system", "machine", "metric", "mean", "standard_deviation", "seeds")
SEED_COLUMNS = ("system", "seed", "run", "machine", "metric", "value")
TABLE_2_MACHINES = frozenset(TABLE_2[CORRECTED[0]])


def published_systems(machines: Sequence[str]) -> list[str]:
    """The published systems to show beside these machines: none, unless one of the machines is in the report."""
    return list(TABLE_2) if TABLE_2_MACHINES & set(machines) else []


def published_row(system: str, machine: str, machines: Sequence[str]) -> PublishedRow | None:
    """The published row of a machine, or, for ``ALL`` over exactly the report's machines, its averages."""
    if machine == ALL:
        return TABLE_2_AVERAGES[system] if set(machines) == TABLE_2_MACHINES else None
    return TABLE_2[system].get(machine)


def write_comparison_tables(
    comparison: Comparison, out: Path, differences: Sequence[PairedDifference] = ()
) -> list[str]:
    """Write one number a row, exact fractions, and the tables in per cent; returns the files' names.

    ``comparison.csv`` has means over seeds, ``comparison_seeds.csv`` the values of single runs,
    ``comparison_differences.csv`` what systems differ by over the seeds that they share and over test clips, and
    ``comparison_choice.csv`` for each machine the system that is best on the others.
    """
    write_csv(out / "comparison.csv", COLUMNS, _means(comparison))
    write_csv(out / "comparison_seeds.csv", SEED_COLUMNS, _values_of_seeds(comparison))
    write_csv(out / "comparison_differences.csv", PairedDifference._fields, differences)
    write_csv(out / "comparison_choice.csv", ChosenElsewhere._fields, choices(comparison))
    write_tables(out / "comparison", metrics_table(comparison, differences))
    tables = ("comparison.csv", *(f"comparison_{name}.csv" for name in ("seeds", "differences", "choice")))
    return [*tables, "comparison.md", "comparison.tex"]


def hmean_table(comparison: Comparison, differences: Sequence[PairedDifference] = ()) -> Table:
    """``hmean`` of every machine and the official score; of the differences, which are clear and which within noise."""
    published = shown_published(comparison)
    ours = tuple(system.name for system in comparison.systems)
    rows = []
    for machine in (*comparison.machines, ALL):
        label = "official score" if machine == ALL else machine
        cells = _cells_of(comparison, machine, "hmean", published)
        rows.append(Row((label, *cells), "total" if machine == ALL else "plain"))
    rows += _last_rows(comparison, 1, len(published))
    muted = frozenset(range(1 + len(ours), 1 + len(ours) + len(published)))
    title = "hmean in %, mean ± standard deviation over seeds"
    return Table(
        title, ("machine", *ours, *published), tuple(rows), tuple(_footnotes(comparison, differences)), muted=muted
    )


def metrics_table(comparison: Comparison, differences: Sequence[PairedDifference] = ()) -> Table:
    """Four metrics of every machine, and the official score."""
    published = shown_published(comparison)
    rows = []
    for machine in (*comparison.machines, ALL):
        for metric, short in SHOWN.items():
            last = machine == ALL and metric == "hmean"
            label = ("official score", "") if last else (machine, short)
            rows.append(Row((*label, *_cells_of(comparison, machine, metric, published)), "total" if last else "plain"))
    rows += _last_rows(comparison, 2, len(published))
    notes = ["Per cent; mean ± sample standard deviation over seeds.", *_footnotes(comparison, differences)]
    if published:
        reported = "; ".join(
            f"{row.system} {_number(row.development)} / {_number(row.evaluation)}" for row in AS_REPORTED
        )
        notes.append(
            "Official scores as reported by others, development / evaluation, none of them reproduced here: "
            f"{reported}."
        )
    heading = ("machine", "metric", *(system.name for system in comparison.systems), *published)
    return Table("Comparison", heading, tuple(rows), tuple(notes), words=2)


def shown_published(comparison: Comparison) -> list[str]:
    """The published systems that may stand beside these runs: none beside synthetic machines."""
    return [] if comparison.synthetic else published_systems(comparison.machines)


def _cells_of(comparison: Comparison, machine: str, metric: str, published: Sequence[str]) -> list[str]:
    ours = [_cell(system.spread.get((machine, metric))) for system in comparison.systems]
    return ours + [_published_cell(name, machine, metric, comparison.machines) for name in published]


def _last_rows(comparison: Comparison, words: int, published: int) -> Iterator[Row]:
    blank, labels = [""] * published, [""] * (words - 1)
    yield Row(("seeds", *labels, *(str(system.seeds) for system in comparison.systems), *blank))
    for state in (TRAINING, INTERRUPTED, FAILED):
        if any(run.state == state for system in comparison.systems for run in system.failed):
            own = (_in_state(system, state) for system in comparison.systems)
            yield Row((state, *labels, *own, *blank), "failed" if state == FAILED else "plain")


def _means(comparison: Comparison) -> Iterator[tuple[object, ...]]:
    for system in comparison.systems:
        for (machine, metric), spread in system.spread.items():
            yield "runs", system.name, machine, metric, *spread
        yield from ((run.state, system.name, "", "", "", "", run.folder) for run in system.failed)
    for name in shown_published(comparison):
        for machine in (*comparison.machines, ALL):
            row = published_row(name, machine, comparison.machines)
            for metric in SHOWN if row else ():
                source = "corrected" if (name, machine) == CORRECTED else "published"
                yield source, name, machine, metric, getattr(row, metric) / 100, "", ""


def _values_of_seeds(comparison: Comparison) -> Iterator[tuple[object, ...]]:
    for system in comparison.systems:
        for run in system.finished:
            for (machine, metric), value in run.values.items():
                yield system.name, run.seed, run.folder, machine, metric, value


def choices(comparison: Comparison) -> list[ChosenElsewhere]:
    """For each machine the system that the others choose, by means over seeds: see ``chosen_elsewhere``."""
    means = {
        system.name: {key: spread.mean for key, spread in system.spread.items()}
        for system in comparison.systems
        if system.finished
    }
    return list(chosen_elsewhere(means))


def conclusions(comparison: Comparison, differences: Sequence[PairedDifference]) -> list[str]:
    """What every system differs from the best by, and what a choice by the other machines is worth; in sentences."""
    choice = choice_note(choices(comparison), comparison.over_seeds)
    return [*_differences_to_best(comparison, differences), *filter(None, [choice])]


def _differences_to_best(comparison: Comparison, differences: Sequence[PairedDifference]) -> Iterator[str]:
    """A line for each system but the one with the highest official score: whether the two are apart."""
    scores = {system.name: system.spread[ALL, "hmean"].mean for system in comparison.systems if system.finished}
    known = {name: score for name, score in scores.items() if not math.isnan(score)}
    best = max(known, key=lambda name: known[name], default="")
    rows = {row[:2]: row for row in differences if (row.machine, row.metric) == (ALL, "hmean")}
    systems = {system.name: system for system in comparison.systems}
    for other in sorted(known, key=lambda name: -known[name]):
        row = rows.get((other, best)) or rows.get((best, other))
        if row is not None:
            seeds = shared_seeds(systems[other], systems[best])
            fewer = row.seeds < max(systems[name].seeds for name in (other, best))
            told = _over_which(seeds) if fewer and len(seeds) == row.seeds else ""
            difference = _told(row, 1 if row.system == other else -1)
            yield f"{other} against the highest official score, {best}{told}: {difference}."
        elif other != best:
            apart = "no seed or not the same machines in common, so not compared"
            yield f"{other} against the highest official score, {best}: {apart}."


def _over_which(seeds: Sequence[int]) -> str:
    return f", over seed {seeds[0]} alone" if len(seeds) == 1 else f", over seeds {', '.join(map(str, seeds))}"


def _told(row: PairedDifference, sign: int) -> str:
    if row.identical:
        return "identical scores"
    low, high = sorted((sign * row.low, sign * row.high))
    clips = "" if math.isnan(low) else f" ({100 * low:+.2f} to {100 * high:+.2f} over clips)"
    tested = row.seeds >= ENOUGH_SEEDS and not math.isnan(row.p_value)
    seeds = f", p = {row.p_value:.2g} over {row.seeds} seeds" if tested else ""
    return f"{100 * sign * row.difference:+.2f} points{clips}{seeds}: {_verdict(row)}"


def _verdict(row: PairedDifference) -> str:
    few = f"{row.seeds} seed{' is' if row.seeds == 1 else 's are'} too few to tell"
    if row.clear is None:
        return few if row.seeds < ENOUGH_SEEDS else "nothing tells whether it is noise"
    told = "clear" if row.clear else "within noise"
    return f"{told} over clips, and {few} of another training" if row.seeds < ENOUGH_SEEDS else told


def _footnotes(comparison: Comparison, differences: Sequence[PairedDifference]) -> list[str]:
    failures = [
        f"{run.state}: {run.folder} (seed {'?' if run.seed is None else run.seed}): {run.failure}"
        for system in comparison.systems
        for run in system.failed
    ]
    notes = [*comparison.notes, *failures, *conclusions(comparison, differences)]
    if shown_published(comparison):
        notes.append("XJU: Table 2 of the report; its averages are harmonic means, cut to two decimals.")
        if CORRECTED[1] in comparison.machines:
            printed = " / ".join(f"{value:.2f}" for value in AS_PRINTED)
            notes.append(
                f"*: {CORRECTED[0]}, {CORRECTED[1]} is printed as {printed}, a copy of its slider row; "
                "the row shown is solved back from the printed averages (AUC ± 0.02)."
            )
        if set(comparison.machines) != TABLE_2_MACHINES:
            notes.append(
                "The published official scores are over the seven development machines: not shown beside others."
            )
    return notes


def _cell(spread: Spread | None) -> str:
    if spread is None or math.isnan(spread.mean):
        return "-"
    mean = percent(spread.mean)
    return mean if math.isnan(spread.deviation) else f"{mean} ± {percent(spread.deviation)}"


def _published_cell(system: str, machine: str, metric: str, machines: Sequence[str]) -> str:
    row = published_row(system, machine, machines)
    if row is None:
        return ""
    return f"{getattr(row, metric):.2f}" + ("*" if (system, machine) == CORRECTED else "")


def _in_state(system: System, state: str) -> str:
    return ", ".join("/".join(run.folder.parts[-2:]) for run in system.failed if run.state == state)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
