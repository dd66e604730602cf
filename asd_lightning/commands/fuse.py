"""``asd fuse``: several runs as one result set."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.commands.grammar import add_output
from asd_lightning.errors import UserError

_EQUAL = "equal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd fuse RUN RUN [RUN ...] -o DIR [--by mean_z | z_min | rank] [--weights equal | 0.5,0.3,0.2]``."""
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="runs of the same recordings, their tests (RUN/results_2), or folders with runs below them; where all "
        "systems have the same seeds, those of one seed are fused",
    )
    add_output(parser, "new folder for the results; of several seeds, for a folder of each", required=True)
    parser.add_argument(
        "--by",
        default="mean_z",
        choices=("mean_z", "z_min", "rank"),
        help="mean of z-scores by left-out training scores (default), their minimum, or mean of ranks among them",
    )
    parser.add_argument(
        "--weights",
        default=_EQUAL,
        metavar="A,B,...",
        help="equal (default), or a number above 0 for each system, in the order in which they are given",
    )


def run(args: argparse.Namespace) -> int:
    """Write the fused results and print their tables."""
    weights = _weights(args.weights)
    from rich.console import Console
    from rich.progress import Progress

    from asd_lightning.experiment.fused import fuse_runs

    console = Console(stderr=True)
    # Elsewhere it would leave an empty line.
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        fuse_runs(args.runs, args.output, args.by, weights, progress)
    return 0


def _weights(text: str) -> list[float] | None:
    if text == _EQUAL:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"--weights {text}: give equal, or numbers with commas between them, as 0.5,0.3,0.2") from None
