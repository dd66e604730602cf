"""``asd compare``: one table from many runs."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd compare DIR [DIR ...] [--out DIR]``."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folder with runs anywhere below it")
    parser.add_argument("--out", type=Path, help="folder for comparison.csv, comparison.md and comparison.png")


def run(args: argparse.Namespace) -> int:
    """Print the table; with ``--out`` write it as CSV, Markdown and PNG too."""
    from asd_lightning.comparison.output import show_comparison

    show_comparison(args.folders, args.out)
    return 0
