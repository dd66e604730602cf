"""``asd shelve``: an input is known to sound otherwise for a while."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.errors import UserError
from asd_lightning.plain_text import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd shelve JOURNAL INPUT --minutes N``."""
    parser.add_argument("journal", type=Path, metavar="JOURNAL", help="of the asd watch that listens")
    parser.add_argument("input", metavar="INPUT", help="name of the input")
    parser.add_argument("--minutes", type=float, required=True, metavar="N", help="minutes of sound; 0 ends it")


def run(args: argparse.Namespace) -> int:
    """Leave the request in the journal; the exit status."""
    from asd_lightning.live.journal import Journal

    if not 0 <= args.minutes < 1e6:
        raise UserError(f"--minutes {args.minutes}: a number of minutes is needed, 0 or more")
    Journal.there(args.journal).ask(args.input, "shelve", 60 * args.minutes)
    asked = f"silent for {args.minutes:g} min of sound" if args.minutes else "no longer silent"
    print(printable(f"{args.input}: {asked}, as soon as asd watch listens with this journal"))
    return 0
