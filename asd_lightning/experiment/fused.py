"""Several tests as one: their scores fused clip by clip, with a threshold, metrics and files like those of any test."""

from __future__ import annotations

import logging
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.progress import Progress

from asd_lightning.comparison.settings import FUSED
from asd_lightning.comparison.systems import Run, System, compare_runs
from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.experiment.fusion_parts import Part, read_part_of, refuse_copy, refuse_unlike
from asd_lightning.experiment.result_files import Evaluated, write_result_files
from asd_lightning.run_folder import ResultSet, new_results, refuse_filled
from asd_lightning.scoring.clip_scores import ClipScore, machine_name
from asd_lightning.scoring.fitted import MachineKey, decision
from asd_lightning.scoring.fusion import METHODS, Method, Scored, fuse_scores
from asd_lightning.scoring.machines import fit_threshold

logger = logging.getLogger(__name__)

EQUAL = "equal"
_NAMED = 2
"""Systems that a fusion is named by; of more it says how many."""


class Group(NamedTuple):
    """Tests that become one result set, each with its system's name; ``seed`` where all have that one."""

    seed: int | None
    runs: tuple[tuple[str, Run], ...]


def fuse_runs(
    places: Sequence[Path],
    out: Path,
    by: Method = "mean_z",
    weights: Sequence[float] | None = None,
    progress: Progress | None = None,
) -> list[ResultSet]:
    """Fuse the tests at or below ``places``, each system's with the others' of the same seed.

    Args:
        places: runs, results of tests, or folders with runs below them.
        out: a new folder, for the results; where there are several seeds, for a folder of each.
        by: see ``fuse_scores``.
        weights: of the systems, in the order in which they are found; ``None`` for equal ones.
        progress: to be shown.

    Returns:
        The results, one for each seed.

    Raises:
        UserError: fewer than two tests, one that has failed or cannot be fused (see ``read_part_of``), tests of other
            recordings, two whose scores are the same, weights that do not fit, or a filled folder.
    """
    if by not in METHODS:
        raise UserError(f"--by {by}: choose one of {', '.join(METHODS)}")
    refuse_filled(out)
    groups = groups_of(places)
    _check_weights(by, weights, groups[0])
    total = sum(len(group.runs) for group in groups)
    task = progress.add_task("scoring left-out recordings", total=total) if progress else None
    made = []
    for group in groups:
        parts: list[Part] = []
        for name, run in group.runs:
            part = read_part_of(name, run)
            for earlier in parts:
                refuse_unlike(earlier, part)
                refuse_copy(earlier, part)
            parts.append(part)
            if progress and task is not None:
                progress.advance(task)
        made.append((_folder(out, group, groups), group, parts, fused_scores(parts, by, weights or ())))
    if progress:
        progress.stop()
    written = []
    for folder, group, parts, scores in made:
        results = new_results(folder)
        try:
            summary, config = _summary(group, parts, by, weights), _config(group, parts, by, weights)
            write_result_files(results, Evaluated(scores, evaluate(scores)), config, summary)
        except BaseException:
            if not results.finished:
                shutil.rmtree(results.folder, ignore_errors=True)
            raise
        written.append(results)
    return written


def groups_of(places: Sequence[Path]) -> list[Group]:
    """Which tests are fused with which: where all systems have the same seeds, each once, those of a seed; else all.

    Raises:
        UserError: fewer than two tests, or one that has failed.
    """
    comparison = compare_runs(places)
    runs = comparison.runs
    if failed := next((run for run in runs if run.failure), None):
        raise UserError(f"{failed.folder}: not finished ({failed.state}: {failed.failure}); finish it, or leave it out")
    if len(runs) < 2:
        raise UserError(f"{runs[0].folder}: one test alone; give two or more (RUN, or RUN/results_2)")
    systems = sorted(comparison.systems, key=lambda system: runs.index(system.finished[0]))
    seeds = [sorted(str(run.seed) for run in system.finished) for system in systems]
    if len(systems) > 1 and all(own == seeds[0] for own in seeds) and len(set(seeds[0])) == len(seeds[0]):
        return [Group(run.seed, _of_seed(systems, run.seed)) for run in systems[0].finished]
    names = {id(run): system.name for system in systems for run in system.finished}
    repeated = {name for name, count in Counter(names.values()).items() if count > 1}
    named = [(f"{name} seed={run.seed}" if (name := names[id(run)]) in repeated else name, run) for run in runs]
    alike = {run.seed for run in runs}
    return [Group(alike.pop() if len(alike) == 1 else None, tuple(named))]


def fused_scores(parts: Sequence[Part], by: Method = "mean_z", weights: Sequence[float] = ()) -> list[ClipScore]:
    """The fused score of each test recording, with a threshold among the fused left-out scores by the first's rule.

    Raises:
        UserError: no system tells a machine's training recordings apart; the machine is named.
    """
    scores: list[ClipScore] = []
    for key, recordings in parts[0].left_out.items():
        rows = [score for score in parts[0].scores if (score.machine, score.section) == key]
        machine = machine_name(*key)
        told = [Scored(part.left_out[key].scores, _scores_of(part, key)) for part in parts]
        for part, scored in zip(parts, told, strict=True):
            if np.ptp(scored.left_out) == 0:
                logger.warning("%s: left out of %s: all its training recordings have one score", part.name, machine)
        try:
            fused = fuse_scores(told, by, weights)
        except UserError as error:
            raise UserError(f"{machine}: {error}") from None
        threshold, undecided = fit_threshold(
            parts[0].threshold, fused.left_out, recordings.is_target, recordings.recording
        )
        if undecided:
            logger.warning("%s: no decisions: %s", machine, undecided)
        scores += [_row(row, float(value), threshold) for row, value in zip(rows, fused.query, strict=True)]
    return scores


def _of_seed(systems: Sequence[System], seed: int | None) -> tuple[tuple[str, Run], ...]:
    return tuple((system.name, run) for system in systems for run in system.finished if run.seed == seed)


def _folder(out: Path, group: Group, groups: Sequence[Group]) -> Path:
    return out if len(groups) == 1 else out / str(group.seed)


def _scores_of(part: Part, key: MachineKey) -> np.ndarray:
    return np.array([score.anomaly_score for score in part.scores if (score.machine, score.section) == key])


def _row(row: ClipScore, anomaly_score: float, threshold: float) -> ClipScore:
    return row._replace(anomaly_score=anomaly_score, threshold=threshold, decision=decision(anomaly_score, threshold))


def _check_weights(by: Method, weights: Sequence[float] | None, group: Group) -> None:
    if weights is None:
        return
    told = f"--weights {','.join(f'{weight:g}' for weight in weights)}"
    if by == "z_min":
        raise UserError(f"{told}: a minimum has no weights; give --by mean_z or --by rank")
    if len(weights) != len(group.runs):
        names = ", ".join(name for name, _ in group.runs)
        raise UserError(f"{told}: {len(weights)} weights for {len(group.runs)} systems ({names}); give one for each")
    if not all(0 < weight < math.inf for weight in weights):
        raise UserError(f"{told}: weights must be numbers above 0; leave out what should not count")


def _name(group: Group) -> str:
    """Both systems, or how many: tables and pages have no room for the names of all."""
    counts = _counts(group)
    return _parts(group) if len(counts) <= _NAMED else f"fused of {sum(counts.values())}"


def _parts(group: Group) -> str:
    """The systems in order; one with several seeds once, with their number."""
    return " + ".join(name if count == 1 else f"{name} x{count}" for name, count in _counts(group).items())


def _counts(group: Group) -> Counter[str]:
    return Counter(name.partition(" seed=")[0] for name, _ in group.runs)


def _config(group: Group, parts: Sequence[Part], by: Method, weights: Sequence[float] | None) -> str:
    """What comparisons tell fusions apart by, as YAML: how, and all settings of the parts but the seed."""
    fusion = {
        "by": by,
        "weights": EQUAL if weights is None else list(weights),
        "parts": {part.name: dict(part.run.settings) for part in parts},
    }
    # As a choice: two fusions of as many systems are then told apart by their parts, not by each setting of these.
    choices = {FUSED: _parts(group)}
    content = {"system": _name(group), "seed": group.seed, "choices": choices, "fusion": fusion}
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def _summary(group: Group, parts: Sequence[Part], by: Method, weights: Sequence[float] | None) -> dict[str, Any]:
    first = parts[0].summary
    told = [
        {
            "system": part.name,
            "folder": str(part.run.results.folder.absolute()),
            "seed": part.run.seed,
            "model": part.key.model,
            "files": part.key.files,
            "official_score": part.summary.get("official_score"),
            "updates": part.summary.get("updates"),
            "updates_planned": part.summary.get("updates_planned"),
        }
        for part in parts
    ]
    fusion = {"by": by, "weights": EQUAL if weights is None else list(weights), "parts": told}
    kept = {name: first[name] for name in ("data", "training_clips", "test_clips", "recordings") if name in first}
    # Two tests of the same weights take one model.
    models = {part.key.model: part.summary for part in parts}.values()
    size = {name: _sum([model.get(name) for model in models]) for name in ("num_parameters", "macs")}
    return {"name": _name(group), "seed": group.seed, "fusion": fusion} | kept | size


def _sum(numbers: Sequence[Any]) -> float | int | None:
    return sum(numbers) if all(isinstance(number, int | float) for number in numbers) else None
