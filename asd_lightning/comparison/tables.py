"""A comparison as CSV, Markdown and terminal table, beside the published scores of the same machines."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asd_lightning.atomic import write_text_atomically
from asd_lightning.comparison.published import (
    AS_PRINTED,
    AS_REPORTED,
    CORRECTED,
    TABLE_2,
    TABLE_2_AVERAGES,
    PublishedRow,
)
from asd_lightning.comparison.systems import Comparison, Spread, System
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.plain_text import in_markdown, on_terminal, printable

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = {"auc_source": "AUC_s", "auc_target": "AUC_t", "pauc": "pAUC", "hmean": "hmean"}
"""The metrics of the report's table and their headings there."""
COLUMNS = ("source", "system", "machine", "metric", "mean", "standard_deviation", "seeds")
TABLE_2_MACHINES = frozenset(TABLE_2[CORRECTED[0]])


def published_systems(machines: Sequence[str]) -> list[str]:
    """The published systems to show beside these machines: none, unless one of the machines is in the report."""
    return list(TABLE_2) if TABLE_2_MACHINES & set(machines) else []


def published_row(system: str, machine: str, machines: Sequence[str]) -> PublishedRow | None:
    """The published row of a machine, or, for ``ALL`` over exactly the report's machines, its averages."""
    if machine == ALL:
        return TABLE_2_AVERAGES[system] if set(machines) == TABLE_2_MACHINES else None
    return TABLE_2[system].get(machine)


def write_tables(comparison: Comparison, out: Path) -> None:
    """Write ``comparison.csv`` (one number a row, fractions, exact) and ``comparison.md`` (per cent)."""
    write_text_atomically(out / "comparison.csv", _csv(comparison))
    write_text_atomically(out / "comparison.md", _markdown(comparison))


def render_comparison(comparison: Comparison) -> Table:
    """``hmean`` of every machine and the official score, in per cent, for the terminal."""
    from rich.table import Table
    from rich.text import Text

    published = published_systems(comparison.machines)
    notes = Text("\n".join(map(printable, _footnotes(comparison))), style="dim", justify="left")
    table = Table(title="hmean in %, mean ± standard deviation over seeds", caption=notes)
    table.add_column("machine", no_wrap=True)
    for system in comparison.systems:
        table.add_column(on_terminal(system.name), justify="right", overflow="fold", min_width=6)
    for name in published:
        table.add_column(Text(name), justify="right", style="dim", overflow="fold", min_width=6)
    for machine in (*comparison.machines, ALL):
        if machine == ALL:
            table.add_section()
        ours = [_cell(system.spread.get((machine, "hmean"))) for system in comparison.systems]
        theirs = [_published_cell(name, machine, "hmean", comparison.machines) for name in published]
        table.add_row("official score" if machine == ALL else on_terminal(machine), *ours, *theirs)
    table.add_section()
    table.add_row("seeds", *(str(len(system.finished)) for system in comparison.systems), *("" for _ in published))
    if any(system.failed for system in comparison.systems):
        table.add_row(
            "failed", *(Text("\n".join(map(printable, _failed(system)))) for system in comparison.systems), style="red"
        )
    return table


def _csv(comparison: Comparison) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for system in comparison.systems:
        for (machine, metric), spread in system.spread.items():
            numbers = [repr(spread.mean), repr(spread.deviation), spread.seeds]
            writer.writerow(["runs", system.name, machine, metric, *numbers])
        writer.writerows(["failed", system.name, "", "", "", "", run.folder] for run in system.failed)
    for name in published_systems(comparison.machines):
        for machine in (*comparison.machines, ALL):
            row = published_row(name, machine, comparison.machines)
            for metric in SHOWN if row else ():
                source = "corrected" if (name, machine) == CORRECTED else "published"
                writer.writerow([source, name, machine, metric, repr(getattr(row, metric) / 100), "", ""])
    return text.getvalue()


def _markdown(comparison: Comparison) -> str:
    published = published_systems(comparison.machines)
    rows = [["machine", "metric", *(in_markdown(system.name) for system in comparison.systems), *published]]
    for machine in (*comparison.machines, ALL):
        for metric, heading in SHOWN.items():
            ours = [_cell(system.spread.get((machine, metric))) for system in comparison.systems]
            theirs = [_published_cell(name, machine, metric, comparison.machines) for name in published]
            label = ("official score", "") if (machine, metric) == (ALL, "hmean") else (in_markdown(machine), heading)
            rows.append([*label, *ours, *theirs])
    blank = ["" for _ in published]
    rows.append(["seeds", "", *(str(len(system.finished)) for system in comparison.systems), *blank])
    if any(system.failed for system in comparison.systems):
        rows.append(
            ["failed", "", *("<br>".join(map(in_markdown, _failed(system))) for system in comparison.systems), *blank]
        )
    lines = ["# Comparison", "", "Per cent; mean ± sample standard deviation over seeds.", "", *_aligned(rows), ""]
    lines += [f"- {in_markdown(note)}" for note in _footnotes(comparison)]
    if published:
        lines += ["", "Official scores as reported by others, in per cent; none of them reproduced here:", ""]
        reported = [[row.system, _number(row.development), _number(row.evaluation)] for row in AS_REPORTED]
        lines += _aligned([["system", "development", "evaluation"], *reported])
    return "\n".join(lines) + "\n"


def _footnotes(comparison: Comparison) -> list[str]:
    failures = [
        f"failed: {run.folder} (seed {'?' if run.seed is None else run.seed}): {run.failure}"
        for system in comparison.systems
        for run in system.failed
    ]
    notes = [*comparison.notes, *failures]
    if published_systems(comparison.machines):
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
    mean = f"{100 * spread.mean:.2f}"
    return mean if math.isnan(spread.deviation) else f"{mean} ± {100 * spread.deviation:.2f}"


def _published_cell(system: str, machine: str, metric: str, machines: Sequence[str]) -> str:
    row = published_row(system, machine, machines)
    if row is None:
        return ""
    return f"{getattr(row, metric):.2f}" + ("*" if (system, machine) == CORRECTED else "")


def _failed(system: System) -> list[str]:
    return ["/".join(run.folder.parts[-2:]) for run in system.failed]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
