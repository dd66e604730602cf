"""What the log is told while something is done, for whoever has asked for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        # Others work beside this thread.
        if record.thread == self._thread:
            self.told.append(record.getMessage())


@contextmanager
def warnings_of(name: str) -> Iterator[list[str]]:
    """Warnings of this thread under a logger's name, which go to the log all the same.

    Args:
        name: of the logger.

    >>> with warnings_of("plant") as told:
    ...     logging.getLogger("plant.pump").error("it is warm")
    >>> told
    ['it is warm']
    """
    kept, logger = _Kept(), logging.getLogger(name)
    logger.addHandler(kept)
    try:
        yield kept.told
    finally:
        logger.removeHandler(kept)
