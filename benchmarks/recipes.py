"""Which training recipe pays where encoders are small?  Systems 1 to 4 and three recipes, beside what is not trained.

Trains what is not there yet under ``--folder``, ``--jobs`` runs at a time, on a GPU where there is one, and scores
every run by the report's back-end, by the default of what is not trained and by its own.  ``benchmarks/recipes.csv``
keeps what each run has come to, and nothing in it is done again; an interrupted training goes on.
``benchmarks/recipes_differences.csv``, the answer and the tables in ``docs/recipes.md`` follow from the scores that the
runs have left, as far as there are any; ``--page`` writes them again, for which the files
``by_back_end/*/scores.csv`` of the runs are enough.  Every seed has its own draw of six synthetic machines, recorded by
two microphones.  Real machines are read from ``--machines``, by default ``$ASD_SHARED/machines``, and left out where
there are none; nothing is chosen by them:

    asd weights fetch mn04_as
    python benchmarks/recipes.py --jobs 4
"""

from __future__ import annotations

import csv
import math
import shutil
import sys
import time
import traceback
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from filelock import FileLock
from folders import REPOSITORY, folders_parser
from many_jobs import as_they_end, processes

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
ANSWER, HOW = "<!-- benchmarks/recipes.py writes the answer -->", "### How it was measured"
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
LONGEST_FIRST = (*reversed([system for system in SYSTEMS if system not in NOT_TRAINED]), *reversed(NOT_TRAINED))
SETTINGS = ["scale=demo", "encoders=tiny", "data.clip_seconds=2.0", "data.test_windows=2", "data.batch_size=16"]


class Result(NamedTuple):
    """Of a run and a back-end: a machine's harmonic mean of AUCs and pAUC, or over all the official score.

    ``device`` is what the run was trained and embedded on; ``low`` and ``high`` are the ends of the 95 % interval of a
    bootstrap over test clips.
    """

    data: str
    system: str
    seed: int
    updates: int
    device: str
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


def jobs(places: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """A seed of everything first; of each, what takes longest first: where many run at a time, the last are short."""
    return [Job(data, system, seed) for seed in seeds for system in LONGEST_FIRST for data in places]


def keep(results: Iterable[Result], order: Sequence[Job]) -> list[Result]:
    """Write all rows there are, in the order of jobs, behind those of jobs that were not asked for."""
    places = {job: number for number, job in enumerate(order)}
    rows = sorted(results, key=lambda row: places.get(Job(*row[:3]), -1))
    write_csv(CSV, Result._fields, rows)
    return rows


def trained(arguments: Namespace, job: Job) -> Path:
    """The run's folder, trained and tested where that has not been done to the end."""
    run = job.folder(arguments.folder)
    if not results_of(run).finished:
        updates = 0 if job.system in NOT_TRAINED else arguments.updates
        places = [f"hydra.run.dir={run}", f"name={run.name}", f"data.root={root_of(arguments, job)}"]
        places += [f"data.cache_dir={arguments.folder.resolve() / 'cache'}", f"system={job.system.replace(' ', '')}"]
        own = [f"encoders.mn04.weights={arguments.weights}", f"seed={job.seed}", f"trainer.max_steps={updates}"]
        own += [f"trainer.accelerator={'gpu' if torch.cuda.is_available() else 'cpu'}"]
        begun = (run / CHECKPOINT).is_file()
        if not begun:
            # What a killed training has left before its first checkpoint is nothing to go on with.
            shutil.rmtree(run, ignore_errors=True)
        train(*SETTINGS, *SYSTEMS[job.system], *places, *own, f"resume={str(begun).lower()}")
    return run


def root_of(arguments: Namespace, job: Job) -> Path:
    """Where the machines are; synthetic ones of this seed are made first, by one job while others wait for it."""
    if job.data == REAL:
        return arguments.machines.resolve()
    root = (arguments.folder / f"{job.data}_{job.seed}").resolve()
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f"{root.name}.lock")):
        synthesize(root, job.data, job.seed, MACHINES, progress=False)
    return root


def measured(arguments: Namespace, job: Job) -> list[Result]:
    """The rows of a run, whose scores are left in a folder for each back-end."""
    run = trained(arguments, job)
    made = read_checkpoint(run / CHECKPOINT)["global_step"], device()
    names = dict.fromkeys([REPORTS, UNTRAINED, OWN_BACK_END.get(job.system, UNTRAINED)])
    back_ends, threshold = choose_back_ends(",".join(names)), load_threshold("gamma")
    rows = []
    for one in sweep([Source(OWN, embeddings_of_run(run))], back_ends, threshold, job.seed):
        write_scores(scored(run, one.name).scores, one.scores)
        for row in one.intervals:
            if row.metric == "hmean":
                name = machine_name(row.machine, row.section)
                rows.append(Result(*job, *made, one.name, name, row.estimate, row.low, row.high))
    return rows


def device() -> str:
    """What runs are trained on here."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def scored(run: Path, back_end: str) -> ResultSet:
    """Where the scores of a run by a back-end are."""
    return ResultSet(run / "by_back_end" / back_end)


def read_results() -> list[Result]:
    """What earlier calls have measured."""
    if not CSV.is_file():
        return []
    with CSV.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [Result(*row[:2], *map(int, row[2:4]), *row[4:7], *map(float, row[7:])) for row in rows]


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
    clips = resample_runs(systems)
    untrained = {_name(*each) for each in product(NOT_TRAINED, (REPORTS, UNTRAINED))}
    pairs = (pair for pair in combinations(systems, 2) if untrained & {system.name for system in pair})
    rows = [row for pair in pairs for row in paired_differences(pair, clips) if row[2:4] == (ALL, "hmean")]
    both_ways = [*rows, *(_turned(row) for row in rows if row.system in untrained)]
    return [row for row in both_ways if row.baseline in untrained]


def _turned(row: PairedDifference) -> PairedDifference:
    return row._replace(
        system=row.baseline, baseline=row.system, difference=-row.difference, low=-row.high, high=-row.low
    )


def baselines_of(results: Sequence[Result], data: str) -> list[str]:
    """What is not trained with its default, and the best of what is not trained."""
    official = official_scores(results, data)
    best = max((key for key in official if key[0] in NOT_TRAINED), key=lambda key: mean(official[key]))
    return list(dict.fromkeys([_name("mn04", UNTRAINED), _name(*best)]))


def section(results: Sequence[Result], rows: Sequence[PairedDifference], data: str) -> list[str]:
    """The Markdown of one data set."""
    official, baselines = official_scores(results, data), baselines_of(results, data)
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
    devices = Counter(name for _, name in {(row[:3], row.device) for row in results if row.data == data})
    made_on = ", ".join(f"{name} ({count} runs)" for name, count in devices.items())
    return [f"### {title}", "", *lines, "", f"Trained and embedded on: {made_on}.", ""]


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


def answer(rows: Sequence[PairedDifference], baseline: str, data: str) -> str:
    """How many trained systems are clearly better or worse, and which are not worse, in a sentence."""
    own = [row for row in rows if row.baseline == baseline and row.system.partition(",")[0] not in NOT_TRAINED]
    better = [row.system for row in own if row.clear and row.difference > 0]
    worse = [row.system for row in own if row.clear and row.difference < 0]
    rest = [row.system for row in own if row.system not in (*better, *worse)]
    machines = "real" if data == REAL else "synthetic"
    return (
        f"On the {machines} machines, against {baseline}, of {len(own)} ways to train and to score: clearly better "
        f"{_listed(better)}; within noise {_listed(rest)}; clearly worse {len(worse)}."
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
    """Differences from the runs' scores, and the parts of the page that follow from all numbers."""
    places = [data for data in (PRESET, REAL) if any(row.data == data for row in results)]
    rows = {data: differences(folder, results, data) for data in places}
    told = [(data, *row) for data, found in rows.items() for row in found]
    write_csv(DIFFERENCES, ("data", *PairedDifference._fields), told)
    write_text_atomically(PAGE, page(PAGE.read_text(encoding="utf-8"), results, rows))


def page(text: str, results: Sequence[Result], rows: Mapping[str, Sequence[PairedDifference]]) -> str:
    """The page with another answer and other tables; what is written by hand stays."""
    answers = [f"- {answer(rows[data], base, data)}" for data in rows for base in baselines_of(results, data)]
    tables = [line for data in rows for line in section(results, rows[data], data)]
    before, _, after = text.partition(ANSWER)
    how = HOW + after.partition(HOW)[2].partition(MEASURED)[0]
    return "\n".join([before + ANSWER, "", *answers, "", how + MEASURED, "", *tables]).rstrip() + "\n"


def parsed() -> Namespace:
    """The command line."""
    parser = folders_parser(__doc__, "recipes")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "recipes", help="where the runs are")
    parser.add_argument("--weights", default="mn04_as", help="name or file of mn04's weights")
    parser.add_argument("--updates", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; processors are shared out among them")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no other run after so many")
    parser.add_argument("--page", action="store_true", help="write the page from the runs there are, and stop")
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    results = read_results()
    odd = {row.updates for row in results} - {0, arguments.updates}
    if odd and not arguments.page:
        sys.exit(f"{CSV}: holds runs of {odd} updates: give --updates as many, or remove it")
    places = [PRESET, *([REAL] if arguments.machines.is_dir() else [])]
    order = jobs(places, range(arguments.seeds))
    begun, failed = time.monotonic(), []
    todo = [job for job in order if job not in {row[:3] for row in results}]
    if todo and not arguments.page:
        with processes(arguments.jobs, arguments.folder / "workers.log") as executor:
            work = partial(measured, arguments)
            for job, future in as_they_end(executor, arguments.jobs, work, todo, arguments.minutes):
                print(f"{time.monotonic() - begun:.0f} s:", *job, flush=True)
                if error := future.exception():
                    traceback.print_exception(error)
                    failed.append(job)
                else:
                    results = keep([*results, *future.result()], order)
    write_page(arguments.folder, results)
    if failed:
        sys.exit(f"{len(failed)} runs failed, see above; the same command tries them again")


if __name__ == "__main__":
    main()
