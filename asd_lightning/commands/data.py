"""``asd data check`` and ``asd data stats``: look at a data folder before training on it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from asd_lightning.commands.grammar import add_output
from asd_lightning.commands.written_page import tell_page


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two actions, ``check`` and ``stats``, with their options."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    summary = "count what is there, and find what is missing, damaged, silent, clipped or doubled"
    check = actions.add_parser("check", help=summary, description=f"{summary}. Exit status 1 if anything is an error.")
    check.add_argument("folder", type=Path, help="data folder, such as data/dcase2025")
    check.add_argument("--year", type=int, help="year whose counts to compare with (default: from the folder)")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the whole report to FILE too")
    summary = "spectrograms, mean spectra and levels of every machine, as one HTML page"
    stats = actions.add_parser("stats", help=summary, description=summary)
    stats.add_argument("folder", type=Path, help="data folder, such as data/dcase2025")
    page = "data_stats.html"
    add_output(stats, f"page to write (default {page})", file=page, default=Path(page))


def run(args: argparse.Namespace) -> int:
    """Check the folder, or draw the page of it; the exit status."""
    return _check(args) if args.action == "check" else _stats(args)


def _check(args: argparse.Namespace) -> int:
    from rich.console import Console

    from asd_lightning.atomic import write_atomically
    from asd_lightning.data.check import check, print_report
    from asd_lightning.errors import UserError
    from asd_lightning.evaluation.ground_truth import label_clips

    report = check(args.folder, args.year, Console(stderr=True), label_clips)
    print_report(report, Console())
    if args.json is not None:
        try:
            with write_atomically(args.json) as stream:
                stream.write(json.dumps(report.as_json(), indent=1).encode())
        except OSError as error:
            raise UserError(f"cannot write {args.json} ({error}): name another file with --json") from error
    return 0 if report.ok else 1


def _stats(args: argparse.Namespace) -> int:
    from rich.console import Console

    from asd_lightning.evaluation.ground_truth import label_clips
    from asd_lightning.pages.gallery import write_gallery

    write_gallery(args.folder, args.output, Console(stderr=True), label_clips)
    tell_page(args.output)
    return 0
