"""``asd select``: which of several embeddings, from normal training clips alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.commands.grammar import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd select DEFAULT RUN [RUN ...] [--score ldn] [-o DIR]``."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs of asd train, the fixed default first")
    parser.add_argument(
        "--score",
        choices=("nearest", "ldn"),
        default="nearest",
        help="nearest clip (default), or its local density too",
    )
    add_output(parser, "folder for the tables (default: they are printed alone)")


def run(args: argparse.Namespace) -> int:
    """Print the table and what follows from it; with ``-o`` write it too."""
    from rich.console import Console
    from rich.progress import Progress

    from asd_lightning.experiment.selected import select_runs
    from asd_lightning.selection.table import selection_table, write_selection
    from asd_lightning.tables import print_table

    with Progress(console=Console(stderr=True), transient=True) as progress:
        selection = select_runs(args.runs, args.score, progress)
    print_table(selection_table(selection))
    print(selection.reason)
    if args.output is not None:
        print(f"{', '.join(write_selection(selection, args.output))} written to {args.output}")
    return 0
