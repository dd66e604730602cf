"""Every draw of a training step as a function of (seed, micro-step, rank)."""

from __future__ import annotations

import numpy as np
import torch


def seed_step(seed: int, micro_step: int, rank: int) -> None:
    """Seed torch's generators for one micro-step: mixup, masks and dropout then repeat after a restart.

    Lightning seeds all ranks alike, which would give them the same augmentation; this does not.
    """
    torch.manual_seed(int(np.random.SeedSequence([seed, micro_step, rank]).generate_state(1, np.uint64)[0] >> 1))
