"""Which embedding and back-end are the default of ``experiment=statistics`` and of ``experiment=mn04``.

    python benchmarks/choose_defaults.py                                  # log-mel statistics, nothing to download
    python benchmarks/choose_defaults.py --family mn04 --weights mn04_as

The data are the synthetic machines ``sessions`` with seeds 0 to 4, and nothing else: 12 machines x 5 seeds are 60
units.  The candidates are those of ``benchmarks/combinations.py``.

The rule, fixed before the first result:

1. A unit's value is the official score of one machine and seed: the harmonic mean of AUC_source, AUC_target and pAUC.
   A combination's value is the mean over all units.
2. Of each kind of fault, its clips against all normal test clips of the unit give an AUC.  A combination is struck out
   if for some kind the mean paired difference to the default of before (``knn`` on its own embedding) is below 0 with a
   95 % interval (t, over the units that have the fault) that ends below 0.
3. Among those left the highest value is the best.  Those whose paired difference to the best has a 95 % interval (t,
   over the 60 units) that includes 0 are ties with it.
4. Of the ties the simplest is chosen: fewest parts (statistics or poolings of the embedding plus steps of the
   back-ends); among equally many the first in the order of the lists in ``combinations.py``.

Real machines choose nothing.  BEATs stays what it is (``experiment=beats_frozen``): its weights are not part of this
measurement, and its default is taken from the literature.

Results go to ``runs/choose_defaults/<family>.csv``, unit by unit, so that an interrupted call goes on; then the summary
to ``benchmarks/choose_defaults_<family>.csv`` and ``.md``.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from clips_in_memory import Scored, Sound, embedded, parted, rendered
from combinations import Combination, Family, candidates, family_of, makers
from folders import REPOSITORY
from rich.progress import Progress
from scipy import stats
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from asd_lightning.atomic import write_text_atomically
from asd_lightning.evaluation.metrics import MAX_FPR, harmonic_mean, section_metrics
from asd_lightning.scoring.clip_scores import ClipScore
from asd_lightning.synthetic import SESSION_PRESETS, SessionMachine
from asd_lightning.tables import Row, Table, csv_text, markdown_lines

PRESET, SEEDS = "sessions", range(5)
HEADER = ("seed", "machine", "combination", "official", "faults")
SHOWN = 15

Results = dict[str, dict[tuple[int, str], tuple[float, dict[str, float]]]]
"""Of each combination, by seed and machine: official score, and AUC of each kind of fault."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["statistics", "mn04"], default="statistics")
    parser.add_argument("--weights", default="mn04_as", help="name or path of mn04's weights")
    parser.add_argument("--runs", type=Path, default=REPOSITORY / "runs" / "choose_defaults", help="results by unit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # a fitted alpha says of every machine below 20 recordings that it is 0
    family = family_of(arguments.family, arguments.weights)
    kept = arguments.runs / f"{arguments.family}.csv"
    score_all(family, kept)
    decide(arguments.family, family, read(kept))


def score_all(family: Family, kept: Path) -> None:
    """Every unit that ``kept`` does not hold yet."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    done = {(int(row["seed"]), row["machine"]) for row in _rows(kept)}
    units = [(seed, machine) for seed in SEEDS for machine in SESSION_PRESETS[PRESET].machines]
    with threadpool_limits(1), Progress() as progress:
        task = progress.add_task("machines x seeds", total=len(units))
        for seed, machine in units:
            if (seed, machine.name) not in done:
                rows = csv_text([HEADER, *score_unit(family, machine, seed)]).splitlines(keepends=True)
                # A unit at once: its lines are whole where the next call looks for them.
                with kept.open("a", encoding="utf-8", newline="") as file:
                    file.write("".join(rows[1:] if kept.stat().st_size else rows))
            progress.advance(task)


def score_unit(family: Family, machine: SessionMachine, seed: int) -> Iterator[tuple[object, ...]]:
    sound = rendered(machine, seed)
    embeddings = embedded(family, sound.waveforms)
    make = makers(seed)
    scored = {name: Scored(parted(sound, table), make, family.bands(name)) for name, table in embeddings.items()}
    for number, combination in enumerate(candidates(family)):
        scores = scored[combination.embedding].by(combination)
        score = official(sound, scores)
        if number == 0:
            assert math.isclose(score, as_evaluated(sound, scores), abs_tol=1e-12)
        faults = " ".join(f"{fault}:{auc:.6f}" for fault, auc in fault_aucs(sound, scores).items())
        yield seed, machine.name, combination.name, score, faults


def official(sound: Sound, scores: np.ndarray) -> float:
    """What ``section_metrics`` says, without the numbers that are not asked for: there are 45,000 of them."""
    tested = [clip for clip in sound.clips if clip.split == "test"]
    anomalous, domain = (
        np.array([clip.fault is not None for clip in tested]),
        np.array([clip.domain for clip in tested]),
    )
    aucs = [auc_of(scores[anomalous], scores[~anomalous & (domain == name)]) for name in ("source", "target")]
    return harmonic_mean([*aucs, float(roc_auc_score(anomalous, scores, max_fpr=MAX_FPR))])


def as_evaluated(sound: Sound, scores: np.ndarray) -> float:
    tested = [clip for clip in sound.clips if clip.split == "test"]
    rows = [
        ClipScore(clip.machine, "00", clip.file_name, clip.domain, condition(clip.fault), "", float(score), 0.0, None)
        for clip, score in zip(tested, scores, strict=True)
    ]
    return section_metrics(tested[0].machine, "00", rows).hmean


def condition(fault: str | None) -> str:
    return "normal" if fault is None else "anomaly"


def auc_of(anomalous: np.ndarray, normal: np.ndarray) -> float:
    """Share of the pairs in which the anomalous clip scores higher; of equal ones half."""
    above = np.subtract.outer(anomalous, normal)
    return float(np.mean((above > 0) + 0.5 * (above == 0)))


def fault_aucs(sound: Sound, scores: np.ndarray) -> dict[str, float]:
    """Of each kind of fault against all normal test clips of both domains."""
    faults = np.array([clip.fault or "" for clip in sound.clips if clip.split == "test"])
    return {kind: auc_of(scores[faults == kind], scores[faults == ""]) for kind in sorted({*faults} - {""})}


def _rows(kept: Path) -> list[dict[str, str]]:
    if not kept.exists():
        return []
    with kept.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read(kept: Path) -> Results:
    results: Results = {}
    for row in _rows(kept):
        faults = {name: float(auc) for name, auc in (pair.split(":") for pair in row["faults"].split())}
        unit = int(row["seed"]), row["machine"]
        results.setdefault(row["combination"], {})[unit] = float(row["official"]), faults
    return results


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval by Student's t."""
    values = np.asarray(differences)
    mean, half = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return mean, mean - half, mean + half


def worst_fault(ours: dict, baseline: dict) -> tuple[str, tuple[float, float, float]]:  # type: ignore[type-arg]
    """The kind of fault whose interval of the difference to the baseline ends lowest."""
    kinds = sorted({kind for _, faults in baseline.values() for kind in faults})
    by_kind = {
        kind: interval([ours[unit][1][kind] - faults[kind] for unit, (_, faults) in baseline.items() if kind in faults])
        for kind in kinds
    }
    kind = min(by_kind, key=lambda name: by_kind[name][2])
    return kind, by_kind[kind]


def decide(name: str, family: Family, results: Results) -> None:
    """Apply the rule; print and keep the table."""
    order = candidates(family)
    units = sorted(results[order[0].name])
    value = {one.name: float(np.mean([results[one.name][unit][0] for unit in units])) for one in order}
    baseline = next(one for one in order if (one.embedding, one.back_ends) == (family.baseline, ("knn",)))
    worst = {one.name: worst_fault(results[one.name], results[baseline.name]) for one in order}
    left = [one for one in order if worst[one.name][1][2] >= 0]
    best = max(left, key=lambda one: value[one.name])

    def difference(one: Combination, other: Combination) -> tuple[float, float, float]:
        return interval([results[one.name][unit][0] - results[other.name][unit][0] for unit in units])

    ties = [one for one in left if one is best or difference(one, best)[2] >= 0]
    chosen = ties[0]
    lines = []
    for one in sorted(order, key=lambda one: -value[one.name]):
        state = "chosen" if one is chosen else "tie" if one in ties else "" if one in left else "struck out"
        to_best = (0.0, 0.0, 0.0) if one is best else difference(one, best)
        to_knn = (0.0, 0.0, 0.0) if one is baseline else difference(one, baseline)
        kind, fault = worst[one.name]
        lines.append((one.name, one.parts, value[one.name], *to_best, *to_knn, kind, *fault, state))
    columns = ["combination", "parts", "official"]
    columns += [f"{to}{part}" for to in ("to_best", "to_knn") for part in ("", "_low", "_high")]
    columns += ["worst_fault", "worst_fault_difference", "worst_fault_low", "worst_fault_high", "state"]
    rounded = [[f"{cell:.4f}" if isinstance(cell, float) else cell for cell in line] for line in lines]
    write_text_atomically(REPOSITORY / "benchmarks" / f"choose_defaults_{name}.csv", csv_text([columns, *rounded]))
    text = summary(lines, baseline.name, len(units), len(left), len(ties))
    write_text_atomically(REPOSITORY / "benchmarks" / f"choose_defaults_{name}.md", text)
    print(text)


def summary(lines: Sequence[tuple], baseline: str, units: int, left: int, ties: int) -> str:  # type: ignore[type-arg]
    """Markdown: the best, what was chosen, and the default of before."""
    shown = [line for place, line in enumerate(lines) if place < SHOWN or line[-1] == "chosen" or line[0] == baseline]
    rows = tuple(
        Row(
            (
                f"{name.replace(' | ', ', ')}",
                str(parts),
                f"{100 * value:.1f}",
                _percent(*numbers[:3]),
                _percent(*numbers[3:6]),
                f"{numbers[6]} {_percent(*numbers[7:10])}",
                state,
            )
        )
        for name, parts, value, *numbers, state in shown
    )
    heading = ("embedding, back-end", "parts", "official", "to the best", "to knn of before", "worst fault", "")
    about = (
        f"{len(lines)} combinations on {units} units; {len(lines) - left} struck out, {ties} tie with the best. "
        "Official score in per cent; differences in points with their 95 % intervals; worst fault: AUC, to `knn` of "
        "before."
    )
    return "\n".join([about, "", *markdown_lines(Table("", heading, rows))]) + "\n"


def _percent(mean: float, low: float, high: float) -> str:
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


if __name__ == "__main__":
    main()
