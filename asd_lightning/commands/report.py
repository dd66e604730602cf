"""``asd report``: one self-contained HTML page about runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.commands.grammar import add_output
from asd_lightning.commands.written_page import tell_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd report RUN [RUN ...] [-o FILE]``."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, or with runs below it")
    add_output(parser, "file to write (default report.html)", file="report.html", default=Path("report.html"))


def run(args: argparse.Namespace) -> int:
    """Write the page; returns the exit status."""
    from asd_lightning.pages.page import write_report

    tell_page(write_report(args.runs, args.output))
    return 0
