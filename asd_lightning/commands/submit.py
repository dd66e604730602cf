"""``asd submit``: write a challenge submission from a run, or check one."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from asd_lightning.commands.grammar import add_output
from asd_lightning.errors import UserError

logger = logging.getLogger(__name__)

SHOWN = 3
"""Problems of one rule that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``RUN --label NAME [-o DIR] [--info YAML]``, or ``--check DIR [--data DIR | --names PATH] [--all]``."""
    parser.add_argument("run", type=Path, nargs="?", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--label", help="submission label, as in Huang_XJU_task2_1")
    add_output(parser, "folder to write the submission to (default task2/LABEL)")
    parser.add_argument("--info", type=Path, help="YAML with authors and description; the rest stays marked TODO")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="DIR",
        help="check the submission in this folder instead, or all that are in it, as in task2",
    )
    parser.add_argument(
        "--all", action="store_true", default=None, help="with --check: name all that breaks a rule, not three alone"
    )
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--data", type=Path, help="with --check: data folder with the evaluation clips")
    names.add_argument("--names", type=Path, help="with --check: the organisers' list of the evaluation clips")


def run(args: argparse.Namespace) -> int:
    """Exit status 1 if a checked submission breaks a rule."""
    writing = [name for name in ("run", "label", "output", "info") if getattr(args, name) is not None]
    checking = [name for name in ("check", "data", "names", "all") if getattr(args, name) is not None]
    if writing and checking:
        raise UserError(f"{writing[0]} and --{checking[0]} do not go together: write a submission, or check one")
    if args.check is not None:
        return _check(args)
    if None in (args.run, args.label):
        raise UserError("give a run with --label to write a submission, or --check DIR to check one")
    return _write(args)


def _write(args: argparse.Namespace) -> int:
    from asd_lightning.submission.check import check_submission, problem_lines
    from asd_lightning.submission.writer import write_submission

    # The folder of the organisers' package; a malformed label, such as one with a slash, is refused before it is used.
    out = args.output or Path("task2") / args.label
    written = write_submission(args.run, args.label, out, args.info)
    for note in written.notes:
        print(note)
    _warn(out)
    print(f"{len(written.files)} files written to {out}, of the scores in {written.results}")
    if problems := check_submission(out):
        print("\n".join(problem_lines(problems, SHOWN)))
        left = f"{len(problems)} things are" if len(problems) > 1 else "1 thing is"
        print(f"{left} left to do before it is valid; `asd submit --check {out} --all` lists them")
    return 0


def _warn(out: Path) -> None:
    """Tell what this output shares with those beside it."""
    from asd_lightning.submission.package import shared_names, submissions_in

    own = f"{out.name}: "
    others = [folder for folder in submissions_in(out.parent) if folder.resolve() != out.resolve()]
    for warning in shared_names([*others, out]):
        if warning.startswith(own):
            logger.warning("%s", warning)


def _check(args: argparse.Namespace) -> int:
    from asd_lightning.submission.check import (
        check_submission,
        names_in_data,
        names_in_list,
        problem_lines,
    )
    from asd_lightning.submission.package import shared_names, submissions_in

    expected = names_in_data(args.data) if args.data else names_in_list(args.names) if args.names else None
    known = "" if expected else " (clip names unchecked: give --data or --names)"
    folders = submissions_in(args.check)
    for warning in shared_names(folders):
        logger.warning("%s", warning)
    status = 0
    for folder in folders:
        problems = check_submission(folder, expected)
        for line in problem_lines(problems, None if args.all else SHOWN):
            print(line)
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}" if problems else "valid"
        print(f"{folder}: {count}{known}")
        status = status or int(bool(problems))
    return status
