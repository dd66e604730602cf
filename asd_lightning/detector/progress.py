"""A bar for what a person waits for; nothing where nobody looks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")
# Fewer take no time worth a bar.
_FEWEST = 8


def shown(items: Sequence[T], description: str) -> Iterable[T]:
    """The items one after another, with a bar on a terminal's standard error; none in a thread that serves others."""
    watched = threading.current_thread() is threading.main_thread() and sys.stderr.isatty()
    if len(items) < _FEWEST or not watched:
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description, console=Console(stderr=True), transient=True)
