"""Names in stored runs that are others today.  Nothing heavy is imported here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

_NEIGHBORS = "asd_lightning.scoring.knn.KNNScorer"
# Where callables that older runs name in their configuration are now.
_MOVED = {
    "asd_lightning.encoders.checkpoints.load_encoder": "asd_lightning.encoders.weights.checkpoints.load_encoder",
    "asd_lightning.training.results.ResultsWriter": "asd_lightning.experiment.results.ResultsWriter",
    "asd_lightning.training.terminal.ProgressBar": "asd_lightning.experiment.terminal.ProgressBar",
    "asd_lightning.training.terminal.SystemSummary": "asd_lightning.experiment.terminal.SystemSummary",
    "asd_lightning.training.dashboard.Throughput": "asd_lightning.experiment.dashboard.Throughput",
    "asd_lightning.training.dashboard.WandbTest": "asd_lightning.experiment.dashboard.WandbTest",
    "asd_lightning.training.dashboard.wandb_logger": "asd_lightning.experiment.dashboard.wandb_logger",
}

log = logging.getLogger(__name__)


def of_today(node: Any) -> Any:
    """A stored configuration (plain data) with the names that its targets, and their methods, have now."""
    if isinstance(node, dict):
        return _scorer_of_today({key: of_today(value) for key, value in node.items()})
    if isinstance(node, list):
        return [of_today(value) for value in node]
    return _MOVED.get(node, node) if isinstance(node, str) else node


def fusion_of_today(fusion: str) -> str:
    """The fusion of two domains by its name of today: runs of before call ``domain_z`` by another method's name."""
    if fusion != "varmin":
        return fusion
    _say_once()
    return "domain_z"


def _scorer_of_today(options: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a stored configuration, where it is such a back-end with its fusion's name of today."""
    if options.get("_target_") != _NEIGHBORS or not isinstance(options.get("fusion"), str):
        return dict(options)
    return {**options, "fusion": fusion_of_today(options["fusion"])}


@cache
def _say_once() -> None:
    log.warning("fusion=varmin is called domain_z now and scores as before; VarMin itself is model/scorer=varmin")
