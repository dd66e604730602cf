"""A comparison of runs, printed and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asd_lightning.comparison.plot import plot_comparison
from asd_lightning.comparison.systems import Comparison, compare_runs
from asd_lightning.comparison.tables import render_comparison, write_tables
from asd_lightning.evaluation.terminal import print_table


def show_comparison(folders: Sequence[Path], out: Path | None = None) -> None:
    """Print the table of all runs at or below ``folders``; with ``out`` write it there as CSV, Markdown and PNG too.

    Raises:
        UserError: a folder is missing or holds no run.
    """
    comparison = compare_runs(folders)
    print_table(render_comparison(comparison))
    if out is not None:
        print(f"{', '.join(write_comparison(comparison, out))} written to {out}")


def write_comparison(comparison: Comparison, out: Path) -> list[str]:
    """Write it as CSV, Markdown and, where there is a machine, PNG; returns the files' names."""
    write_tables(comparison, out)
    written = ["comparison.csv", "comparison.md"]
    if comparison.machines:
        plot_comparison(comparison, out / "comparison.png")
        written.append("comparison.png")
    return written
