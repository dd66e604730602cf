"""Which warnings of back-ends are heard: not those of the many fits without some clips that follow the one to all."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Of each thread its own: what one leaves out another may have to say.
_SILENT: ContextVar[bool] = ContextVar("asd_unheard", default=False)


def logger_of(module: str) -> logging.Logger:
    """The module's logger, which says errors alone within ``unheard``."""
    logger = logging.getLogger(module)
    logger.addFilter(_is_heard)
    return logger


@contextmanager
def unheard() -> Iterator[None]:
    """Silence warnings: those about the machine's clips were given when the back-end was fitted to all of them."""
    before = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(before)


def _is_heard(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or not _SILENT.get()
