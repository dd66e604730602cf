"""asd train: train, then test."""

from __future__ import annotations

from collections.abc import Sequence


def run(overrides: Sequence[str]) -> int:
    from asd_lightning.training.train import main

    return main(overrides)
