"""``asd explain``: why a recording is judged as it is."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.commands.grammar import add_output
from asd_lightning.commands.lines import print_lines
from asd_lightning.commands.written_page import tell_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd explain DETECTOR FILE [-o PAGE]``."""
    parser.description = (
        "One HTML page: which frequencies and moments of a recording are unlike normal sound. The exit status is "
        "that of asd score."
    )
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it")
    parser.add_argument("recording", type=Path, metavar="FILE", help="one recording")
    parser.add_argument("--machine", metavar="NAME", help="whose it is, where the detector knows several")
    add_output(parser, "page to write (default why.html)", file="why.html", default=Path("why.html"))


def run(args: argparse.Namespace) -> int:
    """Write the page, and return the exit status."""
    import logging

    from asd_lightning.api import explain
    from asd_lightning.commands.score import exit_status
    from asd_lightning.explanation.page import summary

    logging.basicConfig(format="asd: %(message)s")
    found = explain(args.detector, args.recording, args.output, args.machine)
    print_lines([summary(found)])
    tell_page(args.output)
    return exit_status([found.judgment])
