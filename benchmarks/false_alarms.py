"""Are promised false alarms kept?  Thresholds from left-out recordings and from left-out clips, machine by machine.

Embeds each folder of machines (DCASE layout, with its ``recordings.csv``) by log-mel statistics and, where
``--weights`` is given, by mn04, nothing trained; runs are kept under ``--runs``.  Writes a table of every machine of
the first folder and means over the machines of all others together to ``benchmarks/false_alarms.md``:

    python benchmarks/false_alarms.py --machines MACHINES data/sessions_0 --weights mn04_as.pt

Test labels are counted and choose nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from folders import REPOSITORY
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.progress import track

import asd_lightning
from asd_lightning.atomic import write_text_atomically
from asd_lightning.comparison.back_ends import known_back_ends
from asd_lightning.data.layout import Clip
from asd_lightning.detector.promise import promise, share_bound
from asd_lightning.experiment.run_embeddings import embeddings_of_run
from asd_lightning.scoring.calls import fit_with
from asd_lightning.scoring.embedding_cache import EmbeddingCache
from asd_lightning.scoring.held_out import left_out_scores
from asd_lightning.scoring.normal_scores import NormalScores
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.tables import Row, Table, markdown_lines
from asd_lightning.trust import read_part

STATISTICS, MN04 = "statistics", "mn04"
BACK_ENDS = ("knn", "residual", "ledoit_wolf", "knn_whitened", "whitened_pair")
BEAM = "beam"
WAYS = ("by clip", "recordings", "source recordings", "alarms")


class Shares(NamedTuple):
    """Shares above one threshold: of normal source and target clips, and of faulty clips of both."""

    source: float
    target: float
    hits: float


class Measured(NamedTuple):
    """One machine, embedding and back-end; ``ways`` holds the shares by each of ``WAYS``."""

    machine: str
    embedding: str
    back_end: str
    recordings: tuple[int, int]
    rates: tuple[float, float]
    ways: tuple[Shares, ...]


def embedded(machines: Path, embedding: str, weights: Path | None, runs: Path) -> EmbeddingCache:
    """Embeddings of a folder's machines, made where there are none yet."""
    run = runs / f"{machines.name}_{embedding}"
    if not (run / "results" / "metrics.csv").is_file():
        options = ["scale=demo", "data.clip_seconds=4.0", f"data.cache_dir={runs / 'cache'}", "trainer.accelerator=cpu"]
        options += [f"experiment={embedding}", f"data.root={machines}", f"hydra.run.dir={run}", f"name={run.name}"]
        asd_lightning.train(*options, *([f"encoders.mn04.weights={weights}"] if embedding == MN04 else []))
    return embeddings_of_run(run)


def maker(name: str, embedding: str) -> Callable[[], Scorer]:
    """An unfitted back-end by its configuration's name; mn04's kept bands come last."""
    options = read_part(known_back_ends()[name], "model", 0)
    if name == BEAM and embedding == MN04:
        options = dict(options) | {"band_order": "last"}
    return instantiate(OmegaConf.create(options), _convert_="all")


def numbered(names: Sequence[str]) -> np.ndarray:
    return np.unique(np.array(names), return_inverse=True)[1]


def measure(cache: EmbeddingCache, machine: str, embedding: str, back_end: str, rate: float) -> Measured:
    """Thresholds of one back-end for one machine, and what is above them."""
    train = [row for row, clip in enumerate(cache.reference_clips) if clip.machine == machine]
    test = [row for row, clip in enumerate(cache.query_clips) if clip.machine == machine]
    clips = [cache.reference_clips[row] for row in train]
    bank, is_target = cache.reference[train].astype(np.float64), np.array([clip.domain == "target" for clip in clips])
    make, recording = maker(back_end, embedding), numbered([clip.recording for clip in clips])
    scorer = fit_with(make(), bank, is_target, recording)
    left_out = left_out_scores(scorer, make, bank, is_target, recording)
    every, source = NormalScores.fit(left_out, recording), NormalScores.fit(left_out[~is_target], recording[~is_target])
    single = np.arange(len(clips))
    old_scorer = fit_with(make(), bank, is_target, single)
    old = NormalScores.fit(left_out_scores(old_scorer, make, bank, is_target, single)[~is_target], single[~is_target])
    queries, scored = cache.query[test].astype(np.float64), [cache.query_clips[row] for row in test]
    rates = max(rate, every.smallest_rate), max(rate, source.smallest_rate)
    scores = scorer.anomaly_score(queries)
    ways = (
        shares(old_scorer.anomaly_score(queries), scored, old.threshold(rate)),
        shares(scores, scored, every.threshold(rates[0])),
        shares(scores, scored, source.threshold(rates[1])),
        shares(scores, scored, promise(every, rates[0]).alarm),
    )
    return Measured(machine, embedding, back_end, (every.recordings, source.recordings), rates, ways)


def shares(scores: np.ndarray, clips: Sequence[Clip], threshold: float) -> Shares:
    def above(condition: str, *domains: str) -> float:
        return float(
            np.mean(
                [
                    score > threshold
                    for score, clip in zip(scores, clips, strict=True)
                    if clip.condition == condition and clip.domain in domains
                ]
            )
        )

    return Shares(above("normal", "source"), above("normal", "target"), above("anomaly", "source", "target"))


def measured(folder: Path, arguments: argparse.Namespace) -> Iterator[Measured]:
    for embedding in (STATISTICS, *([MN04] if arguments.weights else [])):
        cache = embedded(folder.resolve(), embedding, arguments.weights, arguments.runs.resolve())
        machines = sorted({clip.machine for clip in cache.reference_clips})
        back_ends = (*BACK_ENDS, *([BEAM] if embedding == MN04 else []))
        pairs = [(machine, back_end) for machine in machines for back_end in back_ends]
        for machine, back_end in track(pairs, f"{folder.name}, {embedding}"):
            yield measure(cache, machine, embedding, back_end, arguments.rate)


HEADING = ("back-end", *WAYS)


def cells(ways: Sequence[Shares]) -> tuple[str, ...]:
    return tuple(" / ".join(f"{100 * share:.0f}" for share in way) for way in ways)


def of_machine(rows: Sequence[Measured]) -> list[str]:
    first = rows[0]
    title = f"{first.machine}, {first.embedding}"
    note = (
        f"{first.recordings[0]} training recordings, {first.recordings[1]} of them source: rates of "
        f"{100 * first.rates[0]:.1f} and {100 * first.rates[1]:.1f} % are promised."
    )
    table = Table(title, HEADING, tuple(Row((row.back_end, *cells(row.ways))) for row in rows))
    return [f"### {title}", "", note, "", *markdown_lines(table), ""]


def of_folders(names: Sequence[str], rows: Sequence[Measured]) -> list[str]:
    """Means over machines, and whether the promise to the source domain holds within what chance allows it."""
    lines = []
    for embedding in dict.fromkeys(row.embedding for row in rows):
        own = [row for row in rows if row.embedding == embedding]
        table_rows, notes = [], []
        for back_end in dict.fromkeys(row.back_end for row in own):
            mine = [row for row in own if row.back_end == back_end]
            ways = np.array([row.ways for row in mine])
            table_rows.append(Row((back_end, *cells([Shares(*way) for way in ways.mean(axis=0)]))))
            source = ways[:, WAYS.index("source recordings"), 0]
            within = np.mean(source <= [share_bound(row.recordings[1], row.rates[1]) for row in mine])
            error = source.std(ddof=1) / np.sqrt(len(source))
            promised = np.mean([row.rates[1] for row in mine])
            notes.append(
                f"`{back_end}`: of {100 * promised:.1f} % promised to the source domain, {100 * source.mean():.1f} ± "
                f"{100 * error:.1f} % (standard error over machines); {100 * within:.0f} % of the machines are within "
                "the bound for one training."
            )
        title = f"{', '.join(names)}; {embedding}: means over {len(own) // len(table_rows)} machines"
        table = Table(title, HEADING, tuple(table_rows))
        lines += [f"### {title}", "", *markdown_lines(table), "", *(f"- {note}" for note in notes), ""]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=Path, nargs="+", required=True, help="folders of machines in DCASE layout")
    parser.add_argument("--weights", type=Path, help="of mn04_as; without them statistics alone are measured")
    parser.add_argument("--rate", type=float, default=0.1, help="promised")
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / "false_alarms", help="where the runs are")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks" / "false_alarms.md")
    arguments = parser.parse_args()
    lines = [
        "# Promised false alarms, and measured ones",
        "",
        f"Shares in per cent of test clips above the threshold of a promised {100 * arguments.rate:g} %: normal source "
        "clips / normal target clips / faulty clips (hits).",
        "",
        "- *by clip*: source clips left out one by one while their neighbors stay in (the old way).",
        "- *recordings*: all training recordings left out in turn, source and target alike; the promise is to a new "
        "recording of such a mixture.",
        "- *source recordings*: source recordings alone; the promise is to the source domain.",
        "- *alarms*: the higher level, at a tenth of the rate, from all recordings; extrapolated, not promised.",
        "",
        "Where there are too few recordings for the rate, the smallest that can be promised, 1 / (n + 1), is used.",
        "",
    ]
    first, *others = arguments.machines
    rows = list(measured(first, arguments))
    lines += [f"## {first.name}", ""]
    for key in dict.fromkeys((row.machine, row.embedding) for row in rows):
        lines += of_machine([row for row in rows if (row.machine, row.embedding) == key])
    if others:
        lines += ["## Synthetic machines in recordings", ""]
        lines += of_folders(
            [folder.name for folder in others], [row for one in others for row in measured(one, arguments)]
        )
    write_text_atomically(arguments.output, "\n".join(lines).rstrip() + "\n")
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
