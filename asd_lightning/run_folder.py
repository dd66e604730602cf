"""What lies where in a run's folder."""

from __future__ import annotations

CHECKPOINT = "checkpoints/last.ckpt"
CONFIG = "config.yaml"
# Hydra calls it after the module that starts it.
LOG = "train.log"
