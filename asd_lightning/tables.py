"""Tables made once: rows of text for Markdown, LaTeX and the terminal, exact numbers for CSV."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from asd_lightning.atomic import write_text_atomically
from asd_lightning.plain_text import in_markdown, on_terminal, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

_UNBOUNDED = 10_000
_NO_TERMINAL = 120
"""Letters in a line where the output has no width of its own: a log shows so many, and so does a pager."""
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
            on_terminal(heading),
            justify="left" if word else "right",
            no_wrap=kept_whole,
            style=style,
            overflow="fold",
            max_width=None if word else _width_of_numbers(heading, [row.cells[column] for row in table.rows]),
        )
    for row in table.rows:
        if row.kind == "total":
            shown.add_section()
        shown.add_row(*map(on_terminal, row.cells), style=_STYLES[row.kind])
    return shown


def _width_of_numbers(heading: str, cells: Sequence[str]) -> int:
    """Letters of a column whose heading of several words may stand in several lines: its cells and words stay whole."""
    from rich.cells import cell_len

    return max(_LONG_NAME, *(cell_len(printable(text)) for text in (*heading.split(), *cells)))


def print_table(table: Table) -> None:
    """Print a table; where the output has no width of its own, such as a pipe, no column is folded.

    In a narrow terminal the longest names go on below, so that headings and numbers stay whole.
    """
    from rich.console import Console

    _print(table, Console())


def print_in_parts(table: Table) -> None:
    """Print a table of many columns of numbers: as many beside each other as fit, the others below, notes at the end.

    Where the output is no terminal a line has 120 letters, or as many as the variable ``COLUMNS`` says.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_NO_TERMINAL)
    for part in parts_of(table, console.width):
        _print(part, console)
    for note in table.notes:
        console.print(Text(printable(note), style="dim"))


def _print(table: Table, console: Console) -> None:
    """Where the table is wider than the console: in a terminal names go on below, elsewhere lines are longer."""
    from rich.console import Console

    shown, width = as_terminal(table), _natural_width(table)
    if width > console.width and console.is_terminal:
        for column in shown.columns[: table.words]:
            column.no_wrap = False
    elif width > console.width:
        console = Console(width=width)
    console.print(shown)


def parts_of(table: Table, width: int) -> list[Table]:
    """The table cut between columns, so that each part fits into a line of ``width`` letters; all begin with the words.

    A part holds one column of numbers at least; no part has notes.

    >>> table = Table("T", ("machine", "a", "b", "c"), (Row(("fan", "1.00", "2.00", "3.00")),))
    >>> [(part.title, part.heading) for part in parts_of(table, 26)]
    [('T (1 of 2)', ('machine', 'a', 'b')), ('T (2 of 2)', ('machine', 'c'))]
    """
    groups: list[list[int]] = []
    for column in range(table.words, len(table.heading)):
        if groups and _natural_width(_columns_of(table, [*groups[-1], column])) <= width:
            groups[-1].append(column)
        else:
            groups.append([column])
    parts = [_columns_of(table, group) for group in groups or [[]]]
    if len(parts) == 1:
        return parts
    return [replace(part, title=f"{table.title} ({place} of {len(parts)})") for place, part in enumerate(parts, 1)]


def _columns_of(table: Table, columns: Sequence[int]) -> Table:
    """The table's words and these columns, without notes."""
    kept = [*range(table.words), *columns]
    rows = tuple(replace(row, cells=tuple(row.cells[column] for column in kept)) for row in table.rows)
    muted = frozenset(place for place, column in enumerate(kept) if column in table.muted)
    return replace(table, heading=tuple(table.heading[column] for column in kept), rows=rows, notes=(), muted=muted)


def _natural_width(table: Table) -> int:
    """Letters in a line of the table where nothing is folded."""
    from rich.console import Console

    return Console(width=_UNBOUNDED).measure(as_terminal(table)).maximum


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(_in_latex(cell) for cell in cells) + r" \\"


def _in_latex(text: str) -> str:
    return re.sub(r"[^\w\s.,:;()/+-]", lambda found: _LATEX.get(found[0], found[0]), printable(text)).replace(
        "_", r"\_"
    )
