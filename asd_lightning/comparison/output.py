"""A comparison of runs, printed and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from asd_lightning.comparison.over_seeds import PairedDifference, paired_differences, resample_runs
from asd_lightning.comparison.plot import plot_comparison
from asd_lightning.comparison.systems import Comparison, compare_runs
from asd_lightning.comparison.tables import hmean_table, write_comparison_tables
from asd_lightning.tables import print_in_parts


def show_comparison(folders: Sequence[Path], out: Path | None = None) -> None:
    """Print the table of all runs at or below ``folders``; with ``out`` write it there as tables and figures too.

    Raises:
        UserError: a folder is missing or holds no run.
    """
    comparison = compare_runs(folders)
    console = Console(stderr=True)
    # Elsewhere it would leave an empty line.
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        clips = resample_runs(comparison.systems, progress)
    differences = tuple(paired_differences(comparison.systems, clips))
    print_in_parts(hmean_table(comparison, differences))
    if out is not None:
        print(f"{', '.join(write_comparison(comparison, out, differences))} written to {out}")


def write_comparison(
    comparison: Comparison, out: Path, differences: Sequence[PairedDifference] | None = None
) -> list[str]:
    """Write its tables and, where there is a machine, its figure as PNG and SVG; returns the files' names.

    Args:
        comparison: what to write.
        out: the folder.
        differences: of its systems, where they are known already.
    """
    if differences is None:
        differences = tuple(paired_differences(comparison.systems, resample_runs(comparison.systems)))
    written = write_comparison_tables(comparison, out, differences)
    if comparison.machines:
        written += plot_comparison(comparison, out / "comparison")
    return written
