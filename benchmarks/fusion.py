"""Does a fusion of three systems beat the best of them?  Statistics, mn04 and a spectrum CNN trained for minutes.

Trains what is not there yet under ``--runs``, fuses each seed's three runs by each method, and writes
``benchmarks/fusion.md`` and ``.json``.  Every seed has its own draw of six synthetic machines in recordings.  Real
machines are read from ``--machines``, by default ``$ASD_SHARED/machines``, and left out where there are none; nothing
is chosen by them:

    asd weights fetch mn04_as
    python benchmarks/fusion.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from folders import folders_parser
from results import keep
from scipy.stats import ttest_1samp

from asd_lightning import fuse, train
from asd_lightning.evaluation.intervals import Interval, mean_difference, resampled
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.run_folder import ResultSet, results_of
from asd_lightning.scoring.clip_scores import read_scores
from asd_lightning.scoring.fusion import METHODS
from asd_lightning.synthetic import synthesize
from asd_lightning.tables import Row, Table, markdown_lines

SEEDS = (0, 1, 2)
PRESET, REAL = "sessions", "machines"
# Every second one of the preset's: fewer minutes, and all surroundings.
MACHINES = ("ToyCar", "bearing", "gearbox", "valve", "CoffeeGrinder", "ScrewFeeder")
PARTS = {"statistics": 0, "mn04": 0, "fft": 200}
"""Experiments and their updates."""
SETTINGS = ["scale=demo", "encoders=pretrained", "data.clip_seconds=2.0", "data.test_windows=2"]
INTRODUCTION = f"""# Does a fusion beat the best of its parts?

{{answer}}

`statistics` and `mn04` train nothing, `fft` is a spectrum CNN after {PARTS["fft"]} updates of 16 clips, each with the
back-end and the threshold of its experiment. Official score in per cent, mean ± standard deviation over {len(SEEDS)}
seeds. The best part is the one with the highest mean over seeds, by the labels that score the fusions too, so it is
flattered and they are not. Differences to it: on synthetic machines the mean over machines and draws with its 95 %
interval of a t-test over them (draws of one machine are alike: rather too short), on real ones that of the official
scores over seeds with its 95 % interval of a paired bootstrap over test clips.
"""


def trained(arguments: Any, root: Path, data: str, part: str, seed: int) -> ResultSet:
    """A part's results, made where they are not there."""
    folder = (arguments.runs / data / str(seed) / part).resolve()
    if not results_of(folder).finished:
        print(f"{data}, seed {seed}: {part}", flush=True)
        places = [
            f"data.root={root}",
            f"data.cache_dir={arguments.runs.resolve() / 'cache'}",
            f"hydra.run.dir={folder}",
        ]
        own = [f"experiment={part}", f"seed={seed}", f"trainer.max_steps={PARTS[part]}", f"system={part}"]
        train(*SETTINGS, f"encoders.mn04.weights={arguments.weights}", *places, *own)
    return results_of(folder)


def measured(arguments: Any, data: str, seed: int) -> Iterator[tuple[str, ResultSet]]:
    """Parts and fusions of one seed, by name."""
    root = arguments.machines.resolve()
    if data != REAL:
        root = (arguments.runs / f"{data}_{seed}").resolve()
        synthesize(root, data, seed, MACHINES)
    parts = {part: trained(arguments, root, data, part, seed) for part in PARTS}
    yield from parts.items()
    for method in METHODS:
        folder = arguments.runs / data / str(seed) / f"fused_{method}"
        if not ResultSet(folder).finished:
            fuse(*(each.folder for each in parts.values()), output=folder, by=method)
        yield method, ResultSet(folder)


def differences(found: Mapping[tuple[str, int], ResultSet], data: str, method: str, best: str) -> tuple[float, ...]:
    """The fusion less the best part: middle, and the ends of the interval."""
    clips = {key: resampled(read_scores(each.scores)) for key, each in found.items() if key[0] in (method, best)}
    pairs = [(clips[method, seed], clips[best, seed]) for seed in SEEDS]
    if data == REAL:
        (row,) = (row for row in mean_difference(pairs) if _is_official(row))
        return row.estimate, row.low, row.high
    values = [
        row.estimate
        for pair in pairs
        for row in mean_difference([pair])
        if row.metric == "hmean" and row.machine != ALL
    ]
    interval = ttest_1samp(values, 0.0).confidence_interval()
    return float(np.mean(values)), float(interval.low), float(interval.high)


def section(found: Mapping[tuple[str, int], ResultSet], data: str) -> tuple[list[str], dict[str, Any]]:
    """The Markdown of one data set, and its figures."""
    official = {key: each.read_summary()["official_score"] for key, each in found.items()}
    scores = {name: [official[name, seed] for seed in SEEDS] for name in (*PARTS, *METHODS)}
    best = max(PARTS, key=lambda part: np.mean(scores[part]))
    rows, figures = [], {}
    for name, values in scores.items():
        told = differences(found, data, name, best) if name in METHODS else None
        shown = "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in told)) if told else ""
        cell = f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}"
        rows.append(Row((f"fused, {name}" if told else name, cell, shown or ("the best part" if name == best else ""))))
        figures[name] = {"official_score": values, "difference": told}
    title = "Real machines" if data == REAL else f"Synthetic machines (`{data}`: {', '.join(MACHINES)})"
    table = Table(title, ("system", "official score", f"less {best}"), tuple(rows))
    return [f"## {title}", "", *markdown_lines(table), ""], {"best": best, "systems": figures}


def answer(figures: Mapping[str, Any]) -> str:
    """In a sentence for each data set, which fusions are clearly better or worse than the best part."""
    sentences = []
    for data, told in figures.items():
        ends = {method: told["systems"][method]["difference"] for method in METHODS}
        better = [method for method, (_, low, _) in ends.items() if low > 0]
        worse = [method for method, (*_, high) in ends.items() if high < 0]
        rest = [method for method in METHODS if method not in (*better, *worse)]
        kinds = (
            ("clearly better than", better),
            ("clearly worse than", worse),
            ("neither better nor worse than", rest),
        )
        parts = [f"{', '.join(names)} {how} the best part ({told['best']})" for how, names in kinds if names]
        place = "the real machines" if data == REAL else "the synthetic machines"
        sentences.append(f"On {place}: {'; '.join(parts)}.")
    return "\n".join(sentences)


def _is_official(row: Interval) -> bool:
    return (row.machine, row.section, row.metric) == (ALL, "", "hmean")


def main() -> None:
    parser = folders_parser(__doc__, "fusion")
    parser.add_argument("--weights", default="mn04_as", help="name or file of mn04's weights")
    arguments = parser.parse_args()
    places = [PRESET, *([REAL] if arguments.machines.is_dir() else [])]
    lines: list[str] = []
    figures: dict[str, Any] = {}
    for data in places:
        found = {(name, seed): each for seed in SEEDS for name, each in measured(arguments, data, seed)}
        own, figures[data] = section(found, data)
        lines += own
    text = [INTRODUCTION.format(answer=answer(figures)), *lines, "Measured with `python benchmarks/fusion.py`."]
    keep("fusion", figures, "\n".join(text) + "\n")


if __name__ == "__main__":
    main()
