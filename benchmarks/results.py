"""Where a benchmark leaves its figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asd_lightning.atomic import write_text_atomically

HERE = Path(__file__).parent


def keep(name: str, result: dict[str, Any], table: str) -> None:
    """Print ``table``, and `write` it."""
    print(table)
    write(name, result, table)


def write(name: str, result: dict[str, Any], table: str) -> None:
    """Write ``table`` and the exact figures beside the benchmark: ``<name>.md``, ``<name>.json``."""
    write_text_atomically(HERE / f"{name}.json", json.dumps(result, indent=1) + "\n")
    write_text_atomically(HERE / f"{name}.md", table)


def keep_if_measured(name: str, result: dict[str, Any], table: str, on_gpu: bool) -> None:
    """``keep`` of a GPU's figures; those of a trial run on the processor are printed alone."""
    if on_gpu:
        keep(name, result, table)
        return
    print(table)
    print("No CUDA device: this was a trial run in small, whose numbers mean nothing; none are written.")
