"""The data and runs that benchmarks of whole trainings share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def parse_folders(description: str | None, name: str) -> argparse.Namespace:
    """``runs``, ``demo`` and ``machines`` from the command line; runs are by default in ``runs/<name>``."""
    parser = folders_parser(description, name)
    parser.add_argument("--demo", type=Path, default=REPOSITORY / "data" / "demo", help="from asd synth --preset demo")
    return parser.parse_args()


def folders_parser(description: str | None, name: str) -> argparse.ArgumentParser:
    """``runs`` and ``machines`` alone, for a benchmark with options of its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = Path(os.environ.get("ASD_SHARED", REPOSITORY.parent / "shared"))
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / name, help="where the runs are")
    parser.add_argument("--machines", type=Path, default=shared / "machines", help="real machines, DCASE layout")
    return parser
