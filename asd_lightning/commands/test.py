"""asd test: score a trained run again."""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    from asd_lightning.training.retest import main

    return main(arguments)
