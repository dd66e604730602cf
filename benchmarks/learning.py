"""Does training pay?  Trained against untrained embeddings and log-mel statistics, over three seeds.

Trains what is not there yet under ``--runs`` (minutes each), tests every run with two back-ends, before and after the
head of the loss, and writes ``benchmarks/learning.md``.  Real machines are read from ``--machines``, by default
``$ASD_SHARED/machines``, and left out where there are none:

    python benchmarks/learning.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from folders import REPOSITORY, parse_folders

from asd_lightning.atomic import write_text_atomically
from asd_lightning.evaluation.metrics import ALL, read_metrics
from asd_lightning.tables import Row, Table, markdown_lines

SEEDS = (0, 1, 2)
SYSTEMS = {
    "log-mel statistics, nothing trained": [
        "experiment=statistics",
        "model.embedder.branches.statistics.encoder.statistics=[mean,deviation]",
        "model/scorer=knn",
    ],
    "system 1 with tiny encoders, untrained": ["experiment=system1", "trainer.max_steps=0"],
    "spectrum CNN, 400 updates": ["experiment=fft"],
    "system 1 with tiny encoders, 400 updates": ["experiment=system1"],
}
STANDARDIZED, BEFORE_HEAD = "model/scorer=knn_standardized", "model.score_after_head=false"
TESTS = {
    "cosine (default)": [],
    "z-scored": [STANDARDIZED],
    "before the head, cosine": [BEFORE_HEAD],
    "before the head, z-scored": [BEFORE_HEAD, STANDARDIZED],
}
DATA = {"demo": ("Demo machines (synthetic)", []), "machines": ("Real machines", ["data.clip_seconds=4.0"])}


def asd(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "asd_lightning.cli", *arguments], check=True)


def hmeans(runs: Path, data: str, root: Path, system: str, seed: int, test: str) -> dict[str, float]:
    """Harmonic mean of the official metrics of each machine, and under ``ALL`` the official score."""
    run = runs / f"{data}_{list(SYSTEMS).index(system)}_seed{seed}"
    if not (run / "results" / "metrics.csv").is_file():
        fixed = ["scale=demo", f"seed={seed}", f"name={run.name}", f"hydra.run.dir={run}"]
        asd("train", *fixed, f"data.root={root}", f"data.cache_dir={runs / 'cache'}", *SYSTEMS[system], *DATA[data][1])
    results = run / f"test_{list(TESTS).index(test)}"
    if not (results / "metrics.csv").is_file():
        asd("test", f"run={run}", f"out={results}", *TESTS[test])
    return {row.machine: row.hmean for row in read_metrics(results / "metrics.csv")}


def tables(runs: Path, data: str, root: Path) -> list[str]:
    """Markdown: for each machine and over all, systems against ways to score."""
    found = {
        (system, test): [hmeans(runs, data, root, system, seed, test) for seed in SEEDS]
        for system in SYSTEMS
        for test in TESTS
    }
    machines = [machine for machine in next(iter(found.values()))[0] if machine != ALL]
    lines = []
    for machine in [ALL, *machines]:
        scores = {key: [100 * each[machine] for each in seeds] for key, seeds in found.items()}
        cells = [
            Row((system, *(f"{mean(scores[system, test]):.1f} ± {stdev(scores[system, test]):.1f}" for test in TESTS)))
            for system in SYSTEMS
        ]
        title = "Official score, all machines" if machine == ALL else machine
        lines += [f"### {title}", "", *markdown_lines(Table(title, ("embedding", *TESTS), tuple(cells))), ""]
    return lines


def main() -> None:
    arguments = parse_folders(__doc__, "learning")
    lines = [
        "# Does training pay?",
        "",
        "Harmonic mean of AUC source, AUC target and pAUC in per cent, mean ± standard deviation over "
        f"{len(SEEDS)} seeds. The back-end is 1-NN with SMOTE, on cosine distances or on Euclidean ones after "
        "z-scoring by the training clips. Encoders are tiny and start from random weights.",
        "",
    ]
    for data, root in {"demo": arguments.demo, "machines": arguments.machines}.items():
        if root.is_dir():
            lines += [f"## {DATA[data][0]}", "", *tables(arguments.runs.resolve(), data, root.resolve())]
        else:
            print(f"{root}: not there, {DATA[data][0]} left out")
    lines.append("Measured with `python benchmarks/learning.py`.")
    write_text_atomically(REPOSITORY / "benchmarks" / "learning.md", "\n".join(lines) + "\n")
    print("benchmarks/learning.md written")


if __name__ == "__main__":
    main()
