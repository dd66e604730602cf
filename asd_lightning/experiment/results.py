"""From a test's scores to what it leaves: the truth joined, metrics, files."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from asd_lightning.data.batch import Batch
from asd_lightning.data.datamodule import ClipDataModule
from asd_lightning.encoders.family import chosen_poolings
from asd_lightning.evaluation.complexity import count_macs
from asd_lightning.evaluation.ground_truth import label_scores
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.experiment.identity import digest_of
from asd_lightning.experiment.result_files import Evaluated, write_result_files
from asd_lightning.low_precision import lowered_branches
from asd_lightning.run_folder import ResultSet
from asd_lightning.scoring.clip_scores import write_windows
from asd_lightning.scoring.embedding_cache import (
    CacheKey,
    EmbeddingCache,
    files_digest,
    model_digest,
    write_embeddings,
)
from asd_lightning.scoring.feature_store import StoredFeatures, write_features
from asd_lightning.scoring.fitted import write_fitted
from asd_lightning.training.module import AnomalousSoundModule, TestOutcome
from asd_lightning.training.token_features import TokenFeatures

logger = logging.getLogger(__name__)


class ResultsWriter(pl.Callback):
    """Joins the truth, evaluates, writes scores, metrics, plots, what was fitted and a summary, and prints the table.

    Args:
        directory: a folder for this test alone.
        about: what the summary says of the run beside its numbers.
        config: the composed configuration as YAML, kept beside the results.
        store_features: which poolings of the clips' tokens to keep beside the embeddings: ``None``, ``all`` or a list
            of names, see `asd_lightning.encoders.family`.

    Attributes:
        results: where they are written.
        evaluated: once the test has ended, on every process.
    """

    def __init__(
        self,
        directory: str | Path,
        about: dict[str, Any] | None = None,
        config: str = "",
        store_features: str | Sequence[str] | None = None,
    ) -> None:
        self.results = ResultSet(Path(directory))
        self.about = about or {}
        self.config = config
        self.evaluated: Evaluated | None = None
        self._poolings = chosen_poolings(store_features)
        self._features: TokenFeatures | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuse, before anything is trained, to store what the system does not have."""
        if self._poolings and isinstance(pl_module, AnomalousSoundModule):
            TokenFeatures(pl_module.embedder, ()).detach()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to the tokens, where they are to be stored."""
        if self._poolings and isinstance(pl_module, AnomalousSoundModule):
            self._features = TokenFeatures(pl_module.tested_embedder().embedder, self._poolings)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the batch's pooled tokens."""
        if self._features is not None:
            datamodule: ClipDataModule = trainer.datamodule  # type: ignore[attr-defined]
            self._features.take(batch.clip_id, dataloader_idx, datamodule.preprocessing.residual)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Join the truth, evaluate on every process, and write the results on the first."""
        if not isinstance(pl_module, AnomalousSoundModule):
            return
        outcome = pl_module.outcome
        if outcome is None:
            raise RuntimeError("the test ended without an outcome")
        datamodule: ClipDataModule = trainer.datamodule  # type: ignore[attr-defined]
        # Only now: what was scored has never seen the truth.
        truth = datamodule.truth_path
        scores = label_scores(outcome.scores, truth) if truth is not None else outcome.scores
        self.evaluated = Evaluated(scores, evaluate(scores))
        for each in trainer.loggers:
            each.log_metrics({"test/official_score": self.evaluated.result.official_score}, step=trainer.global_step)
            each.save()
        cache = _cache(datamodule, pl_module, outcome)
        self._write_features(trainer, cache.key)
        if trainer.is_global_zero:
            self._write(trainer, pl_module, outcome, self.evaluated, cache)

    def _write(
        self,
        trainer: pl.Trainer,
        module: AnomalousSoundModule,
        outcome: TestOutcome,
        evaluated: Evaluated,
        cache: EmbeddingCache,
    ) -> None:
        results = self.results
        results.folder.mkdir(parents=True, exist_ok=True)
        if outcome.windows:
            write_windows(results.windows, outcome.windows)
        write_embeddings(results.embeddings, cache)
        self._write_fitted(trainer, module, cache.key.model, outcome)
        write_result_files(results, evaluated, self.config, self._summary(trainer, module, evaluated))

    def _write_features(self, trainer: pl.Trainer, key: CacheKey) -> None:
        """Gather on every process, each of which has embedded some of the clips; write on the first."""
        if self._features is None:
            return
        self._features.detach()
        single = []
        for name in self._poolings:
            reference, query = self._features.gathered(name)
            features = StoredFeatures(name, reference, query, key)
            if trainer.is_global_zero and not write_features(self.results.features(name), features):
                single.append(name)
        self._features = None
        if single:
            logger.warning(
                "stored in single precision, since half would change them: %s; twice the size, nothing else",
                ", ".join(single),
            )

    def _write_fitted(
        self, trainer: pl.Trainer, module: AnomalousSoundModule, model: str, outcome: TestOutcome
    ) -> None:
        datamodule: ClipDataModule = trainer.datamodule  # type: ignore[attr-defined]
        about = {
            "model": model,
            "preprocessing": asdict(datamodule.preprocessing),
            "score_after_head": module.score_after_head,
            "recording_score": outcome.recording_score,
            "precision": str(trainer.precision),
            # Only one of the two is ever another than the usual.  Older versions refuse a word that they do not know.
            **({} if module.scoring_precision == "float32" else {"precision": module.scoring_precision}),
            "agreement": _agreement(outcome),
        }
        if write_fitted(self.results.fitted, outcome.fitted, about):
            kinds = {type(fitted.scorer).__name__ for fitted in outcome.fitted.values()}
            logger.warning(
                "the back-end %s is not kept, since its class, or that of a part of it, is not the package's own: each "
                "test fits it again, and neither load_run nor a detector can be had of this one",
                ", ".join(sorted(kinds)),
            )

    def _summary(self, trainer: pl.Trainer, module: AnomalousSoundModule, evaluated: Evaluated) -> dict[str, Any]:
        datamodule: ClipDataModule = trainer.datamodule  # type: ignore[attr-defined]
        labels = {f"{s.machine}/{s.file} is": f"{s.domain} {s.condition}" for s in evaluated.scores}
        return self.about | {
            "updates": module.updates,
            "classes": len(module.classes),
            "training_clips": digest_of(datamodule.training_clips()),
            "test_clips": digest_of(datamodule.test_clips() | labels),
            "recordings": digest_of(datamodule.recordings_trained_on()),
            "precision": str(trainer.precision),
            **_scoring_precision(module),
            "macs": count_macs(module.embedder, datamodule.num_samples),
            "num_parameters": sum(parameter.numel() for parameter in module.embedder.parameters()),
            "device": str(trainer.strategy.root_device),
            "world_size": trainer.world_size,
        }


def _scoring_precision(module: AnomalousSoundModule) -> dict[str, Any]:
    """For the summary: in which precision what is scored was computed, by which branches, and what that changes."""
    precision = module.scoring_precision
    told: dict[str, Any] = {"scoring_precision": precision}
    if precision != "float32" and module.outcome is not None:
        branches = lowered_branches(module.embedder, precision)
        told |= {"scoring_precision_of": branches, "agreement": _agreement(module.outcome)}
    return told


def _agreement(outcome: TestOutcome) -> dict[str, float | None]:
    # JSON has no nan.
    return {machine: None if math.isnan(value) else value for machine, value in outcome.agreement.items()}


def _cache(datamodule: ClipDataModule, module: AnomalousSoundModule, outcome: TestOutcome) -> EmbeddingCache:
    saved: dict[str, Any] = {}
    module.on_save_checkpoint(saved)
    model = model_digest(module.state_dict(), saved["asd_config"])
    reference, query = (tuple(datamodule.clips[clip_id] for clip_id in ids) for ids in outcome.clip_ids)
    files = files_digest([*reference, *query], datamodule.contents)
    key = CacheKey(model, datamodule.preprocessing, files, module.scoring_precision)
    return EmbeddingCache(*outcome.embeddings, reference, query, key)


def evaluated(trainer: pl.Trainer) -> Evaluated | None:
    """What the trainer's ``ResultsWriter`` has found; ``None`` where there is none, or no test has ended."""
    writers = [callback for callback in trainer.callbacks if isinstance(callback, ResultsWriter)]  # type: ignore[attr-defined]
    return next((writer.evaluated for writer in writers), None)
