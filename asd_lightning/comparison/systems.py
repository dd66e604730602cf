"""Many runs, one table: every system's mean and sample standard deviation over its seeds.

A run is a folder with ``.hydra`` or ``config.yaml``.  It is finished once ``results/metrics.csv`` and
``results/summary.json`` can be read; otherwise it is a failed job, which is named with the first line of its
``failure.txt`` and loses nothing else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import ALL, METRICS, MachineMetrics, read_metrics
from asd_lightning.scoring.clip_scores import machine_name

UNNAMED = "(unnamed)"
"""System of a failed job whose configuration names none."""


@dataclass(frozen=True)
class Run:
    """One run folder; ``failure`` says why it has no ``rows``, and is "" for a finished run.

    ``synthetic``: its data folder is still there and holds synthetic machines.
    """

    folder: Path
    system: str
    seed: int | None
    rows: tuple[MachineMetrics, ...]
    failure: str
    synthetic: bool = False


class Spread(NamedTuple):
    """Mean and sample standard deviation (nan for one seed) of a fraction over so many ``seeds``."""

    mean: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class System:
    """The runs of one system name, finished and failed; ``spread`` is keyed by (machine, metric)."""

    name: str
    spread: dict[tuple[str, str], Spread]
    finished: tuple[Run, ...]
    failed: tuple[Run, ...]


@dataclass(frozen=True)
class Comparison:
    """``machines``: every machine that some run has a metric of; ``notes``: what limits the comparison."""

    systems: tuple[System, ...]
    machines: tuple[str, ...]
    notes: tuple[str, ...]


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compare all runs at or below ``folders``; raises ``UserError`` where a folder is missing or holds no run."""
    runs = find_runs(folders)
    systems = tuple(_system(name, [run for run in runs if run.system == name]) for name in _ordered_names(runs))
    machines = {machine for system in systems for machine, _ in system.spread} - {ALL}
    # As the report orders them: ToyCar after slider.
    return Comparison(systems, tuple(sorted(machines, key=str.lower)), tuple(_notes(systems)))


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs at or below each folder, each once: in the order of the folders, and below one by path."""
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        paths = list(_run_folders(folder))
        if not paths:
            raise UserError(f"{folder}: no run in it; a run's folder has .hydra or config.yaml")
        for path in paths:
            found.setdefault(path.resolve(), _read_run(path))
    return list(found.values())


def _run_folders(folder: Path) -> Iterator[Path]:
    if (folder / ".hydra").is_dir() or (folder / "config.yaml").is_file():
        yield folder
        return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
            yield from _run_folders(child)


def _read_run(folder: Path) -> Run:
    metrics, summary = folder / "results" / "metrics.csv", folder / "results" / "summary.json"
    try:
        if not metrics.is_file():
            raise UserError("no results/metrics.csv")
        said = _read_summary(summary)
        return Run(folder, said["name"], said["seed"], tuple(read_metrics(metrics)), "", said["synthetic"])
    except UserError as error:
        config = _read_config(folder)
        name, seed = config.get("system", config.get("name")), config.get("seed")
        system = name if isinstance(name, str) and name and "${" not in name else UNNAMED
        return Run(folder, system, seed if isinstance(seed, int) else None, (), _reason(folder) or str(error))


def _reason(folder: Path) -> str:
    """Why the job says that it failed; "" where it was killed before it could."""
    path = folder / "failure.txt"
    return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0] if path.is_file() else ""


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("no results/summary.json") from None
    except ValueError as error:
        raise UserError(f"results/summary.json is not JSON: {error}") from None
    if not isinstance(summary, dict) or not isinstance(summary.get("name"), str):
        raise UserError("results/summary.json has no name")
    if not isinstance(summary.get("seed"), int | None):
        raise UserError("results/summary.json: seed is not a whole number")
    return {"name": summary["name"], "seed": summary.get("seed"), "synthetic": is_synthetic(summary)}


def is_synthetic(summary: Mapping[str, Any]) -> bool:
    """Whether a run's summary names a data folder that is still there and holds synthetic machines."""
    data = summary.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    return isinstance(root, str) and (Path(root) / "synthetic.json").is_file()


def _read_config(folder: Path) -> dict[str, Any]:
    """What a failed job was meant to be; nothing, where its configuration cannot be read either."""
    # The run's own first: in Hydra's, values that refer to others are not resolved.
    for path in (folder / "config.yaml", folder / ".hydra" / "config.yaml"):
        if path.is_file():
            try:
                config = yaml.safe_load(path.read_text(encoding="utf-8"))
            except (yaml.YAMLError, UnicodeDecodeError):
                return {}
            return config if isinstance(config, dict) else {}
    return {}


def _ordered_names(runs: Iterable[Run]) -> list[str]:
    return sorted({run.system for run in runs}, key=lambda name: (name == UNNAMED, name))


def _system(name: str, runs: Sequence[Run]) -> System:
    finished = tuple(run for run in runs if not run.failure)
    values: dict[tuple[str, str], list[float]] = {}
    for run in finished:
        for row in run.rows:
            for metric in METRICS:
                values.setdefault((machine_name(row.machine, row.section), metric), []).append(getattr(row, metric))
    spread = {key: _spread(seeds) for key, seeds in values.items()}
    return System(name, spread, finished, tuple(run for run in runs if run.failure))


def _spread(values: Sequence[float]) -> Spread:
    defined = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(defined)) if defined else math.nan
    return Spread(mean, float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan, len(defined))


def _notes(systems: Sequence[System]) -> Iterator[str]:
    if any(run.synthetic for system in systems for run in system.finished):
        yield "Synthetic machines share names with real ones and nothing else: published scores do not compare."
    machines: dict[tuple[str, ...], list[str]] = {}
    for system in systems:
        for run in system.finished:
            own = tuple(sorted(machine_name(row.machine, row.section) for row in run.rows if not row.overall))
            users = machines.setdefault(own, [])
            if system.name not in users:
                users.append(system.name)
        for seed, count in Counter(run.seed for run in system.finished).items():
            if count > 1:
                yield f"{system.name} has {count} runs with seed {seed}: all of them count in its mean."
    if len(machines) > 1:
        sets = "; ".join(f"{', '.join(users)}: {len(own)} machines" for own, users in machines.items())
        yield f"The official scores are over different machines and do not compare ({sets})."
