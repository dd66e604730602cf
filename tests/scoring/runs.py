"""A finished run with embeddings and a checkpoint, made without training anything."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
import torch
import yaml

from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.evaluation.metrics import evaluate, write_metrics
from asd_lightning.scoring.clip_scores import write_scores
from asd_lightning.scoring.embedding_cache import (
    CacheKey,
    EmbeddingCache,
    files_digest,
    model_digest,
    write_embeddings,
)
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.machines import score_machines
from asd_lightning.scoring.thresholds import GammaThreshold

DATA = {"_target_": "x", "root": "data", "clip_seconds": 1.0, "channel": 0, "pad": "tile", "seed": "${seed}"}
MODEL = {"embedder": {"branches": {}}, "score_after_head": True, "scorer": {"k": 1}}
DIM = 16


def make_clips(folder: Path, machine: str, seed: int = 0, each: int = 10, attribute: str = "spd_1") -> list[Clip]:
    """Recordings of noise: 3 x ``each`` source and 4 target training clips, ``each`` test clips of every kind."""
    rng = np.random.default_rng(seed)
    kinds = [("train", "source", "normal")] * 3 * each + [("train", "target", "normal")] * 4
    kinds += [("test", domain, what) for domain in ("source", "target") for what in ("normal", "anomaly")] * each
    clips = []
    for number, (split, domain, condition) in enumerate(kinds):
        name = f"section_00_{domain}_{split}_{condition}_{number:04d}_{attribute}.wav"
        path = folder / machine / split / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=1600), 16_000, subtype="PCM_16")
        clips.append(
            Clip(
                path=path,
                machine=machine,
                name=name,
                split=split,
                domain=domain,
                condition=condition,
                attribute=attribute,
            )
        )
    return clips


def make_cache(clips: list[Clip], model: str = "m", seed: int = 0) -> EmbeddingCache:
    """Embeddings in which anomalies lie a little further out."""
    rng = np.random.default_rng(seed)
    reference = tuple(clip for clip in clips if clip.split == "train")
    query = tuple(clip for clip in clips if clip.split == "test")
    center = {"source": np.eye(DIM)[0], "target": np.eye(DIM)[1]}

    def embedded(some: tuple[Clip, ...]) -> np.ndarray:
        spread = [0.35 if clip.condition == "anomaly" else 0.2 for clip in some]
        rows = [center[clip.domain] + s * rng.normal(size=DIM) for clip, s in zip(some, spread, strict=True)]
        return np.array(rows, dtype=np.float32)

    key = CacheKey(model, Preprocessing.of_options(DATA), files_digest([*reference, *query]))
    return EmbeddingCache(embedded(reference), embedded(query), reference, query, key)


def make_run(
    folder: Path,
    data: Path,
    machines: tuple[str, ...] = ("fan", "pump"),
    name: str = "one",
    seed: int = 0,
    each: int = 10,
):
    """A run folder as training leaves it, of ``make_clips``; returns the cache that is in it."""
    clips = [clip for number, machine in enumerate(machines) for clip in make_clips(data, machine, number, each)]
    state = {"weight": torch.full((2, 3), float(seed))}
    cache = make_cache(clips, model_digest(state, MODEL), seed)
    ids = np.arange(len(clips))
    split = len(cache.reference)
    table = [*cache.reference_clips, *cache.query_clips]
    reference, query = (ids[:split], cache.reference), (ids[split:], cache.query)
    scores = score_machines(table, reference, query, KNNScorer, GammaThreshold())
    result = evaluate(scores)
    results = folder / "results"
    write_scores(results / "scores.csv", scores)
    write_metrics(result, results)
    write_embeddings(results / "embeddings.npz", cache)
    summary = {"name": name, "seed": seed, "official_score": result.official_score, "versions": {"torch": "2.0"}}
    (results / "summary.json").write_text(json.dumps(summary))
    (folder / ".hydra").mkdir()
    config = {"seed": seed, "name": name, "data": DATA | {"root": str(data)}, "model": MODEL}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"data": DATA | {"root": str(data), "seed": seed}}))
    (folder / ".hydra" / "overrides.yaml").write_text("[]")
    (folder / "checkpoints").mkdir()
    torch.save({"state_dict": state, "asd_config": MODEL}, folder / "checkpoints" / "last.ckpt")
    return cache
