"""The table of a sweep over back-ends: for the terminal, as CSV and as Markdown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from asd_lightning.atomic import write_text_atomically
from asd_lightning.comparison.back_ends import Swept
from asd_lightning.evaluation.intervals import Interval
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.plain_text import in_markdown, on_terminal
from asd_lightning.scoring.clip_scores import machine_name

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("scorer", "quantity", "machine", "section", "metric", "estimate", "low", "high")
EXPLANATION = (
    "Per cent. Machines: hmean, the harmonic mean of AUC source, AUC target and pAUC. Official score: over all "
    "machines, with the 95 % bootstrap interval over test clips. Difference: paired, to knn, on the same resamples. "
    "Choosing the best row by its score on test clips is a choice by test labels."
)


def sweep_rows(swept: Sequence[Swept], baseline: str) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of the table, the highest official score first; cells in per cent."""
    machines = list(dict.fromkeys(_machine(row) for one in swept for row in one.intervals if _machine(row) != ALL))
    heading = ["scorer", *machines, "official score", "95 % interval", f"difference to {baseline}"]
    return heading, [_row(one, machines) for one in sorted(swept, key=_order)]


def render_sweep(swept: Sequence[Swept], baseline: str, title: str) -> Table:
    """The table for the terminal; what failed is named below it."""
    from rich.table import Table
    from rich.text import Text

    heading, rows = sweep_rows(swept, baseline)
    caption = Text("\n".join([EXPLANATION, *_failures(swept)]), style="dim", justify="left")
    table = Table(title=on_terminal(title), caption=caption)
    for index, cell in enumerate(heading):
        table.add_column(on_terminal(cell), justify="left" if index == 0 else "right", no_wrap=index == 0)
    for row in rows:
        # Text: a machine's name is no markup.
        table.add_row(*(on_terminal(cell) for cell in row), style="bold" if row[0] == baseline else None)
    return table


def write_sweep(swept: Sequence[Swept], baseline: str, title: str, out: Path) -> None:
    """Write ``scorers.csv`` (one number a row, exact fractions) and ``scorers.md`` (the table, in per cent)."""
    write_text_atomically(out / "scorers.csv", _csv(swept))
    lines = [f"# {in_markdown(title)}", "", *markdown_table(*sweep_rows(swept, baseline)), "", EXPLANATION, ""]
    lines += [f"- {failure}" for failure in _failures(swept)]
    write_text_atomically(out / "scorers.md", "\n".join(lines).rstrip() + "\n")


def markdown_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table with padded cells; all columns but the first stand right."""
    cells = [[in_markdown(cell) for cell in row] for row in (heading, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heading))]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in cells]
    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return [lines[0], rule, *lines[1:]]


def _csv(swept: Sequence[Swept]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in swept:
        for quantity, intervals in (("value", one.intervals), ("difference", one.differences)):
            for row in intervals:
                writer.writerow([one.name, quantity, *astuple(row)[:3], *map(repr, astuple(row)[3:])])
        if one.failure:
            writer.writerow([one.name, "failure", "", "", one.failure, "", "", ""])
    return text.getvalue()


def _row(one: Swept, machines: Sequence[str]) -> list[str]:
    if one.failure:
        return [one.name, *("-" for _ in machines), "failed", "", ""]
    hmean = {_machine(row): row for row in one.intervals if row.metric == "hmean"}
    cells = [_percent(hmean[machine].estimate) if machine in hmean else "-" for machine in machines]
    official = hmean[ALL]
    difference = next((row for row in one.differences if (_machine(row), row.metric) == (ALL, "hmean")), None)
    between = f"{difference.estimate * 100:+.2f} ({_ends(difference, '+')})" if difference else ""
    return [one.name, *cells, _percent(official.estimate), _ends(official), between]


def _order(one: Swept) -> tuple[bool, float]:
    value = next((row.estimate for row in one.intervals if (_machine(row), row.metric) == (ALL, "hmean")), math.nan)
    return math.isnan(value), -value


def _failures(swept: Sequence[Swept]) -> list[str]:
    return [f"{one.name} failed: {one.failure}" for one in swept if one.failure]


def _machine(row: Interval) -> str:
    return machine_name(row.machine, row.section)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _ends(row: Interval, sign: str = "") -> str:
    if math.isnan(row.low):
        return "-"
    return f"{100 * row.low:{sign}.2f} to {100 * row.high:{sign}.2f}"
