"""``asd evaluate``: hits and false alarms of a detector, on recordings that somebody has sorted."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asd_lightning.detector.evaluation import Share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd evaluate DETECTOR LABELLED_DIR``."""
    parser.add_argument("detector", type=Path, metavar="DETECTOR", help="as asd enrol writes it")
    parser.add_argument("folder", type=Path, metavar="LABELLED_DIR", help="recordings in folders normal and anomaly")
    parser.add_argument("--machine", metavar="NAME", help="whose they are, where the detector knows several")


def run(args: argparse.Namespace) -> int:
    """Judge, count and print; returns the exit status."""
    import logging

    from asd_lightning.detector.actions import evaluate
    from asd_lightning.tables import Row, Table, percent, percent_interval, print_table

    logging.basicConfig(format="asd: %(message)s")
    found = evaluate(args.detector, args.folder, args.machine)

    def row(name: str, share: Share) -> Row:
        if not share.total:
            return Row((name, "none to count", "-", "-"))
        part = percent(share.part / share.total)
        return Row((name, f"{share.part} of {share.total}", part, percent_interval(share.low, share.high)))

    rows = (
        row("faults that raised a warning or an alarm", found.hits),
        row("faults that raised an alarm", found.alarms),
        row("normal recordings that got any decision but normal or not running", found.false_alarms),
    )
    counts = [
        f"{condition}: {', '.join(f'{count} {decision}' for decision, count in sorted(own.items()))}"
        for condition, own in found.decisions.items()
        if own
    ]
    missing = [
        f"no recording's folder or name says {condition}: nothing is known of {what}"
        for condition, what, own in (("anomaly", "hits", found.hits), ("normal", "false alarms", found.false_alarms))
        if not own.total
    ]
    notes = (*counts, *missing, "intervals of 95 % (Wilson), as if recordings were independent")
    print_table(Table(str(args.folder), ("what", "how many", "per cent", "interval"), rows, notes))
    return 0
