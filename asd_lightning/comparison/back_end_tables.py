"""The table of a sweep over back-ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple
from itertools import count
from pathlib import Path

from asd_lightning.comparison.back_ends import BASELINE, OWN, Swept
from asd_lightning.comparison.elsewhere import ChosenElsewhere, choice_note, chosen_elsewhere
from asd_lightning.comparison.made_of import is_free, refuse_other, relative, write_made_of
from asd_lightning.evaluation.intervals import Interval
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.scoring.clip_scores import machine_name
from asd_lightning.tables import Row, Table, percent, percent_interval, write_csv, write_tables

COLUMNS = ("pooling", "scorer", "quantity", "machine", "section", "metric", "estimate", "low", "high")
SWEEP = "score_sweep"
"""Folder of a run's first sweep; those of other choices lie in ``score_sweep_2``, ``score_sweep_3``..."""
CHOICES = "choices.json"
"""What was swept: only the same is written over."""
_TABLE = "scorers.csv"
EXPLANATION = (
    "Per cent. Machines: hmean, the harmonic mean of AUC source, AUC target and pAUC. Official score: over all "
    "machines, with the 95 % bootstrap interval over test clips. Difference: paired, to {against}, on the "
    "same resamples. Choosing the best row by its score on test clips is a choice by test labels."
)


def sweep_table(swept: Sequence[Swept], title: str, at_most: int | None = None) -> Table:
    """The highest official score first; what failed is named below.

    Args:
        swept: every result, those of the first pooling first.
        title: of the table.
        at_most: so many rows, and how many more there are.
    """
    machines = list(dict.fromkeys(_machine(row) for one in swept for row in one.intervals if _machine(row) != ALL))
    # A single pooling is no choice to be shown, unless it is another than the run's.
    pooled = {one.pooling for one in swept} - {OWN}
    first = swept[0].pooling if swept else OWN
    against = f"{first}, {BASELINE}" if pooled else BASELINE
    heading = (*(("pooling",) if pooled else ()), "scorer", *machines, "official score", "95 % interval")
    ordered = sorted(swept, key=_order)
    rows = [
        Row(
            (*((one.pooling,) if pooled else ()), *_row(one, machines)),
            "emphasis" if (one.pooling, one.name) == (first, BASELINE) else "plain",
        )
        for one in ordered[:at_most]
    ]
    more = [f"{len(ordered) - len(rows)} more in the files."] if len(ordered) > len(rows) else []
    failures = [
        f"{f'{one.pooling}, ' if pooled else ''}{one.name} failed: {one.failure}" for one in swept if one.failure
    ]
    elsewhere = choice_note(_choices(swept))
    notes = (*more, EXPLANATION.format(against=against), *filter(None, [elsewhere]), *failures)
    return Table(title, (*heading, f"difference to {against}"), tuple(rows), notes, 2 if pooled else 1)


def sweep_folder(run: Path, chosen: Mapping[str, object], output: Path | None) -> Path:
    """Where the tables of a sweep go: nothing of another sweep is replaced, the very same one is written over.

    Args:
        run: what is swept.
        chosen: poolings, back-ends and threshold.
        output: a folder that the user has named.

    Raises:
        UserError: ``output`` holds the tables of another sweep.
    """
    if output is None:
        names = (SWEEP if number == 1 else f"{SWEEP}_{number}" for number in count(1))
        folders = map(run.joinpath, names)
        return next(each for each in folders if is_free(each / _TABLE, CHOICES, _told(each, run, chosen)))
    refuse_other(output / _TABLE, CHOICES, _told(output, run, chosen), "a sweep of other choices")
    return output


def _told(folder: Path, run: Path, chosen: Mapping[str, object]) -> dict[str, object]:
    return {"run": relative([run], folder)[0], **chosen}


def write_sweep(swept: Sequence[Swept], title: str, out: Path, run: Path, chosen: Mapping[str, object]) -> list[str]:
    """Write ``scorers.csv`` (one number a row, exact fractions), ``scorers.md`` and ``.tex``; returns their names.

    ``scorers_choice.csv`` has for each machine the row that is best on the others, and ``choices.json`` what was swept
    (see ``sweep_folder``).
    """
    write_made_of(out / CHOICES, _told(out, run, chosen))
    write_csv(out / _TABLE, COLUMNS, _numbers(swept))
    write_csv(out / "scorers_choice.csv", ChosenElsewhere._fields, _choices(swept))
    write_tables(out / "scorers", sweep_table(swept, title))
    return [_TABLE, "scorers_choice.csv", "scorers.md", "scorers.tex"]


def _choices(swept: Sequence[Swept]) -> list[ChosenElsewhere]:
    """For each machine the row that is best on the others."""
    values = {
        f"{one.pooling}, {one.name}" if one.pooling != OWN else one.name: {
            (_machine(row), row.metric): row.estimate for row in one.intervals
        }
        for one in swept
        if one.intervals
    }
    return list(chosen_elsewhere(values))


def _numbers(swept: Sequence[Swept]) -> Iterator[tuple[object, ...]]:
    for one in swept:
        for quantity, intervals in (("value", one.intervals), ("difference", one.differences)):
            yield from ((one.pooling, one.name, quantity, *astuple(row)) for row in intervals)
        if one.failure:
            yield one.pooling, one.name, "failure", "", "", one.failure, "", "", ""


def _row(one: Swept, machines: Sequence[str]) -> tuple[str, ...]:
    if one.failure:
        return (one.name, *("-" for _ in machines), "failed", "", "")
    hmean = {_machine(row): row for row in one.intervals if row.metric == "hmean"}
    cells = [percent(hmean[machine].estimate) if machine in hmean else "-" for machine in machines]
    official = hmean[ALL]
    difference = next((row for row in one.differences if (_machine(row), row.metric) == (ALL, "hmean")), None)
    between = ""
    if difference:
        between = f"{difference.estimate * 100:+.2f} ({percent_interval(difference.low, difference.high, '+')})"
    return (one.name, *cells, percent(official.estimate), percent_interval(official.low, official.high), between)


def _order(one: Swept) -> tuple[bool, float]:
    value = next((row.estimate for row in one.intervals if (_machine(row), row.metric) == (ALL, "hmean")), math.nan)
    return math.isnan(value), -value


def _machine(row: Interval) -> str:
    return machine_name(row.machine, row.section)
