"""Many runs, one table: every system's mean and sample standard deviation over its seeds.

Runs are one system where they differ in nothing but the seed (`asd_lightning.comparison.settings`); others of the same
name are columns of their own, named by what they differ in.  A run is finished once its metrics and its summary can be
read; otherwise it is named as still training, interrupted or failed (with the first line of its ``failure.txt``), and
loses nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asd_lightning.comparison.settings import (
    CLIPS,
    FUSED,
    UPDATES,
    differing_settings,
    labels_of_difference,
    settings_of,
)
from asd_lightning.comparison.unfinished import state_without_results
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import ALL, METRICS, MachineMetrics, read_metrics
from asd_lightning.foreign_files import ForeignFileError, load_yaml
from asd_lightning.plain_text import natural_order
from asd_lightning.run_folder import (
    CONFIG,
    HYDRA,
    UNRESOLVED,
    ResultSet,
    find_results,
    is_result_set,
    is_run,
    result_sets,
    results_of,
    unfinished_training,
)
from asd_lightning.scoring.clip_scores import machine_name

UNNAMED = "(unnamed)"
"""System of a failed job whose configuration names none."""

# Settings that only results tell.
_OF_RESULTS = frozenset({"precision of the test", UPDATES, *(name for names in CLIPS.values() for name in names)})


@dataclass(frozen=True)
class Run:
    """One run, or one test of it.

    Attributes:
        folder: the run's; of another test than the first, and of results in a folder of their own, that test's.
        system: what it calls itself.
        seed: of the run.
        rows: its metrics.
        failure: why it has none; "" for a finished run.
        state: see `asd_lightning.comparison.unfinished`; "" for a finished run.
        synthetic: its data folder is still there and holds synthetic machines.
        results: where its results are.
        settings: all that a score may depend on.
        choices: what was chosen for which part of the configuration.
        unfinished: how far its training had come, as in "301 of 9000 updates"; "" where it had ended.
    """

    folder: Path
    system: str
    seed: int | None
    rows: tuple[MachineMetrics, ...]
    failure: str
    synthetic: bool = False
    results: ResultSet = field(default_factory=lambda: ResultSet(Path()))
    settings: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)
    unfinished: str = ""
    state: str = ""

    @property
    def values(self) -> dict[tuple[str, str], float]:
        """(machine, metric) -> fraction."""
        return {
            (machine_name(row.machine, row.section), metric): getattr(row, metric)
            for row in self.rows
            for metric in METRICS
        }


class Spread(NamedTuple):
    """Mean and sample standard deviation (nan for one seed) of a fraction over so many ``seeds``."""

    mean: float
    deviation: float
    seeds: int


@dataclass(frozen=True)
class System:
    """The runs of one system name; ``spread`` is keyed by (machine, metric), ``failed`` are all without results."""

    name: str
    spread: dict[tuple[str, str], Spread]
    finished: tuple[Run, ...]
    failed: tuple[Run, ...]

    @property
    def seeds(self) -> int:
        """How many different seeds its finished runs have."""
        return len(_by_seed(self.finished))


@dataclass(frozen=True)
class Comparison:
    """Runs, found and sorted.

    Attributes:
        systems: by name, ``system2`` before ``system10``.
        machines: every machine that some run has a metric of.
        notes: what limits the comparison.
        runs: all, in the order in which they were found.
    """

    systems: tuple[System, ...]
    machines: tuple[str, ...]
    notes: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def over_seeds(self) -> bool:
        """Some system was trained more than once."""
        return any(len(system.finished) > 1 for system in self.systems)

    @property
    def synthetic(self) -> bool:
        """Some run's machines are synthetic: published scores of the same names are of other machines."""
        return any(run.synthetic for system in self.systems for run in system.finished)


def compare_runs(folders: Sequence[Path]) -> Comparison:
    """Compare all runs at or below ``folders``; raises ``UserError`` where a folder is missing or holds no run."""
    runs = find_runs(folders)
    systems = tuple(_system(name, own) for name, own in _columns(runs))
    machines = {machine for system in systems for machine, _ in system.spread} - {ALL}
    # As the report orders them: ToyCar after slider.
    return Comparison(
        systems,
        tuple(sorted(machines, key=natural_order)),
        (*_notes(systems), *_unseen_tests(runs)),
        tuple(runs),
    )


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs at or below each folder, each once: in the order of the folders, and below one by path.

    A run stands for the results of the test after its training.  Of further tests those count that ``folders`` names,
    and those that lie in folders of their own.

    Raises:
        UserError: a folder is missing, or has no run at or below it.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        places = list(_places(folder))
        if not places:
            raise UserError(f"{folder}: no run in it; a run's folder has {HYDRA} or {CONFIG}")
        for place in places:
            found.setdefault(place.resolve(), _read_run(place))
    return list(found.values())


def official_score(results: ResultSet) -> float:
    """The official score of finished results."""
    value = results.read_summary().get("official_score")
    return float(value) if isinstance(value, int | float) else math.nan


def _places(folder: Path) -> Iterator[Path]:
    """Runs, and tests in folders of their own."""
    if is_run(folder) or is_result_set(folder):
        yield folder
        return
    for child in sorted(folder.iterdir(), key=lambda path: natural_order(path.name)):
        if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
            yield from _places(child)


def _read_run(place: Path) -> Run:
    results = find_results(place)
    run = place if is_run(place) else results.run
    config = _read_config(results, run)
    chosen = config.get("choices")
    choices = {str(part): str(choice) for part, choice in chosen.items()} if isinstance(chosen, dict) else {}
    try:
        if not results.metrics.is_file():
            raise UserError(f"no {results.folder.name}/{results.metrics.name}")
        summary = results.read_summary()
        name, seed = summary.get("name"), summary.get("seed")
        if not isinstance(name, str):
            raise UserError(f"{results.folder.name}/{results.summary.name} has no name")
        if not isinstance(seed, int | None):
            raise UserError(f"{results.folder.name}/{results.summary.name}: seed is not a whole number")
        return Run(
            place,
            name,
            seed,
            tuple(read_metrics(results.metrics)),
            "",
            is_synthetic(summary),
            results,
            _settings(config, summary, results),
            choices,
            unfinished_training(summary),
        )
    except UserError as error:
        name, seed = config.get("system", config.get("name")), config.get("seed")
        system = name if isinstance(name, str) and name and "${" not in name else UNNAMED
        state, failure = state_without_results(run, results, config, str(error))
        seed = seed if isinstance(seed, int) else None
        settings = _settings(config, {}, results)
        return Run(place, system, seed, (), failure, False, results, settings, choices, state=state)


def _settings(config: Mapping[str, Any], summary: Mapping[str, Any], results: ResultSet) -> dict[str, str]:
    settings = settings_of(config, summary)
    if (
        results.config_of_run is None
        and results.run is not None
        and results.folder.name != results_of(results.run).folder.name
    ):
        # Of an older version: nothing tells what this test changed.
        settings["test"] = results.folder.name
    return settings


def _unseen_tests(runs: Sequence[Run]) -> Iterator[str]:
    """Which of a run's tests is shown, where it has others that nobody named."""
    shown = {run.results.folder.resolve() for run in runs}
    for run in runs:
        sets = result_sets(run.folder) if is_run(run.folder) and not run.failure else []
        others = [other.folder.name for other in sets if other.folder.resolve() not in shown]
        if others:
            yield (
                f"{run.folder}: {run.results.folder.name} is shown; it also has {', '.join(others)}: name "
                f"{run.folder}/{others[0]} to see that"
            )


def is_synthetic(summary: Mapping[str, Any]) -> bool:
    """Whether a run's summary names a data folder that is still there and holds synthetic machines."""
    data = summary.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    return isinstance(root, str) and (Path(root) / "synthetic.json").is_file()


def _read_config(results: ResultSet, run: Path | None) -> dict[str, Any]:
    """The configuration of results, or what a failed job was meant to be; nothing, where it cannot be read."""
    # Those of a run first: in Hydra's, values that refer to others are not resolved.
    of_run = [run / CONFIG, run / UNRESOLVED] if run and not results.finished else []
    for path in (results.config_of_run, *of_run):
        if path is not None and path.is_file():
            try:
                config = load_yaml(path)
            except ForeignFileError:
                return {}
            return config if isinstance(config, dict) else {}
    return {}


def _columns(runs: Sequence[Run]) -> list[tuple[str, list[Run]]]:
    """Name and runs of each system; those without a name come last."""
    columns = []
    for name in sorted({run.system for run in runs}, key=lambda name: (name == UNNAMED, natural_order(name))):
        groups = _groups([run for run in runs if run.system == name])
        if len(groups) == 1:
            columns.append((name, groups[0]))
            continue
        labels = _labels(groups)
        columns += [(f"{name} {label}", group) for label, group in zip(labels, groups, strict=True)]
    return columns


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """What sets groups of runs apart; by what one without results cannot know only where nothing else does."""
    settings, choices = [group[0].settings for group in groups], [group[0].choices for group in groups]
    if any(all(run.failure for run in group) for group in groups):
        known = [{key: value for key, value in own.items() if key not in _OF_RESULTS} for own in settings]
        labels = labels_of_difference(known, choices)
        if len(set(labels)) == len(labels):
            return labels
    return labels_of_difference(settings, choices)


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs with the same settings; a failed one does not know its training clips, and belongs to those it is like."""
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: bool(run.failure)):
        group = next((group for group in groups if _alike(group[0], run)), None)
        if group is None:
            groups.append([run])
        else:
            group.append(run)
    places = {id(run): place for place, run in enumerate(runs)}
    return sorted((sorted(g, key=lambda run: places[id(run)]) for g in groups), key=lambda g: places[id(g[0])])


def _alike(one: Run, other: Run) -> bool:
    if not other.failure or one.failure:
        return one.settings == other.settings
    of_one, of_other = ({k: v for k, v in run.settings.items() if k not in _OF_RESULTS} for run in (one, other))
    return not of_other or of_one == of_other


def _system(name: str, runs: Sequence[Run]) -> System:
    finished = tuple(run for run in runs if not run.failure)
    values: dict[tuple[str, str], list[float]] = {}
    for runs_of_seed in _by_seed(finished):
        of_seed: dict[tuple[str, str], list[float]] = {}
        for run in runs_of_seed:
            for key, value in run.values.items():
                of_seed.setdefault(key, []).append(value)
        for key, own in of_seed.items():
            values.setdefault(key, []).append(_spread(own).mean)
    spread = {key: _spread(seeds) for key, seeds in values.items()}
    return System(name, spread, finished, tuple(run for run in runs if run.failure))


def _by_seed(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of one seed are one training made again, not another; without a seed each stands for itself."""
    groups: dict[object, list[Run]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(("unknown", place) if run.seed is None else run.seed, []).append(run)
    return list(groups.values())


def _spread(values: Sequence[float]) -> Spread:
    defined = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(defined)) if defined else math.nan
    return Spread(mean, float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan, len(defined))


def _notes(systems: Sequence[System]) -> Iterator[str]:
    if any(run.synthetic for system in systems for run in system.finished):
        yield "Synthetic machines share names with real ones and nothing else: published scores do not compare."
    machines: dict[tuple[str, ...], list[str]] = {}
    for system in systems:
        parts = {run.choices.get(FUSED, "") for run in system.finished}
        if told := sorted(part for part in parts if part not in system.name):
            yield f"{system.name}: {', '.join(told)}."
        yield from (
            f"{system.name}: {run.folder} is of a training that was not finished: {run.unfinished}."
            for run in system.finished
            if run.unfinished
        )
        for run in system.finished:
            own = tuple(sorted(machine_name(row.machine, row.section) for row in run.rows if not row.overall))
            users = machines.setdefault(own, [])
            if system.name not in users:
                users.append(system.name)
        for same in _by_seed(system.finished):
            if len(same) > 1:
                yield (
                    f"{system.name} has {len(same)} runs with seed {same[0].seed}: they count as one seed, with their "
                    "mean, and not in paired differences."
                )
    if len(machines) > 1:
        sets = "; ".join(
            f"{', '.join(users)}: {len(own)} machine{'' if len(own) == 1 else 's'}" for own, users in machines.items()
        )
        yield f"The official scores are over different machines and do not compare ({sets})."
    known = [(system.name, system.finished[0]) for system in systems if system.finished]
    apart = differing_settings(
        [name for name, _ in known], [run.settings for _, run in known], [run.choices for _, run in known]
    )
    yield from (f"The systems also differ in {setting}." for setting in apart)
