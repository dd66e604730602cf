"""``asd compare``: one table from many runs."""

from __future__ import annotations

import argparse
from pathlib import Path

_UNBOUNDED = 10_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd compare DIR [DIR ...] [--out DIR]``."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folder with runs anywhere below it")
    parser.add_argument("--out", type=Path, help="folder for comparison.csv, comparison.md and comparison.png")


def run(args: argparse.Namespace) -> int:
    """Print the table; with ``--out`` write it as CSV, Markdown and PNG too."""
    from rich.console import Console

    from asd_lightning.evaluation.comparison import compare_runs
    from asd_lightning.evaluation.comparison_plot import plot_comparison
    from asd_lightning.evaluation.comparison_tables import render_comparison, write_tables

    comparison = compare_runs(args.folders)
    table = render_comparison(comparison)
    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no width of its own: no column need be folded.
        console = Console(width=Console(width=_UNBOUNDED).measure(table).maximum)
    console.print(table)
    if args.out is not None:
        write_tables(comparison, args.out)
        written = ["comparison.csv", "comparison.md"]
        if comparison.machines:
            plot_comparison(comparison, args.out / "comparison.png")
            written.append("comparison.png")
        print(f"{', '.join(written)} written to {args.out}")
    return 0
