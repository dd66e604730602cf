"""``asd compare``: one table from many runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.commands.grammar import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd compare DIR [DIR ...] [-o DIR]``."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="folder with runs anywhere below it")
    add_output(parser, "folder for the tables and the figure (default: a table is printed alone)")


def run(args: argparse.Namespace) -> int:
    """Print the table; with ``-o`` write it as CSV, Markdown and PNG too."""
    from asd_lightning.comparison.output import show_comparison

    show_comparison(args.folders, args.output)
    return 0
