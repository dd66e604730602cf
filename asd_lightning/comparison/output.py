"""A comparison of runs, printed and written."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from asd_lightning.comparison.made_of import refuse_other, relative, write_made_of
from asd_lightning.comparison.over_seeds import PairedDifference, paired_differences, resample_runs
from asd_lightning.comparison.plot import plot_comparison
from asd_lightning.comparison.systems import Comparison, compare_runs
from asd_lightning.comparison.tables import hmean_table, write_comparison_tables
from asd_lightning.tables import print_in_parts

# What is compared in the tables beside it.
_MADE_OF = "comparison_of.json"


def show_comparison(folders: Sequence[Path], out: Path | None = None) -> None:
    """Print the table of all runs at or below ``folders``; with ``out`` write it there as tables and figures too.

    Raises:
        UserError: a folder is missing or holds no run, or ``out`` holds a comparison of others.
    """
    if out is not None:
        refuse_other_comparison(folders, out)
    comparison = compare_runs(folders)
    console = Console(stderr=True)
    # Elsewhere it would leave an empty line.
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        clips = resample_runs(comparison.systems, progress)
    differences = tuple(paired_differences(comparison.systems, clips))
    print_in_parts(hmean_table(comparison, differences))
    if out is not None:
        print(f"{', '.join(write_comparison(comparison, folders, out, differences))} written to {out}")


def refuse_other_comparison(folders: Sequence[Path], out: Path) -> None:
    """Raise ``UserError`` where ``out`` holds a comparison of other folders; that of a sweep is its folder's own."""
    made_of = {"folders": relative(folders, out)}
    if made_of["folders"] != [os.curdir]:
        refuse_other(out / "comparison.csv", _MADE_OF, made_of, "a comparison of other runs")


def write_comparison(
    comparison: Comparison, folders: Sequence[Path], out: Path, differences: Sequence[PairedDifference] | None = None
) -> list[str]:
    """Write its tables and, where there is a machine, its figure as PNG and SVG; returns the files' names.

    Args:
        comparison: what to write.
        folders: what it compares.
        out: the folder.
        differences: of its systems, where they are known already.

    Raises:
        UserError: ``out`` holds a comparison of others.
    """
    refuse_other_comparison(folders, out)
    if differences is None:
        differences = tuple(paired_differences(comparison.systems, resample_runs(comparison.systems)))
    write_made_of(out / _MADE_OF, {"folders": relative(folders, out)})
    written = write_comparison_tables(comparison, out, differences)
    if comparison.machines:
        written += plot_comparison(comparison, out / "comparison")
    return written
