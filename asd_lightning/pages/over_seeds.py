"""The systems of a page with several training seeds: what they reach and by what they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from asd_lightning.comparison.over_seeds import PairedDifference
from asd_lightning.comparison.systems import Comparison, Run, Spread, System
from asd_lightning.evaluation.metrics import ALL
from asd_lightning.pages.charts import IntervalRow, interval_chart
from asd_lightning.pages.template import series_css

_OFFICIAL = (ALL, "hmean")
_ABSENT = Spread(math.nan, math.nan, 0)


@dataclass(frozen=True)
class SystemRow:
    """A system over its seeds: the official score, and hmean of each machine and over all."""

    system: str
    css: str
    seeds: tuple[int | None, ...]
    official: Spread
    cells: tuple[Spread, ...]


@dataclass(frozen=True)
class SingleRun:
    """One run's seed, place and hmeans, of the machines and over all."""

    system: str
    css: str
    seed: int | None
    folder: str
    cells: tuple[float, ...]


@dataclass(frozen=True)
class SystemsOverSeeds:
    """What is shown of the systems before anything of a single run."""

    machines: tuple[str, ...]
    rows: tuple[SystemRow, ...]
    differences: tuple[PairedDifference, ...]
    chart: Markup | None
    runs: tuple[SingleRun, ...]


def systems_over_seeds(comparison: Comparison, differences: Sequence[PairedDifference]) -> SystemsOverSeeds | None:
    """``None`` where each system was trained once; of the ``differences`` the official score's are shown."""
    if not comparison.over_seeds:
        return None
    systems = [system for system in comparison.systems if system.finished]
    machines = (*comparison.machines, ALL)
    return SystemsOverSeeds(
        comparison.machines,
        tuple(_row(index, system, machines) for index, system in enumerate(systems)),
        tuple(row for row in differences if (row.machine, row.metric) == _OFFICIAL),
        _chart(systems),
        tuple(_single(index, system, run, machines) for index, system in enumerate(systems) for run in system.finished),
    )


def _row(index: int, system: System, machines: Sequence[str]) -> SystemRow:
    cells = tuple(system.spread.get((machine, "hmean"), _ABSENT) for machine in machines)
    return SystemRow(system.name, series_css(index), tuple(run.seed for run in system.finished), cells[-1], cells)


def _single(index: int, system: System, run: Run, machines: Sequence[str]) -> SingleRun:
    cells = tuple(run.values.get((machine, "hmean"), math.nan) for machine in machines)
    return SingleRun(system.name, series_css(index), run.seed, str(run.folder), cells)


def _chart(systems: Sequence[System]) -> Markup | None:
    """A dot at the mean, a whisker of one standard deviation to either side, a tick for each seed."""
    rows = []
    for index, system in enumerate(systems):
        mean, deviation, _ = system.spread.get(_OFFICIAL, _ABSENT)
        if not math.isnan(mean):
            values = [run.values[_OFFICIAL] for run in system.finished]
            seeds = tuple(100 * value for value in values if not math.isnan(value))
            low, high = 100 * (mean - deviation), 100 * (mean + deviation)
            rows.append(IntervalRow(system.name, series_css(index), 100 * mean, low, high, seeds))
    return interval_chart("Official scores over seeds", rows) if rows else None
