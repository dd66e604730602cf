"""``asd undo``: take the last change of a detector's bank or thresholds back."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd undo DETECTOR``."""
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it; it is written anew")
    parser.add_argument("--machine", metavar="NAME", help="whose change, where the detector knows several")


def run(args: argparse.Namespace) -> int:
    """Take the change back, and tell what the detector promises now; returns the exit status."""
    import logging

    from asd_lightning.commands.info import changes_of
    from asd_lightning.detector.actions import undo
    from asd_lightning.detector.detector import Detector

    logging.basicConfig(format="asd: %(message)s")
    before = Detector.load(args.detector)
    changes_of(undo(args.detector, args.machine), args.detector, "the last change is taken back", before)
    return 0
