"""``asd calibrate``: thresholds from later normal recordings, which the detector has not seen."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd calibrate DETECTOR LATER_NORMALS [...]``."""
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it; it is written anew")
    parser.add_argument(
        "clips", type=Path, nargs="+", metavar="LATER_NORMALS", help="later normal recordings, or a folder of them"
    )
    parser.add_argument("--machine", metavar="NAME", help="whose they are, where the detector knows several")
    parser.add_argument("--recordings", type=Path, metavar="TABLE.csv", help="which clips were cut from one recording")


def run(args: argparse.Namespace) -> int:
    """Change the detector, and tell what it promises now; returns the exit status."""
    import logging

    from asd_lightning.commands.info import changes_of
    from asd_lightning.detector.actions import calibrate
    from asd_lightning.detector.detector import Detector

    logging.basicConfig(format="asd: %(message)s")
    given = args.clips[0] if len(args.clips) == 1 else args.clips
    before = Detector.load(args.detector)
    detector = calibrate(args.detector, given, args.machine, args.recordings)
    changes_of(detector, args.detector, "thresholds found from later normal recordings", before)
    return 0
