"""What every result set has, whatever its scores come from: a test, or a fusion of tests."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from rich.console import Console

from asd_lightning.atomic import write_atomically, write_text_atomically
from asd_lightning.evaluation.attributes import write_attributes
from asd_lightning.evaluation.metrics import TERMINAL_HEADINGS, EvaluationResult, metrics_table, write_metrics
from asd_lightning.experiment.provenance import commit, packages
from asd_lightning.pages.plots import plot_roc, plot_scores
from asd_lightning.plain_text import on_terminal
from asd_lightning.run_folder import ResultSet
from asd_lightning.scoring.clip_scores import ClipScore, alarm_lines, write_challenge_files, write_scores
from asd_lightning.tables import as_terminal

_VERSIONS = ("asd-lightning", "torch", "torchaudio", "pytorch-lightning", "scikit-learn", "imbalanced-learn")


@dataclass(frozen=True)
class Evaluated:
    """Scores of a test with what is known of their clips, and the metrics of those that are labelled."""

    scores: list[ClipScore]
    result: EvaluationResult


def write_result_files(results: ResultSet, evaluated: Evaluated, config: str, summary: Mapping[str, Any]) -> None:
    """Write scores, metrics, plots, the challenge's files, the configuration and a summary, and print the table.

    Args:
        results: its folder; what else belongs to it is there already.
        evaluated: scores and metrics.
        config: the configuration as YAML; "" for none.
        summary: what is said beside the official score, the commit and the versions.
    """
    scores, result = evaluated.scores, evaluated.result
    write_scores(results.scores, scores)
    write_challenge_files(results.challenge, scores)
    if config:
        with write_atomically(results.config) as file:
            file.write(config.encode())
    write_text_atomically(results.packages, packages())
    made = {
        "commit": commit(),
        "versions": {name: version(name) for name in _VERSIONS} | {"python": platform.python_version()},
    }
    told = {**summary, "official_score": result.official_score, **made}
    with write_atomically(results.summary) as file:
        file.write(json.dumps(told, indent=2).encode())
    # After all that is read from a run, which counts as finished when its metrics are there; before the pictures
    # and what is printed: where those fail, no number is lost.
    write_attributes(scores, results.folder)
    write_metrics(result, results.folder)
    plot_scores(scores, results.score_plot)
    if result.machines:
        plot_roc(scores, results.roc_plot)
    console = Console()
    if result.machines:
        console.print(as_terminal(metrics_table(result, TERMINAL_HEADINGS)))
    for line in [*alarm_lines(scores), *(() if result.machines else result.notes)]:
        console.print(on_terminal(line), highlight=False)
    console.print(on_terminal(f"Results: {results.folder}"), soft_wrap=True)
