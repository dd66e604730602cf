"""Which training recipe pays where encoders are small?  Systems 1 to 4 and three recipes, beside what is not trained.

Trains what is not there yet under ``--folder`` (minutes each, one after another) and scores every run by the report's
back-end and by the default of what is not trained.  ``benchmarks/recipes.csv`` keeps what each run has come to, and
nothing in it is done again; an interrupted training goes on.  ``benchmarks/recipes_differences.csv`` and the tables in
``docs/recipes.md`` follow from the scores that the runs have left, as far as there are any.  Every seed has its own
draw of six synthetic machines, recorded by two microphones.  Real machines are read from ``--machines``, by default
``$ASD_SHARED/machines``, and left out where there are none; nothing is chosen by them:

    asd weights fetch mn04_as
    python benchmarks/recipes.py
"""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from folders import REPOSITORY, folders_parser

from asd_lightning import train
from asd_lightning.atomic import write_text_atomically
from asd_lightning.comparison.back_ends import OWN, Source, choose_back_ends, load_threshold, sweep
from asd_lightning.comparison.over_seeds import PairedDifference, paired_differences, resample_runs
from asd_lightning.comparison.systems import Run, System
from asd_lightning.evaluation.metrics import ALL, evaluate
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.run_folder import CHECKPOINT, ResultSet, results_of
from asd_lightning.scoring.clip_scores import machine_name, read_scores, write_scores
from asd_lightning.synthetic import synthesize
from asd_lightning.tables import Row, Table, markdown_lines, write_csv
from asd_lightning.training.build import read_checkpoint

CSV = REPOSITORY / "benchmarks" / "recipes.csv"
DIFFERENCES = REPOSITORY / "benchmarks" / "recipes_differences.csv"
PAGE = REPOSITORY / "docs" / "recipes.md"
MEASURED = "<!-- benchmarks/recipes.py writes what follows -->"
PRESET, REAL = "sessions_far", "machines"
MACHINES = ("ToyCar", "bearing", "fan", "gearbox", "valve", "Polisher")
REPORTS, UNTRAINED = "knn", "residual"
"""The report's back-end, and the default of what is not trained (docs/defaults.md)."""

_MN04 = [
    "model/embedder/pooling@model.embedder.branches.mn04.pooling=attentive_statistics",
    "model.embedder.branches.mn04.finetuning=full",
    "model.embedder.branches.mn04.embed_dim=128",
]
# The report's frames are of 10 s.
_EAT = "model.embedder.branches.eat.front_end.target_frames=208"
# The recipe's number; the small scale has one.
_CENTERS = "model.loss.sub_centers=16"
_LORA = [
    "experiment=scadacos_mn04",
    _CENTERS,
    *(f"model.embedder.branches.mn04.{option}" for option in ("finetuning=lora", "lora_rank=64", "lora_alpha=8.0")),
    "model/scheduler=constant",
    "data.labels=machine_domain_attribute",
    "callbacks.ema=null",
]
NOT_TRAINED = {"statistics": ["experiment=statistics"], "mn04": ["experiment=mn04"]}
SYSTEMS = NOT_TRAINED | {
    "system 1": ["experiment=system1", "model/embedder/branches=[mn04,fft]", *_MN04],
    "system 2": ["experiment=system2", _EAT],
    "system 3": ["experiment=system3", "model/embedder/branches=[eat,mn04]", *_MN04, _EAT],
    "system 4": ["experiment=system4", "model/embedder/branches=[eat,mn04,fft]", *_MN04, _EAT],
    "scadacos_mn04": ["experiment=scadacos_mn04", _CENTERS],
    "lora_mn04": _LORA,
    "featex_fft": ["experiment=featex_fft", _CENTERS],
}
OWN_BACK_END = {"scadacos_mn04": "beam_varmin", "lora_mn04": "beam_varmin"}
EXPENSIVE = ("system 3", "system 4")
SETTINGS = ["scale=demo", "encoders=tiny", "data.clip_seconds=2.0", "data.test_windows=2", "data.batch_size=16"]


class Result(NamedTuple):
    """Of a run and a back-end: a machine's harmonic mean of AUCs and pAUC, or over all the official score.

    ``low`` and ``high`` are the ends of the 95 % interval of a bootstrap over test clips.
    """

    data: str
    system: str
    seed: int
    updates: int
    back_end: str
    machine: str
    hmean: float
    low: float
    high: float


class Job(NamedTuple):
    """A run to be: its machines, its system, its seed."""

    data: str
    system: str
    seed: int

    def folder(self, runs: Path) -> Path:
        """Where it lies."""
        return runs.resolve() / self.data / f"{self.system.replace(' ', '')}_seed{self.seed}"


def jobs(places: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """What the question needs most first: a seed of every system, then those that take long."""
    cheap = [system for system in SYSTEMS if system not in EXPENSIVE]
    for systems, some in ((cheap, seeds[:1]), (EXPENSIVE, seeds[:1]), (cheap, seeds[1:]), (EXPENSIVE, seeds[1:])):
        yield from (Job(data, system, seed) for seed in some for system in systems for data in places)


def trained(arguments: Namespace, job: Job) -> Path:
    """The run's folder, trained and tested where that has not been done to the end."""
    run = job.folder(arguments.folder)
    if not results_of(run).finished:
        updates = 0 if job.system in NOT_TRAINED else arguments.updates
        checkpoint = run / CHECKPOINT
        ended = checkpoint.is_file() and read_checkpoint(checkpoint)["global_step"] >= updates
        places = [f"hydra.run.dir={run}", f"name={run.name}", f"data.root={root_of(arguments, job)}"]
        places += [f"data.cache_dir={arguments.folder.resolve() / 'cache'}", f"system={job.system.replace(' ', '')}"]
        own = [f"encoders.mn04.weights={arguments.weights}", f"seed={job.seed}", f"trainer.max_steps={updates}"]
        resume = f"resume={str(checkpoint.is_file() and not ended).lower()}"
        train(*SETTINGS, *SYSTEMS[job.system], *places, *own, resume)
    return run


def root_of(arguments: Namespace, job: Job) -> Path:
    """Where the machines are; synthetic ones of this seed are made first."""
    if job.data == REAL:
        return arguments.machines.resolve()
    root = (arguments.folder / f"{job.data}_{job.seed}").resolve()
    synthesize(root, job.data, job.seed, MACHINES)
    return root


def measured(arguments: Namespace, job: Job) -> list[Result]:
    """The rows of a run, whose scores are left in a folder for each back-end."""
    run = trained(arguments, job)
    updates = read_checkpoint(run / CHECKPOINT)["global_step"]
    names = dict.fromkeys([REPORTS, UNTRAINED, OWN_BACK_END.get(job.system, UNTRAINED)])
    back_ends, threshold = choose_back_ends(",".join(names)), load_threshold("gamma")
    rows = []
    for one in sweep([Source(OWN, embeddings_of_run(run))], back_ends, threshold, job.seed):
        write_scores(scored(run, one.name).scores, one.scores)
        for row in one.intervals:
            if row.metric == "hmean":
                name = machine_name(row.machine, row.section)
                rows.append(Result(*job, updates, one.name, name, row.estimate, row.low, row.high))
    return rows


def scored(run: Path, back_end: str) -> ResultSet:
    """Where the scores of a run by a back-end are."""
    return ResultSet(run / "by_back_end" / back_end)


def read_results() -> list[Result]:
    """What earlier calls have measured."""
    if not CSV.is_file():
        return []
    with CSV.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [Result(*row[:2], *map(int, row[2:4]), *row[4:6], *map(float, row[6:])) for row in rows]


def systems_of(folder: Path, results: Sequence[Result], data: str) -> list[System]:
    """Each system by each back-end, for what compares runs; those without training first."""
    systems = []
    for system in SYSTEMS:
        back_ends = dict.fromkeys(row.back_end for row in results if (row.data, row.system) == (data, system))
        for back_end in back_ends:
            own = {row.seed for row in results if (*row[:2], row.back_end) == (data, system, back_end)}
            places = {seed: scored(Job(data, system, seed).folder(folder), back_end) for seed in sorted(own)}
            name = _name(system, back_end)
            systems.append(System(name, {}, tuple(_run(name, *place) for place in places.items()), ()))
    return systems


def _run(name: str, seed: int, place: ResultSet) -> Run:
    result = evaluate(read_scores(place.scores))
    return Run(place.folder, name, seed, (*result.machines, result.overall), "", results=place)


def _name(system: str, back_end: str) -> str:
    return f"{system}, {back_end}"


def differences(folder: Path, results: Sequence[Result], data: str) -> list[PairedDifference]:
    """Official scores less those of what is not trained, over shared seeds and test clips."""
    systems = systems_of(folder, results, data)
    rows = [row for row in paired_differences(systems, resample_runs(systems)) if row[2:4] == (ALL, "hmean")]
    untrained = {_name(*each) for each in product(NOT_TRAINED, (REPORTS, UNTRAINED))}
    both_ways = [*rows, *(_turned(row) for row in rows if row.system in untrained)]
    return [row for row in both_ways if row.baseline in untrained]


def _turned(row: PairedDifference) -> PairedDifference:
    return row._replace(
        system=row.baseline, baseline=row.system, difference=-row.difference, low=-row.high, high=-row.low
    )


def section(results: Sequence[Result], rows: Sequence[PairedDifference], data: str) -> list[str]:
    """The Markdown of one data set."""
    official = official_scores(results, data)
    best = max((key for key in official if key[0] in NOT_TRAINED), key=lambda key: mean(official[key]))
    baselines = dict.fromkeys([_name("mn04", UNTRAINED), _name(*best)])
    found = {(row.system, row.baseline): row for row in rows}
    table = []
    for (system, back_end), runs in official.items():
        cells = [_difference(found.get((_name(system, back_end), baseline))) for baseline in baselines]
        ends = (100 * np.mean([(row.low, row.high) for row in runs], axis=0)).tolist()
        interval = "{:.1f} to {:.1f}".format(*ends)
        table.append(Row((system, back_end, str(runs[0].updates), str(len(runs)), _score(runs), interval, *cells)))
    heading = ("system", "back-end", "updates", "seeds", "official score", "95 % interval")
    title = "Real machines" if data == REAL else f"Synthetic machines (`{data}`: {', '.join(MACHINES)})"
    lines = markdown_lines(Table(title, (*heading, *(f"less {name}" for name in baselines)), tuple(table), words=2))
    return [f"## {title}", "", *lines, "", *(f"- {answer(rows, baseline)}" for baseline in baselines), ""]


def official_scores(results: Sequence[Result], data: str) -> dict[tuple[str, str], list[Result]]:
    """(system, back-end) -> the rows over all machines, a seed each."""
    found: dict[tuple[str, str], list[Result]] = {}
    for system in SYSTEMS:
        for row in results:
            if (row.data, row.system, row.machine) == (data, system, ALL):
                found.setdefault((system, row.back_end), []).append(row)
    return found


def mean(runs: Sequence[Result]) -> float:
    """Of the official scores over seeds."""
    return float(np.mean([row.hmean for row in runs]))


def answer(rows: Sequence[PairedDifference], baseline: str) -> str:
    """How many trained systems are clearly better or worse, and which are not worse, in a sentence."""
    own = [row for row in rows if row.baseline == baseline and row.system.partition(",")[0] not in NOT_TRAINED]
    better = [row.system for row in own if row.clear and row.difference > 0]
    worse = [row.system for row in own if row.clear and row.difference < 0]
    rest = [row.system for row in own if row.system not in (*better, *worse)]
    return (
        f"Against {baseline}, of {len(own)} ways to train and to score: clearly better {_listed(better)}; within noise "
        f"{_listed(rest)}; clearly worse {len(worse)}."
    )


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({'; '.join(names)})" if names else "0"


def _score(runs: Sequence[Result]) -> str:
    spread = f" ± {100 * np.std([row.hmean for row in runs], ddof=1):.1f}" if len(runs) > 1 else ""
    return f"{100 * mean(runs):.1f}{spread}"


def _difference(row: PairedDifference | None) -> str:
    if row is None:
        return ""
    told = f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} to {100 * row.high:+.1f})"
    return f"{told}, {'better' if row.difference > 0 else 'worse'}" if row.clear else told


def write_page(folder: Path, results: Sequence[Result]) -> None:
    """Differences from the runs' scores, and the part of the page that follows from all numbers."""
    places = [data for data in (PRESET, REAL) if any(row.data == data for row in results)]
    rows = {data: differences(folder, results, data) for data in places}
    told = [(data, *row) for data, found in rows.items() for row in found]
    write_csv(DIFFERENCES, ("data", *PairedDifference._fields), told)
    lines = [line for data in places for line in section(results, rows[data], data)]
    before = PAGE.read_text(encoding="utf-8").partition(MEASURED)[0]
    write_text_atomically(PAGE, "\n".join([before + MEASURED, "", *lines]).rstrip() + "\n")


def main() -> None:
    parser = folders_parser(__doc__, "recipes")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "recipes", help="where the runs are")
    parser.add_argument("--weights", default="mn04_as", help="name or file of mn04's weights")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--page", action="store_true", help="write the page from the runs there are, and stop")
    arguments = parser.parse_args()
    results = read_results()
    places = [PRESET, *([REAL] if arguments.machines.is_dir() else [])]
    for job in () if arguments.page else jobs(places, range(arguments.seeds)):
        if job not in {row[:3] for row in results}:
            print(*job, flush=True)
            results += measured(arguments, job)
            write_csv(CSV, Result._fields, results)
    write_page(arguments.folder, results)


if __name__ == "__main__":
    main()
