"""Every back-end on every embedding: on the demo machines, which are synthetic, and on real machine sounds.

Trains what is not there yet under ``--runs`` (minutes each), sweeps the back-ends over each run's embeddings, and
writes ``docs/back-ends.md`` and ``benchmarks/back_ends.csv``.  Real machines are read from ``--machines``, by default
``$ASD_SHARED/machines``, and left out where there are none:

    python benchmarks/back_ends.py
"""

from __future__ import annotations

import csv
import io
import math
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from folders import REPOSITORY, parse_folders
from rich.progress import Progress

from asd_lightning.atomic import write_text_atomically
from asd_lightning.comparison.back_ends import BASELINE, OWN, Source, Swept, known_back_ends, load_threshold, sweep
from asd_lightning.evaluation.intervals import Interval
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.tables import Row, Table, markdown_lines

EMBEDDINGS = {"statistics": "log-mel statistics", "fft": "FFT-CNN", "system1": "trained tiny system 1 (BEATs-FFT)"}
SYNTHETIC, REAL = "demo", "machines"
TITLES = {SYNTHETIC: "Demo machines (synthetic)", REAL: "Reference machines (real)"}

INTRODUCTION = """# Back-ends compared

Every back-end under `conf/model/scorer` over three embeddings: mean and standard deviation of each log-mel band
(nothing trained), the spectrum CNN, and system 1 with tiny random-weight encoders, the latter two trained by
`asd train scale=demo`, seed 0. Cells are official scores in per cent with their 95 % bootstrap intervals over
test clips; below each table stands the largest gain over `knn` with its paired interval. One training seed: the
spread between seeds comes on top.
"""
GRID = """## The grid

`GridScorer` has one bank of all normal training clips, source and target together, and independent switches
(`model/scorer=beam model.scorer.bands=4`):

- `match`: `cosine` or `euclidean` distance of whole embeddings; `coupled`, the mean over the bands of the distances
  to one clip; `beam`: each band finds its own nearest clip, and the mean of their distances counts
  (`band_fusion=max`: the largest).
- `bands`: how many the embedding holds; `band_order`: `first` for bands x dim, `last` for dim x bands (mn04 with
  `bands: keep`).
- `rescale`: `identity` d - alpha b, `log` log d - alpha log b, or `ratio` d / b^alpha, where b is the mean distance
  of the bank's clip to its `neighbors` nearest others. `alpha`: 0 is the nearest neighbour, 1 local density (LDN),
  `fitted` VarMin, for each band.
- `standardize`: first mean 0 and deviation 1 of each dimension; `whiten`: then the Ledoit-Wolf covariance to the unit
  matrix.
- `mixup`: mixtures of target and source clips in the bank (MemMixup).

Around it: `DomainScorer` (a back-end for each domain; minimum, z-score, or ratio to the median of left-out training
clips), `DacoScorer` (one score, calibrated by each domain: z-score, ratio or quantile; soft or hard weights),
`CombinedScorer` (mean or minimum of several back-ends' z-scores, of logarithms where asked for). Beside it:
`LedoitWolfScorer` (distance to the mean of one bank), `ResidualScorer` (what lies outside the principal components).

- A fitted alpha is 0 below 20 training recordings (`fewest`), with a warning: it would follow chance.
- b, alpha and left-out scores leave out the whole recording that a clip was cut from. Left-out scores keep b and
  alpha.
- A band of zeros (silence) is at distance 0.5 from everything; a clip of zeros alone cannot be judged, and is an
  error.
- The cosine distance of the grid is (1 - cosine) / 2, that of `KNNScorer` twice as large. Rankings are the same.
- Local density by differences over the *sum* of K distances, as printed in the literature, is `alpha` = K here.
- `varmin` names the method of that name. What had the name is `domain_z`, and `ldn` has one bank (a bank for each
  domain: `ldn_per_domain`). Runs of before score as they did, and say once that `fusion=varmin` has another name.

### Poolings beside back-ends

`asd score-sweep RUN pooling=A,B scorer=C,D` scores every pooling that a test has stored (`store_features=`,
[encoders.md](encoders.md)) with every back-end, without hearing a clip again: one table with both columns, the highest
official score first, differences to the first pooling with `knn`, and `scorers.csv`, `.md` and `.tex`. Thresholds are
fitted as in a run, without all clips of the same recording where the run knows which they are. The best of some hundred
rows is a choice by test labels, and its score is flattered by it: decide on other machines.
"""
CHOICE = """## The default

`knn` (k = 1, cosine, SMOTE on the target clips, minimum over the domains) is the default of trained systems because it
is the report's back-end. Without training the defaults are others, chosen on synthetic machines in recordings:
[defaults.md](defaults.md). The real machines' test labels choose nothing, their table is there to see whether the
choice carries over.
"""


def run_of(runs: Path, data: str, root: Path, embedding: str) -> Path:
    """The run's folder, trained where it has no results yet."""
    run = runs / f"{data}_{embedding}"
    if not (run / "results" / "metrics.csv").is_file():
        overrides = ["scale=demo", f"experiment={embedding}", f"data.root={root}", f"name={run.name}"]
        if embedding == "statistics":  # the two that the tables are of; the default has more
            overrides.append("model.embedder.branches.statistics.encoder.statistics=[mean,deviation]")
        overrides += [f"hydra.run.dir={run}", f"data.cache_dir={runs / 'cache'}"]
        subprocess.run([sys.executable, "-m", "asd_lightning.cli", "train", *overrides], check=True)
    return run


def official(rows: Sequence[Interval]) -> Interval | None:
    return next((row for row in rows if (row.machine, row.metric) == (ALL, "hmean")), None)


def table(results: dict[str, list[Swept]]) -> list[str]:
    """Markdown lines: a row for each back-end, a column for each embedding, the best mean on top."""
    columns = {embedding: {one.name: one for one in swept} for embedding, swept in results.items()}
    names = next(iter(columns.values())).keys()
    rows = [(name, [official(by_name[name].intervals) for by_name in columns.values()]) for name in names]
    rows.sort(key=lambda row: -mean_score(row[1]))
    heading = ["back-end", *(EMBEDDINGS[embedding] for embedding in results), "mean"]
    cells = [Row((name, *map(cell, found), f"{100 * mean_score(found):.1f}")) for name, found in rows]
    return [*markdown_lines(Table("", tuple(heading), tuple(cells))), "", *gains(results)]


def mean_score(found: Sequence[Interval | None]) -> float:
    return sum(row.estimate for row in found if row) / len(found)


def cell(row: Interval | None) -> str:
    return "failed" if row is None else f"{100 * row.estimate:.1f} ({100 * row.low:.1f} to {100 * row.high:.1f})"


def gains(results: dict[str, list[Swept]]) -> list[str]:
    """For each embedding, the back-end furthest above ``knn``, with its paired interval."""
    lines = []
    for embedding, swept in results.items():
        differences = [(one.name, official(one.differences)) for one in swept]
        known = [(name, row) for name, row in differences if row and not math.isnan(row.estimate)]
        name, row = max(known, key=lambda pair: pair[1].estimate)
        interval = f"{100 * row.low:+.1f} to {100 * row.high:+.1f}"
        lines.append(
            f"- {EMBEDDINGS[embedding]}: largest gain over `{BASELINE}` is `{name}`, "
            f"{100 * row.estimate:+.1f} points ({interval})."
        )
    return lines


def verdict(results: dict[str, list[Swept]]) -> str:
    """Whether a back-end beats ``knn`` on synthetic machines by more than their test clips leave open."""
    clear = []
    for name in (one.name for one in next(iter(results.values())) if one.name != BASELINE):
        found = [official(one.differences) for swept in results.values() for one in swept if one.name == name]
        if all(row is not None and row.low > 0 for row in found):
            clear.append(f"`{name}`")
    if clear:
        return f"On the synthetic machines {', '.join(clear)} beats `{BASELINE}` clearly with every embedding."
    return (
        f"On the synthetic machines no back-end beats `{BASELINE}` with every embedding by more than the intervals "
        f"leave open: the default stays `{BASELINE}`."
    )


def as_csv(results: dict[str, dict[str, list[Swept]]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["data", "embedding", "back_end", "quantity", "machine", "metric", "estimate", "low", "high"])
    for data, by_embedding in results.items():
        for embedding, swept in by_embedding.items():
            for one in swept:
                for quantity, rows in (("value", one.intervals), ("difference", one.differences)):
                    for row in rows:
                        if row.metric in ("auc_source", "auc_target", "pauc", "hmean"):
                            numbers = [f"{value:.4f}" for value in (row.estimate, row.low, row.high)]
                            writer.writerow([data, embedding, one.name, quantity, row.machine, row.metric, *numbers])
    return text.getvalue()


def main() -> None:
    arguments = parse_folders(__doc__, "back_ends")
    roots = {SYNTHETIC: arguments.demo, REAL: arguments.machines}
    results: dict[str, dict[str, list[Swept]]] = {}
    for data, root in roots.items():
        if not root.is_dir():
            print(f"{root}: not there, {TITLES[data]} left out")
            continue
        for embedding in EMBEDDINGS:
            cache = embeddings_of_run(run_of(arguments.runs.resolve(), data, root.resolve(), embedding))
            back_ends = known_back_ends()
            with Progress(transient=True) as progress:
                task = progress.add_task("scoring", total=2 * len(back_ends))
                advance = partial(progress.advance, task)
                swept = sweep([Source(OWN, cache)], back_ends, load_threshold("gamma"), advance=advance)
            results.setdefault(data, {})[embedding] = swept
    lines = [INTRODUCTION, GRID]
    for data, by_embedding in results.items():
        lines += [f"## {TITLES[data]}", "", *table(by_embedding), ""]
    lines += [CHOICE, verdict(results[SYNTHETIC]), ""]
    lines.append("Measured with `python benchmarks/back_ends.py`; all numbers: `benchmarks/back_ends.csv`.")
    write_text_atomically(REPOSITORY / "docs" / "back-ends.md", "\n".join(lines) + "\n")
    write_text_atomically(REPOSITORY / "benchmarks" / "back_ends.csv", as_csv(results))
    print("docs/back-ends.md and benchmarks/back_ends.csv written")


if __name__ == "__main__":
    main()
