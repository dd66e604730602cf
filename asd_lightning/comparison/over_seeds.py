"""What two systems differ by over the seeds that both were trained with."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.stats import ttest_1samp

from asd_lightning.comparison.systems import System
from asd_lightning.evaluation.metrics import ALL


class PairedDifference(NamedTuple):
    """``system`` less ``baseline``: mean and sample standard deviation over the seeds that both have, as fractions.

    ``p_value``: two-sided, of a paired t-test; nan where there are fewer than two seeds or all differ alike.
    """

    system: str
    baseline: str
    machine: str
    metric: str
    seeds: int
    difference: float
    standard_deviation: float
    p_value: float


def paired_differences(systems: Sequence[System]) -> Iterator[PairedDifference]:
    """Each system against each of those before it, for every machine and metric that both have of one seed.

    A seed that a system has several runs with stands for none of them, and is left out.  Means over all machines are
    compared where both are over the same machines.
    """
    for baseline, system in combinations(systems, 2):
        ours, theirs = _by_seed(system), _by_seed(baseline)
        alike = _machines(ours) == _machines(theirs)
        for key in ours if alike else [key for key in ours if key[0] != ALL]:
            shared = sorted(ours[key].keys() & theirs.get(key, {}).keys())
            if shared:
                differences = [ours[key][seed] - theirs[key][seed] for seed in shared]
                yield PairedDifference(system.name, baseline.name, *key, len(shared), *_paired_t_test(differences))


def _by_seed(system: System) -> dict[tuple[str, str], dict[int, float]]:
    seeds = [run.seed for run in system.finished]
    values: dict[tuple[str, str], dict[int, float]] = {}
    for run in system.finished:
        if run.seed is not None and seeds.count(run.seed) == 1:
            for key, value in run.values.items():
                if not math.isnan(value):
                    values.setdefault(key, {})[run.seed] = value
    return values


def _machines(values: Iterable[tuple[str, str]]) -> set[str]:
    return {machine for machine, _ in values}


def _paired_t_test(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean, sample standard deviation and two-sided p-value.

    >>> [round(value, 4) for value in _paired_t_test([0.01, 0.03, 0.02])]
    [0.02, 0.01, 0.0742]
    """
    mean = float(np.mean(differences))
    if len(differences) < 2:
        return mean, math.nan, math.nan
    deviation = float(np.std(differences, ddof=1))
    if deviation == 0:
        return mean, 0.0, math.nan
    return mean, deviation, float(ttest_1samp(differences, 0.0).pvalue)
