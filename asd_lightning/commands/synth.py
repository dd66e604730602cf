"""``asd synth``: write synthetic machines in the DCASE Task 2 layout."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from asd_lightning.commands.grammar import add_output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``asd synth``."""
    parser.add_argument(
        "--preset",
        default="demo",
        help="tiny (tests), demo (small experiment; the default), full (as DCASE 2025), sessions (clips cut from "
        "recordings that drift apart) or sessions_far (the same with a far microphone)",
    )
    add_output(parser, "folder to write: new, empty or unfinished", required=True)
    parser.add_argument("--seed", type=int, default=0, help="another seed, another set of recordings (default 0)")
    parser.add_argument("--machines", metavar="A,B", help="only these machines of the preset")
    parser.add_argument(
        "--evaluation",
        metavar="A,B",
        help="release these machines as the challenge's evaluation set: anonymous test clips, the truth kept apart",
    )
    parser.add_argument(
        "--truth", type=Path, metavar="DIR", help="with --evaluation: folder for the truth (default: OUTPUT_truth)"
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each processor)")


def run(args: argparse.Namespace) -> int:
    """Write the data set; returns the exit status."""
    from asd_lightning.synthetic import synthesize

    jobs = (os.cpu_count() or 1) if args.jobs is None else args.jobs
    made = synthesize(
        *(args.output, args.preset, args.seed, _names(args.machines), jobs),
        evaluation=_names(args.evaluation),
        truth=args.truth,
    )
    if made.written:
        print(f"wrote {made.written} of {made.clips} clips under {made.root}")
    else:
        print(f"nothing to do: {made.root} holds all {made.clips} clips")
    if made.truth is not None:
        print(f"what the anonymous test clips are stands in {made.truth}")
    return 0


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
