"""``asd report``: one self-contained HTML page about runs."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd report RUN [RUN ...] [--out FILE]``."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, or with runs below it")
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="file to write (default report.html)")


def run(args: argparse.Namespace) -> int:
    """Write the page; returns the exit status."""
    from asd_lightning.report.page import write_report

    out = write_report(args.runs, args.out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, loads nothing from the network")
    return 0
