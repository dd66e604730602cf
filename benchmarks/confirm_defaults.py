"""The chosen defaults on real machine sounds, once; nothing is chosen here.

    python benchmarks/confirm_defaults.py --machines machines --weights mn04_as

For log-mel statistics and mn04: official score of the chosen combination and of the default of before with 95 %
bootstrap intervals, and their paired difference; whole recordings are drawn, since clips of one are alike.  Then how
well the synthetic machines' order of all combinations, and of the back-ends on the chosen embedding, agrees with that
of the real ones (Spearman's rank correlation).  Needs ``choose_defaults_<family>.csv``; leaves
``confirm_defaults.csv`` (a row for each combination) and ``confirm_defaults.md`` beside it.
"""

from __future__ import annotations

import argparse
import csv
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from clips_in_memory import Embedded, Scored, embedded
from combinations import Family, candidates, family_of, makers
from folders import REPOSITORY
from rich.progress import track
from scipy import stats
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from asd_lightning.atomic import write_text_atomically
from asd_lightning.data.layout import Clip, find_clips
from asd_lightning.data.preprocessing import fit_length
from asd_lightning.data.recordings import TABLE, RecordingsTable
from asd_lightning.evaluation.intervals import weighted_auc, weighted_pauc
from asd_lightning.tables import Row, Table, csv_text, markdown_lines

SECONDS, RATE, RESAMPLES = 4.0, 16_000, 2000
FAMILIES = ("statistics", "mn04")


class Machine:
    """Clips of one real machine, with the counts of each test clip in every resample of its recordings."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.training = [clip for clip in clips if clip.split == "train"]
        self.test = [clip for clip in clips if clip.split == "test"]
        self.anomalous = np.array([clip.condition == "anomaly" for clip in self.test])
        self.domain = np.array([clip.domain for clip in self.test])
        self.counts = np.concatenate([np.ones((1, len(self.test)), int), _resampled(self.test)])

    def waveforms(self) -> torch.Tensor:
        sounds = []
        for clip in (*self.training, *self.test):
            waveform, rate = soundfile.read(clip.path, dtype="float32")
            assert rate == RATE
            sounds.append(fit_length(waveform, round(SECONDS * RATE)))
        return torch.from_numpy(np.stack(sounds))

    def parted(self, embedding: np.ndarray) -> Embedded:
        numbers: dict[str, int] = {}
        recording = np.array([numbers.setdefault(clip.recording, len(numbers)) for clip in self.training])
        is_target = np.array([clip.domain == "target" for clip in self.training])
        count = len(self.training)
        return Embedded(embedding[:count], is_target, recording, embedding[count:])

    def metrics(self, scores: np.ndarray) -> np.ndarray:
        """(3, 1 + resamples): AUC of either domain and pAUC; the first column is of all clips as they are."""
        rows = []
        for domain in ("source", "target"):
            kept = self.anomalous | (self.domain == domain)
            rows.append(weighted_auc(scores[kept], self.anomalous[kept], self.counts[:, kept]))
        rows.append(weighted_pauc(scores, self.anomalous, self.counts))
        return np.stack(rows)


def _resampled(clips: Sequence[Clip]) -> np.ndarray:
    """How often each clip is in each resample: recordings are drawn within domain and condition."""
    rng = np.random.default_rng(0)
    counts = np.zeros((RESAMPLES, len(clips)), int)
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for place, clip in enumerate(clips):
        groups.setdefault((clip.domain, clip.condition), {}).setdefault(clip.recording, []).append(place)
    for recordings in groups.values():
        drawn = rng.multinomial(len(recordings), np.full(len(recordings), 1 / len(recordings)), RESAMPLES)
        for column, places in enumerate(recordings.values()):
            counts[:, places] = drawn[:, [column]]
    return counts


def official(metrics: Sequence[np.ndarray]) -> np.ndarray:
    """Harmonic mean over machines and their three numbers, of every resample."""
    return np.asarray(stats.hmean(np.maximum(np.concatenate(metrics), np.finfo(float).eps), axis=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=Path, required=True, help="real machines, DCASE layout, recordings.csv")
    parser.add_argument("--weights", default="mn04_as", help="name or path of mn04's weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    clips = RecordingsTable(arguments.machines / TABLE).named(find_clips(arguments.machines))
    machines = [
        Machine([clip for clip in clips if clip.machine == name]) for name in sorted({c.machine for c in clips})
    ]
    lines, rows = [], []
    with threadpool_limits(1):
        for name in FAMILIES:
            result = scores_of(family_of(name, arguments.weights), machines)
            told, kept = compared(name, result)
            rows += kept
            lines.append(told)
    heading = ("", "chosen", "official", "knn of before", "difference", "all", "back-ends")
    text = "\n".join(markdown_lines(Table("", heading, tuple(lines)))) + "\n"
    write_text_atomically(REPOSITORY / "benchmarks" / "confirm_defaults.md", text)
    header = ["family", "combination", "synthetic", "real"]
    write_text_atomically(REPOSITORY / "benchmarks" / "confirm_defaults.csv", csv_text([header, *rows]))
    print(text)


def scores_of(family: Family, machines: Sequence[Machine]) -> dict[str, np.ndarray]:
    """Official score of every combination: (1 + resamples)."""
    make, order = makers(0), candidates(family)
    metrics: dict[str, list[np.ndarray]] = {one.name: [] for one in order}
    for machine in machines:
        tables = embedded(family, machine.waveforms())
        scored = {name: Scored(machine.parted(table), make, family.bands(name)) for name, table in tables.items()}
        for one in track(order, f"{type(family).__name__}, {machine.test[0].machine}"):
            metrics[one.name].append(machine.metrics(scored[one.embedding].by(one)))
    return {name: official(found) for name, found in metrics.items()}


def compared(name: str, real: dict[str, np.ndarray]) -> tuple[Row, list[list[object]]]:
    with (REPOSITORY / "benchmarks" / f"choose_defaults_{name}.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    synthetic = {row["combination"]: float(row["official"]) for row in table}
    chosen = next(row["combination"] for row in table if row["state"] == "chosen")
    baseline = f"{family_baseline(name)} | knn"
    of_chosen = [one for one in synthetic if one.startswith(f"{chosen.split(' | ')[0]} | ")]
    difference = real[chosen] - real[baseline]
    cells = (name, chosen.replace(" | ", ", "), _interval(real[chosen]), _interval(real[baseline]))
    agreement = [f"{_spearman(synthetic, real, names):.2f} ({len(names)})" for names in (list(synthetic), of_chosen)]
    row = Row((*cells, _interval(difference, "+"), *agreement))
    kept: list[list[object]] = [[name, one, f"{value:.4f}", f"{real[one][0]:.4f}"] for one, value in synthetic.items()]
    return row, kept


def family_baseline(name: str) -> str:
    return {"statistics": "mean+deviation", "mn04": "8 keep mean"}[name]


def _spearman(synthetic: dict[str, float], real: dict[str, np.ndarray], names: Sequence[str]) -> float:
    return float(stats.spearmanr([synthetic[one] for one in names], [real[one][0] for one in names]).statistic)


def _interval(values: np.ndarray, sign: str = "") -> str:
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return f"{100 * values[0]:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


if __name__ == "__main__":
    main()
