"""``asd score-sweep``: many back-ends over one run's embeddings, and over the poolings that it has stored."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from asd_lightning.commands.grammar import add_output
from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from asd_lightning.comparison.back_ends import Source

# Rows on the terminal; the files have all.
_SHOWN = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``asd score-sweep RUN [pooling=all | mean,rdp_4] [scorer=all | knn,ldn] [threshold=gamma] [-o DIR]``."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of asd train")
    parser.add_argument(
        "choices",
        nargs="*",
        metavar="pooling=A,B | scorer=A,B | threshold=T",
        help="poolings that a test has stored with store_features= (default run: the embeddings that the run scored), "
        "back-ends (default all) and decision threshold (default gamma), by their files under conf/model",
    )
    add_output(parser, "folder for the tables (default RUN/score_sweep; after other choices score_sweep_2, ...)")


def run(args: argparse.Namespace) -> int:
    """Score each pooling with each back-end, print one table and write it."""
    choices = _choices(args.choices)
    from rich.console import Console
    from rich.progress import Progress

    from asd_lightning.comparison.back_end_tables import SWEEP, sweep_folder, sweep_table, write_sweep
    from asd_lightning.comparison.back_ends import OWN, choose_back_ends, load_threshold, sweep
    from asd_lightning.configuration import own_folders
    from asd_lightning.data.truth_place import NO_TRUTH, find_truth
    from asd_lightning.evaluation.ground_truth import label_scores
    from asd_lightning.experiment.stored_features import chosen_sources
    from asd_lightning.tables import print_in_parts

    root, given, seed, reduction, remembered = _of_run(args.run)
    folders = [*own_folders(), *remembered]
    back_ends = choose_back_ends(choices.get("scorer", "all"), folders)
    threshold = load_threshold(choices.get("threshold", "gamma"))
    poolings = chosen_sources(choices.get("pooling", OWN))
    chosen = {"pooling": list(poolings), "scorer": list(back_ends), "threshold": choices.get("threshold", "gamma")}
    # What another sweep has written is refused before an hour of scoring, not after it.
    out = sweep_folder(args.run, chosen, args.output)
    console = Console()
    _say_once(console)
    count, sources = _sources(args.run, poolings)
    truth = None if given == NO_TRUTH else Path(given) if given else find_truth(root)
    label = partial(label_scores, path=truth) if truth else list
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("scoring", total=2 * count * len(back_ends))
        advance = partial(progress.advance, task)
        swept = sweep(sources, back_ends, threshold, seed, advance=advance, label=label, reduction=reduction)
    title = _title(args.run, count, len(back_ends), max((len(one.scores) for one in swept), default=0))
    print_in_parts(sweep_table(swept, title, at_most=_SHOWN))
    written = ", ".join(write_sweep(swept, title, out, args.run, chosen))
    told = "" if args.output or out.name == SWEEP else f" ({args.run / SWEEP} holds a sweep of other choices)"
    print(f"{written} written to {out}{told}")
    return 0


def _sources(run: Path, poolings: Sequence[str]) -> tuple[int, Iterable[Source]]:
    """The run's embeddings, made anew where they are not there; other poolings are there or refused."""
    from asd_lightning.comparison.back_ends import OWN, Source
    from asd_lightning.experiment.run_embeddings import embeddings_of_run
    from asd_lightning.experiment.stored_features import stored_sources

    if tuple(poolings) == (OWN,):
        return 1, [Source(OWN, embeddings_of_run(run))]
    return stored_sources(run, poolings)


def _title(run: Path, poolings: int, back_ends: int, clips: int) -> str:
    scored = f"{back_ends} back-end{'' if back_ends == 1 else 's'}"
    over = f"{poolings} poolings of " if poolings > 1 else ""
    return f"{run.resolve().name}: {scored} over {over}{clips} test clips"


class _OfRun(NamedTuple):
    """As a run has recorded: data folder, truth ("": not named), seed, score of a recording, the user's own folders."""

    root: Path
    truth: str
    seed: int
    reduction: Literal["max", "mean"]
    folders: list[Path]


def _of_run(run: Path) -> _OfRun:
    from asd_lightning.foreign_files import ForeignFileError, load_yaml
    from asd_lightning.run_folder import CONFIG, ResultSet, no_run

    ResultSet(run).refuse_fusion("sweep one of the runs in it")
    path = run / CONFIG
    if not path.is_file():
        raise no_run(run)
    content = load_yaml(path)
    try:
        data, model = content["data"], content["model"]
        reduction: Literal["max", "mean"] = "mean" if model.get("recording_score") == "mean" else "max"
        folders = [Path(text) for text in content.get("config_dirs") or () if Path(text).is_dir()]
        return _OfRun(Path(data["root"]), str(data.get("truth") or ""), int(content["seed"]), reduction, folders)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ForeignFileError(path, f"not the configuration of a run: {error}") from None


def _say_once(console: Console) -> None:
    """Print each warning once: twenty back-ends give the same warning about the same machine."""
    from rich.logging import RichHandler

    said: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in said
        said.add(message)
        return new

    handler = RichHandler(console=console, show_time=False, show_path=False)
    handler.addFilter(is_new)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])


def _choices(words: list[str]) -> dict[str, str]:
    choices = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in ("pooling", "scorer", "threshold") or not equals:
            raise UserError(f"{word!r}: expected scorer=NAME,NAME, pooling=NAME,NAME (or =all), or threshold=NAME")
        choices[name] = value
    return choices
