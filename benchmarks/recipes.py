"""Which training recipe pays where encoders are small?  Systems 1 to 4 and three recipes, beside what is not trained.

Trains what is not there yet under ``--folder`` (minutes each, one after another) and scores every run by the report's
back-end and by the default of what is not trained.  ``benchmarks/recipes.csv`` keeps what each run has come to, and
nothing in it is done again; an interrupted training goes on.  Every seed has its own draw of six synthetic machines,
recorded by two microphones.  Real machines are read from ``--machines``, by default ``$ASD_SHARED/machines``, and left
out where there are none; nothing is chosen by them:

    asd weights fetch mn04_as
    python benchmarks/recipes.py
"""

from __future__ import annotations

import csv
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from folders import REPOSITORY, folders_parser

from asd_lightning import train
from asd_lightning.comparison.back_ends import OWN, Source, choose_back_ends, load_threshold, sweep
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.run_folder import CHECKPOINT, ResultSet, results_of
from asd_lightning.scoring.clip_scores import machine_name, write_scores
from asd_lightning.synthetic import synthesize
from asd_lightning.tables import write_csv
from asd_lightning.training.build import read_checkpoint

CSV = REPOSITORY / "benchmarks" / "recipes.csv"
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


def main() -> None:
    parser = folders_parser(__doc__, "recipes")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "recipes", help="where the runs are")
    parser.add_argument("--weights", default="mn04_as", help="name or file of mn04's weights")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    results = read_results()
    places = [PRESET, *([REAL] if arguments.machines.is_dir() else [])]
    for job in jobs(places, range(arguments.seeds)):
        if job not in {row[:3] for row in results}:
            print(*job, flush=True)
            results += measured(arguments, job)
            write_csv(CSV, Result._fields, results)


if __name__ == "__main__":
    main()
