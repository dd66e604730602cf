"""A comparison of runs, printed and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from asd_lightning.comparison.plot import plot_comparison
from asd_lightning.comparison.systems import Comparison, compare_runs
from asd_lightning.comparison.tables import hmean_table, write_comparison_tables
from asd_lightning.tables import print_table


def show_comparison(folders: Sequence[Path], out: Path | None = None) -> None:
    """Print the table of all runs at or below ``folders``; with ``out`` write it there as tables and figures too.

    Raises:
        UserError: a folder is missing or holds no run.
    """
    comparison = compare_runs(folders)
    print_table(hmean_table(comparison))
    if out is not None:
        print(f"{', '.join(write_comparison(comparison, out))} written to {out}")


def write_comparison(comparison: Comparison, out: Path) -> list[str]:
    """Write its tables and, where there is a machine, its figure as PNG and SVG; returns the files' names."""
    written = write_comparison_tables(comparison, out)
    if comparison.machines:
        written += plot_comparison(comparison, out / "comparison")
    return written
