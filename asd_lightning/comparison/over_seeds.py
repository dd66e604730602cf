"""What two systems differ by: over the seeds that both were trained with, and over the test clips of these.

The one says how another training would do, the other how other clips would; a difference is within noise where either
holds none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.progress import Progress

from asd_lightning.comparison.systems import Run, System
from asd_lightning.errors import UserError
from asd_lightning.evaluation.intervals import Resampled, mean_difference, resampled
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.scoring.clip_scores import machine_name, read_scores

SIGNIFICANT = 0.05
"""A p value from here on is within noise, as is a 95 % interval with 0 in it."""
ENOUGH_SEEDS = 3
"""Of two, p is below 0.05 only where both differences lie within 7.9 % of their mean, however large that is."""


# Fractions differ by more than this or by rounding alone: one pair of clips in an AUC of 10,000 is 1e-8.
ROUNDING = 1e-12


class PairedDifference(NamedTuple):
    """``system`` less ``baseline``: mean and sample standard deviation over the seeds that both have, as fractions.

    ``p_value``: two-sided, of a paired t-test; nan where there are fewer than two seeds or all differ alike.
    ``low`` and ``high``: the 95 % interval of the mean difference by a paired bootstrap over the test clips, the seeds
    as they are; nan where the clips' scores are not there or not of the same clips.
    """

    system: str
    baseline: str
    machine: str
    metric: str
    seeds: int
    difference: float
    standard_deviation: float
    p_value: float
    low: float
    high: float

    @property
    def identical(self) -> bool:
        """Whether the two have the same value in every seed and, as far as clips tell, on every draw of clips."""
        spread = (self.standard_deviation, self.low, self.high)
        return self.difference == 0 and all(value == 0 or math.isnan(value) for value in spread)

    @property
    def within_noise(self) -> bool:
        """Whether other test clips, or other seeds where there are enough to tell, may well turn it round."""
        over_seeds = self.seeds >= ENOUGH_SEEDS and self.p_value >= SIGNIFICANT
        return over_seeds or self.low <= 0 <= self.high

    @property
    def clear(self) -> bool | None:
        """Whether it is beyond noise; ``None`` where neither seeds nor clips can tell."""
        over_seeds = self.seeds >= ENOUGH_SEEDS and not math.isnan(self.p_value)
        return not self.within_noise if over_seeds or not math.isnan(self.low) else None


def resample_runs(
    systems: Sequence[System], progress: Progress | None = None, resamples: int = 1000
) -> dict[Path, Resampled]:
    """The test clips of every finished run, drawn again and again, by the run's folder; none of a system alone."""
    runs = [run for system in systems for run in system.finished]
    if len({system.name for system in systems if system.finished}) < 2:
        return {}
    found = {}
    for run in progress.track(runs, description="drawing test clips") if progress else runs:
        try:
            found[run.folder] = resampled(read_scores(run.results.scores), resamples)
        except UserError:
            # What has no scores has its metrics still.
            continue
    return found


def paired_differences(
    systems: Sequence[System], clips: Mapping[Path, Resampled] | None = None
) -> Iterator[PairedDifference]:
    """Each system against each of those before it, for every machine and metric that both have of one seed.

    A seed that a system has several runs with stands for none of them, and is left out.  Means over all machines are
    compared where both are over the same machines.

    Args:
        systems: in their order.
        clips: see ``resample_runs``; without it there are no intervals over test clips.
    """
    for baseline, system in combinations(systems, 2):
        ours, theirs = _by_seed(system), _by_seed(baseline)
        alike = _machines(ours) == _machines(theirs)
        intervals = _over_clips(system, baseline, clips or {})
        for key in ours if alike else [key for key in ours if key[0] != ALL]:
            shared = sorted(ours[key].keys() & theirs.get(key, {}).keys())
            if shared:
                differences = [ours[key][seed] - theirs[key][seed] for seed in shared]
                ends = intervals.get((*key, len(shared)), (math.nan, math.nan))
                low, high = map(_without_rounding, ends)
                yield PairedDifference(
                    system.name, baseline.name, *key, len(shared), *_paired_t_test(differences), low, high
                )


def shared_seeds(system: System, baseline: System) -> list[int]:
    """The seeds that both have one run with: over these they are compared."""
    return sorted(_once(system).keys() & _once(baseline).keys())


def _by_seed(system: System) -> dict[tuple[str, str], dict[int, float]]:
    values: dict[tuple[str, str], dict[int, float]] = {}
    for seed, run in _once(system).items():
        for key, value in run.values.items():
            if not math.isnan(value):
                values.setdefault(key, {})[seed] = value
    return values


def _once(system: System) -> dict[int, Run]:
    """The run of each seed that it has one run with."""
    seeds = [run.seed for run in system.finished]
    return {run.seed: run for run in system.finished if run.seed is not None and seeds.count(run.seed) == 1}


def _over_clips(
    system: System, baseline: System, clips: Mapping[Path, Resampled]
) -> dict[tuple[str, str, int], tuple[float, float]]:
    """(machine, metric, number of seeds) -> ends of the interval of the mean over these seeds."""
    ours, theirs = _once(system), _once(baseline)
    pairs = [(ours[seed].folder, theirs[seed].folder) for seed in shared_seeds(system, baseline)]
    if not pairs or not all(folder in clips for pair in pairs for folder in pair):
        return {}
    try:
        rows = mean_difference([(clips[one], clips[other]) for one, other in pairs])
    except ValueError:
        # Of other clips, or machines.
        return {}
    return {(machine_name(row.machine, row.section), row.metric, len(pairs)): (row.low, row.high) for row in rows}


def _machines(values: Iterable[tuple[str, str]]) -> set[str]:
    return {machine for machine, _ in values}


def _paired_t_test(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean, sample standard deviation and two-sided p-value; nan where all differ alike: there is nothing to test.

    >>> [round(value, 4) for value in _paired_t_test([0.01, 0.03, 0.02])]
    [0.02, 0.01, 0.0742]
    """
    mean = _without_rounding(float(np.mean(differences)))
    if len(differences) < 2:
        return mean, math.nan, math.nan
    if max(differences) - min(differences) <= ROUNDING:
        return mean, 0.0, math.nan
    # Imported where it is used alone: it takes longer than most comparisons.
    from scipy.stats import ttest_1samp

    return mean, float(np.std(differences, ddof=1)), float(ttest_1samp(differences, 0.0).pvalue)


def _without_rounding(fraction: float) -> float:
    return 0.0 if abs(fraction) <= ROUNDING else fraction
