"""``asd acknowledge``: somebody has seen the alarm."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.plain_text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd acknowledge JOURNAL INPUT``."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="of the asd watch that listens")
    parser.add_argument("input", metavar="INPUT", help="name of the input")


def run(args: argparse.Namespace) -> int:
    """Leave the request in the journal; the exit status."""
    from asd_lightning.live.journal import Journal

    Journal.there(args.journal).ask(args.input, "acknowledge")
    print(printable(f"{args.input}: seen; asd watch tells so as soon as it listens with this journal"))
    return 0
