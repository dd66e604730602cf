"""Runs without results: still training, interrupted, or failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asd_lightning.foreign_files import first_line
from asd_lightning.run_folder import CHECKPOINT, FAILURE, ResultSet, is_training, results_of

FAILED, TRAINING, INTERRUPTED = "failed", "still training", "interrupted"
"""What a run is that has no results."""


def state_without_results(
    run: Path | None, results: ResultSet, config: Mapping[str, Any], error: str
) -> tuple[str, str]:
    """What a run is that has no results that can be read, and why or what to do."""
    if run is None:
        return FAILED, error
    of_training = results.folder == results_of(run).folder and not results.metrics.is_file()
    if of_training and is_training(run):
        return TRAINING, "its results come at the end"
    if reason := _reason(run):
        return (INTERRUPTED if reason.startswith("interrupted") else FAILED), reason
    if not of_training or not (run / CHECKPOINT).is_file():
        return FAILED, error
    if config.get("test") is False:
        return FAILED, f"{error}; it was trained with test=false: asd test {run} tests it"
    return INTERRUPTED, "the same command with resume=true goes on"


def _reason(run: Path) -> str:
    """Why the job says that it failed; "" where it was killed before it could."""
    path = run / FAILURE
    return first_line(path) if path.is_file() else ""
