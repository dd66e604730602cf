"""Tables made once: rows of text for Markdown, LaTeX and the terminal, exact numbers for CSV."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from asd_lightning.atomic import write_text_atomically
from asd_lightning.plain_text import in_markdown, on_terminal, printable

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_UNBOUNDED = 10_000
_LONG_NAME = 20
_LATEX = {char: rf"\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}
_STYLES = {"total": "bold", "emphasis": "bold", "failed": "red", "plain": None}


@dataclass(frozen=True)
class Row:
    """Cells of text, and what the row is: a ``total`` stands apart below the others."""

    cells: tuple[str, ...]
    kind: Literal["plain", "emphasis", "total", "failed"] = "plain"


@dataclass(frozen=True)
class Table:
    """What is shown of some results.

    Attributes:
        title: one line.
        heading: of the columns.
        rows: of as many cells as the heading has.
        notes: sentences below the table.
        words: how many columns from the left hold words; the others hold numbers and stand right.
        muted: columns of what was not measured here.
    """

    title: str
    heading: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    words: int = 1
    muted: frozenset[int] = frozenset()


def percent(value: float) -> str:
    """A fraction in per cent with two decimals.

    >>> percent(0.6402), percent(float("nan"))
    ('64.02', '-')
    """
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def percent_interval(low: float, high: float, sign: str = "") -> str:
    """Ends of an interval in per cent; ``sign`` "+" for those of a difference.

    >>> percent_interval(-0.012, 0.034, "+")
    '-1.20 to +3.40'
    """
    return "-" if math.isnan(low) else f"{100 * low:{sign}.2f} to {100 * high:{sign}.2f}"


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows below their heading; floats so that reading gives the same bits back, ``None`` as nothing."""
    write_text_atomically(path, csv_text([list(columns), *rows]))


class _Lines(NamedTuple):
    """What ``csv.writer`` writes to: ``write`` is called once for each row."""

    write: Callable[[str], object]


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    r"""Lines of CSV.

    >>> csv_text([["a, b", 0.1, None, 2]])
    '"a, b",0.1,,2\n'
    """
    lines: list[str] = []
    # Python 3.11 quotes a carriage return in a cell only where the line's end has one.
    writer = csv.writer(_Lines(lines.append), lineterminator="\r\n")
    # Numbers of numpy have a spelling of their own.
    writer.writerows(
        [repr(float(cell)) if isinstance(cell, float | np.floating) else cell for cell in row] for row in rows
    )
    return "".join(line.removesuffix("\r\n") + "\n" for line in lines)


def write_tables(path: Path, table: Table) -> None:
    """Write a table as Markdown and as LaTeX: ``path`` with the endings ``.md`` and ``.tex``."""
    write_text_atomically(path.with_suffix(".md"), as_markdown(table))
    write_text_atomically(path.with_suffix(".tex"), as_latex(table))


def as_markdown(table: Table) -> str:
    """Title, table with padded cells, and notes."""
    lines = [f"# {in_markdown(table.title)}", "", *markdown_lines(table)]
    if table.notes:
        lines += ["", *(f"- {in_markdown(note)}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def markdown_lines(table: Table) -> list[str]:
    """The table alone."""
    cells = [[in_markdown(cell) for cell in row] for row in (table.heading, *(row.cells for row in table.rows))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.heading))]
    pads = [str.ljust if column < table.words else str.rjust for column in range(len(widths))]
    lines = [
        "| " + " | ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)) + " |"
        for row in cells
    ]
    rules = ["-" * (w + 2) if column < table.words else "-" * (w + 1) + ":" for column, w in enumerate(widths)]
    return [lines[0], "|" + "|".join(rules) + "|", *lines[1:]]


def as_latex(table: Table) -> str:
    r"""A ``tabular`` for the package booktabs, the notes as comments: ``\input`` it within a ``table``."""
    columns = "l" * table.words + "r" * (len(table.heading) - table.words)
    lines = [
        f"% {printable(table.title)}",
        *(f"% {printable(note)}" for note in table.notes),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_row(table.heading),
        r"\midrule",
    ]
    for row in table.rows:
        lines += [r"\midrule"] if row.kind == "total" else []
        lines.append(_latex_row(row.cells))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def as_terminal(table: Table) -> RichTable:
    """The table for a terminal; names are no markup there."""
    from rich.table import Table as RichTable
    from rich.text import Text

    notes = Text("\n".join(map(printable, table.notes)), style="dim", justify="left") if table.notes else None
    shown = RichTable(title=on_terminal(table.title), caption=notes)
    for column, heading in enumerate(table.heading):
        word = column < table.words
        style = "dim" if column in table.muted else None
        # Of a very long name the rest goes below, so that the numbers keep their place.
        kept_whole = word and max((len(row.cells[column]) for row in table.rows), default=0) <= _LONG_NAME
        shown.add_column(
            on_terminal(heading), justify="left" if word else "right", no_wrap=kept_whole, style=style, overflow="fold"
        )
    for row in table.rows:
        if row.kind == "total":
            shown.add_section()
        shown.add_row(*map(on_terminal, row.cells), style=_STYLES[row.kind])
    return shown


def print_table(table: Table) -> None:
    """Print a table; where the output has no width of its own, such as a pipe, no column is folded."""
    from rich.console import Console

    shown, console = as_terminal(table), Console()
    if not console.is_terminal:
        console = Console(width=Console(width=_UNBOUNDED).measure(shown).maximum)
    console.print(shown)


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_in_latex(cell) for cell in cells) + r" \\"


def _in_latex(text: str) -> str:
    return re.sub(r"[^\w\s.,:;()/+-]", lambda found: _LATEX.get(found[0], found[0]), printable(text)).replace(
        "_", r"\_"
    )
