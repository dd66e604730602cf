"""Embeddings of a made-up machine: 60 source and 8 target clips, and 25 to score."""

import numpy as np


def machine(seed=0, source=60, target=8, queries=25, dim=12, dtype=np.float64):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(4, dim))
    clips = centers[rng.integers(0, 3, source)] + 0.3 * rng.normal(size=(source, dim))
    shifted = centers[3] + 0.5 * rng.normal(size=(target, dim))
    embeddings = np.concatenate([clips, shifted])
    is_target = np.arange(source + target) >= source
    order = rng.permutation(source + target)  # the domains come mixed
    test = centers[rng.integers(0, 4, queries)] + 0.6 * rng.normal(size=(queries, dim))
    return embeddings[order].astype(dtype), is_target[order], test.astype(dtype)
