"""What a test leaves in the run's folder."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from asd_lightning.atomic import write_atomically
from asd_lightning.evaluation.complexity import count_macs
from asd_lightning.evaluation.metrics import render_table, write_metrics
from asd_lightning.plain_text import on_terminal
from asd_lightning.report.plots import plot_roc, plot_scores
from asd_lightning.scoring.clip_scores import alarm_lines, write_challenge_files, write_scores
from asd_lightning.scoring.embedding_cache import (
    CacheKey,
    EmbeddingCache,
    files_digest,
    model_digest,
    preprocessing_options,
    write_embeddings,
)
from asd_lightning.training.module import AnomalousSoundModule, TestOutcome

_VERSIONS = ("asd-lightning", "torch", "torchaudio", "pytorch-lightning", "scikit-learn", "imbalanced-learn")


class ResultsWriter(pl.Callback):
    """Writes scores, metrics, plots, embeddings and a summary when a test has ended, and prints the table.

    Args:
        directory: a folder for this test alone.
        about: what the summary says of the run beside its numbers.
    """

    def __init__(self, directory: str | Path, about: dict[str, Any] | None = None) -> None:
        self._directory = Path(directory)
        self.about = about or {}

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero or not isinstance(pl_module, AnomalousSoundModule):
            return
        outcome = pl_module.outcome
        if outcome is None:
            raise RuntimeError("the test ended without an outcome")
        self._directory.mkdir(parents=True, exist_ok=True)
        write_scores(self._directory / "scores.csv", outcome.scores)
        self._write_embeddings(trainer, pl_module, outcome)
        write_challenge_files(self._directory / "challenge", outcome.scores)
        self._write_summary(trainer, pl_module, outcome)
        # After all that is read from a run, which counts as finished when its metrics are there; before the pictures
        # and what is printed: where those fail, no number is lost.
        write_metrics(outcome.result, self._directory)
        plot_scores(outcome.scores, self._directory / "scores.png")
        plot_roc(outcome.scores, self._directory / "roc.png")
        console = Console()
        if outcome.result.machines:
            console.print(render_table(outcome.result))
        for line in [*alarm_lines(outcome.scores), *(() if outcome.result.machines else outcome.result.notes)]:
            console.print(on_terminal(line), highlight=False)
        console.print(on_terminal(f"Results: {self._directory}"), soft_wrap=True)

    def _write_embeddings(self, trainer: pl.Trainer, module: AnomalousSoundModule, outcome: TestOutcome) -> None:
        table = trainer.datamodule.clips  # type: ignore[attr-defined]
        reference, query = (tuple(table[clip_id] for clip_id in ids) for ids in outcome.clip_ids)
        saved: dict[str, Any] = {}
        module.on_save_checkpoint(saved)
        key = CacheKey(
            model=model_digest(module.state_dict(), saved["asd_config"]),
            preprocessing=preprocessing_options(self.about.get("data", {})),
            files=files_digest([*reference, *query]),
        )
        cache = EmbeddingCache(*outcome.embeddings, reference, query, key)
        write_embeddings(self._directory / "embeddings.npz", cache)

    def _write_summary(self, trainer: pl.Trainer, module: AnomalousSoundModule, outcome: TestOutcome) -> None:
        summary = self.about | {
            "official_score": outcome.result.official_score,
            "updates": trainer.global_step,
            "macs": count_macs(module.embedder, trainer.datamodule.num_samples),  # type: ignore[attr-defined]
            "num_parameters": sum(parameter.numel() for parameter in module.embedder.parameters()),
            "device": str(trainer.strategy.root_device),
            "world_size": trainer.world_size,
            "versions": {name: version(name) for name in _VERSIONS} | {"python": platform.python_version()},
        }
        with write_atomically(self._directory / "summary.json") as file:
            file.write(json.dumps(summary, indent=2).encode())
