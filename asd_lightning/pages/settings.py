"""What the runs were configured with, and where they ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from asd_lightning.pages.runs import ReportedRun, parsed_config
from asd_lightning.run_folder import unfinished_training

_ABSENT = "(not set)"
_OF_THE_JOB = ("name", "hydra")
_FACTS = {"updates": "updates", "num_parameters": "parameters"}
_ON_THE_CARD = ("name", "seed", "official_score", "updates_planned", *_FACTS)


def differing_settings(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs: dotted name, and each run's value."""
    flat = [dict(_flattened(parsed_config(run.config), "")) for run in runs]
    names = sorted({name for one in flat for name in one if name.split(".")[0] not in _OF_THE_JOB})
    rows = [(name, [one.get(name, _ABSENT) for one in flat]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def environment_rows(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Device, size and versions of each run, as its summary has them."""
    flat = [dict(_flattened(run.summary, "")) for run in runs]
    found = dict.fromkeys(name for one in flat for name in one)
    names = [name for name in found if not name.startswith("data.") and name not in _ON_THE_CARD]
    return [(name.removeprefix("versions."), [one.get(name, "") for one in flat]) for name in names]


def run_facts(run: ReportedRun) -> list[str]:
    """Updates, size and seed of a run, as far as its summary has them."""
    numbers = [(run.summary.get(name), word) for name, word in _FACTS.items()]
    facts = [f"{number:,} {word}" for number, word in numbers if isinstance(number, int)]
    if unfinished := unfinished_training(run.summary):
        facts.append(f"training not finished: {unfinished}")
    return facts if run.summary.get("seed") is None else [*facts, f"seed {run.summary['seed']}"]


def threshold_rule(run: ReportedRun) -> str:
    """How a run's thresholds were found, as in "conformal, false alarm rate 0.1"; "" where it does not say."""
    settings = _of_first_part(parsed_config(run.config))
    name = settings.pop("model.threshold._target_", "").rpartition(".")[2].removesuffix("Threshold").lower()
    prefix = "model.threshold."
    own = [(key.removeprefix(prefix), value) for key, value in settings.items() if key.startswith(prefix)]
    return ", ".join([name, *(f"{key.replace('_', ' ')} {value}" for key, value in own)]) if name else ""


def _of_first_part(config: dict[str, Any]) -> dict[str, str]:
    """Settings by their dotted names; of a fusion those of its first part, by whose rule its threshold is found."""
    fusion = config.get("fusion")
    parts = fusion.get("parts") if isinstance(fusion, dict) else None
    first = next(iter(parts.values()), None) if isinstance(parts, dict) else None
    return dict(_flattened(first if isinstance(first, dict) else config, ""))


def _flattened(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flattened(inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, str(value)
