"""``asd select``: which of several embeddings, from normal training clips alone."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Literal

from asd_lightning.commands.grammar import add_output
from asd_lightning.errors import UserError
from asd_lightning.plain_text import did_you_mean

_OPTIONS = ("pooling", "score")
_SCORES: tuple[Literal["nearest"], Literal["ldn"]] = ("nearest", "ldn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd select DEFAULT [RUN ...] [pooling=all | run,rdp_4] [score=ldn] [-o DIR]``."""
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RUN | pooling=A,B | score=S",
        help="runs of asd train, the fixed default first; poolings that their tests have stored with store_features= "
        "(default run: the embeddings that the run scored); score by the nearest clip (nearest, the default), or by "
        "its local density too (ldn)",
    )
    add_output(parser, "folder for the tables (default: they are printed alone)")


def run(args: argparse.Namespace) -> int:
    """Print the table and what follows from it; with ``-o`` write it too."""
    for word in args.words:
        name, equals, _ = word.partition("=")
        if equals and name not in _OPTIONS and not Path(word).expanduser().exists():
            raise UserError(f"{word}: no such option{did_you_mean(name, _OPTIONS)}, and no folder of that name")
    choices = dict(word.split("=", 1) for word in args.words if word.startswith(("pooling=", "score=")))
    runs = [Path(word).expanduser() for word in args.words if not word.startswith(("pooling=", "score="))]
    given = choices.get("score", "nearest")
    score = next((name for name in _SCORES if name == given), None)
    if score is None:
        raise UserError(f"score={given}: choose one of {', '.join(_SCORES)}")
    from rich.console import Console
    from rich.progress import Progress

    from asd_lightning.comparison.back_ends import OWN
    from asd_lightning.experiment.selected import select_runs
    from asd_lightning.experiment.stored_features import chosen_sources
    from asd_lightning.selection.table import refuse_other_selection, selection_table, write_selection
    from asd_lightning.tables import print_in_parts

    poolings = chosen_sources(choices.get("pooling", OWN))
    chosen = {"pooling": list(poolings), "score": score}
    if args.output is not None:
        refuse_other_selection(args.output, runs, chosen)
    console = Console(stderr=True)
    # Elsewhere it would leave an empty line.
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        selection = select_runs(runs, score, poolings, progress)
    print_in_parts(selection_table(selection))
    if args.output is not None:
        print(f"{', '.join(write_selection(selection, args.output, runs, chosen))} written to {args.output}")
    return 0
