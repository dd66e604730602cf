"""What the runs were configured with, and where they ran."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from asd_lightning.report.runs import ReportedRun

_ABSENT = "(not set)"
_OF_THE_JOB = ("name", "hydra")


def differing_settings(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs: dotted name, and each run's value."""
    flat = [dict(_flattened(_parsed(run.config), "")) for run in runs]
    names = sorted({name for one in flat for name in one if name.split(".")[0] not in _OF_THE_JOB})
    rows = [(name, [one.get(name, _ABSENT) for one in flat]) for name in names]
    return [row for row in rows if len(set(row[1])) > 1]


def environment_rows(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Device, size and versions of each run, as its summary has them."""
    flat = [dict(_flattened(run.summary, "")) for run in runs]
    names = list(dict.fromkeys(name for one in flat for name in one if not name.startswith("data.")))
    return [(name.removeprefix("versions."), [one.get(name, "") for one in flat]) for name in names]


def _parsed(config: str) -> Any:
    try:
        return yaml.safe_load(config) or {}
    except yaml.YAMLError:
        # The page shows the text as it is.
        return {}


def _flattened(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _flattened(inner, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, str(value)
