"""``asd reproduce``: a published result repeated, from the plan to the table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from asd_lightning.commands.grammar import INTERRUPTED, SETTINGS, add_output
from asd_lightning.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd reproduce NAME [KEY=VALUE ...] [--data DIR] [-o DIR] [--seeds 0,1,2] [--plan | --rehearse] [--yes]``."""
    parser.add_argument(
        "name", metavar="NAME", help="xju2025, rdp2603, beam_2026, beam_w1_2026, lora_2026 or lora_w1_2026"
    )
    parser.add_argument(
        "changes",
        nargs="*",
        default=[],
        metavar=SETTINGS,
        help="settings that are not published, as of asd train, such as trainer.precision=bf16-mixed",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="the year's recordings (default: data/dcaseYEAR)")
    add_output(parser, "folder for runs and tables (default: runs/reproduce_NAME)")
    parser.add_argument("--seeds", metavar="A,B,...", help="of each system (default: 0,1,2 where something is trained)")
    parser.add_argument("--plan", "--dry-run", action="store_true", help="tell what it will take, and end")
    parser.add_argument(
        "--rehearse", action="store_true", help="all of it on synthetic machines with tiny encoders, in minutes"
    )
    parser.add_argument("--yes", action="store_true", help="fetch some GB without a terminal, too")


def run(args: argparse.Namespace) -> int:
    """Print the plan, carry it out and print the table; the exit status."""
    seeds = _seeds(args.seeds)
    import logging

    from asd_lightning.reproduction.reproduction import carried_out, planned

    logging.basicConfig(format="asd: %(message)s")
    plan = planned(args.name, args.changes, args.data, args.output, seeds, args.rehearse)
    if not args.plan:
        try:
            carried_out(plan, args.rehearse, args.yes)
        except KeyboardInterrupt:
            print("asd: interrupted; the same command goes on from here", file=sys.stderr)
            return INTERRUPTED
    return 0


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"--seeds {text}: give whole numbers with commas between them, as 0,1,2") from None
