"""Runs of the same recordings in different embeddings, as tests leave them on disk: nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra.utils import instantiate
from omegaconf import OmegaConf

from asd_lightning.evaluation.metrics import evaluate, write_metrics
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import write_scores
from asd_lightning.scoring.embedding_cache import EmbeddingCache
from asd_lightning.scoring.machines import score_machines
from tests.scoring.runs import DATA, MODEL, make_run

KNN: Mapping[str, Any] = {"_target_": "asd_lightning.scoring.knn.KNNScorer", "_partial_": True, "k": 1}
WHITENED: Mapping[str, Any] = {"_target_": "asd_lightning.scoring.union.LedoitWolfScorer", "_partial_": True}
EACH = 4
TRAINING, TEST = 3 * EACH + 4, 4 * EACH
"""Recordings of each of the two machines."""
QUANTILE = {"_target_": "asd_lightning.scoring.thresholds.QuantileThreshold", "quantile": 0.9}


def fusable(
    folder: Path, data: Path, name: str, seed: int = 0, draw: int = 0, scorer: Mapping[str, Any] = KNN
) -> EmbeddingCache:
    """A run whose embeddings are a ``draw``, scored by ``scorer``; returns its embeddings."""
    cache = make_run(folder, data, name=name, seed=draw, each=EACH)
    results = results_of(folder)
    model = MODEL | {"scorer": dict(scorer), "threshold": QUANTILE, "recording_score": "max"}
    config = {"seed": seed, "system": name, "data": DATA | {"root": str(data), "seed": seed}, "model": model}
    for path in (folder / "config.yaml", results.config):
        path.write_text(yaml.safe_dump(config))
    rescore(folder, cache)
    digests = {"training_clips": "t", "test_clips": "q", "recordings": "r"}
    size = {"num_parameters": 1000 + draw, "macs": 10.0}
    change_summary(folder, name=name, seed=seed, data={"root": str(data)}, **digests, **size)
    return cache


def rescore(folder: Path, cache: EmbeddingCache) -> None:
    """Write scores and metrics as the run's settings give them of these embeddings."""
    results = results_of(folder)
    model = yaml.safe_load(results.config.read_text())["model"]
    scorer, threshold = (
        instantiate(OmegaConf.create(model[part]), _convert_="all") for part in ("scorer", "threshold")
    )
    table = [*cache.reference_clips, *cache.query_clips]
    reference, query = np.split(np.arange(len(table)), [len(cache.reference)])
    scores = score_machines(table, (reference, cache.reference), (query, cache.query), partial(scorer), threshold)
    write_scores(results.scores, scores)
    write_metrics(evaluate(scores), results.folder)
    change_summary(folder, official_score=evaluate(scores).official_score)


def change_summary(folder: Path, **changes: Any) -> None:
    path = results_of(folder).summary
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
