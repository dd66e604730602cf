"""``asd download dcase2025``: fetch a year of DCASE Task 2 into the layout that training reads."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from asd_lightning.commands.grammar import INTERRUPTED, add_output
from asd_lightning.download.years import MIRROR_VARIABLE
from asd_lightning.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data set and the options of a download."""
    parser.epilog = (
        "What was interrupted goes on with the same command. A year takes about 6 GB unpacked (2026 more: its clips "
        "have two channels), and room for the archives under way. The recordings are the publishers', with licences of "
        "their own: see the data set's page on Zenodo. Without a network: --mirror or --file-list."
    )
    parser.add_argument("dataset", help="dcase2023, dcase2024, dcase2025 or dcase2026")
    add_output(parser, "folder to fill (default: data/<dataset>)")
    parser.add_argument("--machines", help="only these machines, as in fan,valve")
    parser.add_argument(
        "--parts",
        help="only these parts, as in dev,train: dev (development), train (additional training), "
        "test (evaluation test), truth (its labels)",
    )
    parser.add_argument(
        "--mirror",
        default=os.environ.get(MIRROR_VARIABLE),
        help=f"address of a server to use instead of the original ones (default: ${MIRROR_VARIABLE})",
    )
    parser.add_argument(
        "--file-list", type=Path, help="pinned list of files with sizes and md5 sums, instead of the records' own"
    )
    parser.add_argument("--jobs", type=int, default=4, help="parallel downloads (default: 4)")
    parser.add_argument("--keep-archives", action="store_true", help="keep the zip files after unpacking")


def run(args: argparse.Namespace) -> int:
    """Download, and print what was fetched and what to do next; the exit status."""
    from rich.console import Console

    from asd_lightning.download.pipeline import Selection, Source, download_year
    from asd_lightning.download.years import find_year
    from asd_lightning.evaluation.ground_truth import read_ground_truth

    year = find_year(args.dataset)
    root = args.output or Path("data", f"dcase{year.year}")
    selection = Selection(_parts(args.parts), _names(args.machines, "--machines"))
    console = Console(stderr=True)
    try:
        outcome = download_year(
            year,
            root,
            selection,
            Source(args.mirror, args.file_list),
            jobs=args.jobs,
            keep_archives=args.keep_archives,
            console=console,
            check_truth=read_ground_truth,
        )
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        return INTERRUPTED
    print(f"{root}: {len(outcome.fetched)} files fetched, {len(outcome.present)} were there already")
    if year.truth_notice and "truth" in selection.parts:
        print(year.truth_notice)
    print(f"next: asd data check {root}")
    return 0


def _names(text: str | None, option: str) -> tuple[str, ...] | None:
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UserError(f"{option} names nothing: leave it out to have all, or give names with commas between")
    return names


def _parts(text: str | None) -> tuple:  # type: ignore[type-arg]
    from asd_lightning.download.years import PARTS

    names = _names(text, "--parts")
    if names is None:
        return PARTS
    if unknown := sorted(set(names) - set(PARTS)):
        raise UserError(f"--parts {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in names)
