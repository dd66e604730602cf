"""``asd accept``: this is normal: take recordings into a detector's bank."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd accept DETECTOR CLIP [...]``."""
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it; it is written anew")
    parser.add_argument("clips", type=Path, nargs="+", metavar="CLIP", help="normal recordings, or a folder of them")
    parser.add_argument("--machine", metavar="NAME", help="whose they are, where the detector knows several")
    parser.add_argument("--recordings", type=Path, metavar="TABLE.csv", help="which clips were cut from one recording")


def run(args: argparse.Namespace) -> int:
    """Change the detector, and tell what it promises now; returns the exit status."""
    import logging

    from asd_lightning.commands.info import changes_of
    from asd_lightning.detector.actions import accept
    from asd_lightning.detector.detector import Detector

    logging.basicConfig(format="asd: %(message)s")
    before = Detector.load(args.detector)
    detector = accept(args.detector, *args.clips, machine=args.machine, recordings=args.recordings)
    changes_of(detector, args.detector, "taken into the bank", before)
    return 0
