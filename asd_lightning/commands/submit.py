"""``asd submit``: write a challenge submission from a run, or check one."""

from __future__ import annotations

import argparse
from pathlib import Path

from asd_lightning.commands.grammar import add_output
from asd_lightning.errors import UserError

SHOWN = 3
"""Problems of one rule that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``RUN --label NAME [-o DIR] [--info YAML]``, or ``--check DIR [--data DIR | --names PATH] [--all]``."""
    parser.add_argument("run", type=Path, nargs="?", help="folder of a finished run")
    parser.add_argument("--label", help="submission label, as in Huang_XJU_task2_1")
    add_output(parser, "folder to write the submission to (default task2/LABEL)")
    parser.add_argument("--info", type=Path, help="YAML with authors and description; the rest stays marked TODO")
    parser.add_argument("--check", type=Path, metavar="DIR", help="check the submission in this folder instead")
    parser.add_argument("--all", action="store_true", default=None, help="with --check: not only three of each rule")
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
    print(f"{len(written.files)} files written to {out}, of the scores in {written.results}")
    if problems := check_submission(out):
        print("\n".join(problem_lines(problems, SHOWN)))
        print(f"{len(problems)} things are left to do before it is valid; `asd submit --check {out} --all` lists them")
    return 0


def _check(args: argparse.Namespace) -> int:
    from asd_lightning.submission.check import (
        check_submission,
        names_in_data,
        names_in_list,
        problem_lines,
    )

    expected = names_in_data(args.data) if args.data else names_in_list(args.names) if args.names else None
    problems = check_submission(args.check, expected)
    lines = problem_lines(problems, None if args.all else SHOWN)
    if lines:
        print("\n".join(lines))
    known = "" if expected else " (clip names unchecked: give --data or --names)"
    print(f"{args.check}: {len(problems)} problems{known}" if problems else f"{args.check}: valid{known}")
    return 1 if problems else 0
