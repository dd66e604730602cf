"""A bar for what a person waits for; nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
# Fewer take no time worth a bar.
_FEWEST = 8


def shown(items: Sequence[T], description: str) -> Iterable[T]:
    """The items one after another, with a bar on a terminal's standard error."""
    if len(items) < _FEWEST or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description, console=Console(stderr=True), transient=True)
