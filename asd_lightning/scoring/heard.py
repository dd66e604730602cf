"""Warnings of back-ends and thresholds: which are heard, and of which machine.

Those of the many fits without some clips, which follow the one to all, are not heard.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Of each thread its own: what one leaves out another may have to say.
_SILENT: ContextVar[bool] = ContextVar("asd_unheard", default=False)
_MACHINE: ContextVar[str] = ContextVar("asd_said_of", default="")


def logger_of(module: str) -> logging.Logger:
    """The module's logger: it says errors alone within ``unheard``, and the machine within ``said_of``."""
    logger = logging.getLogger(module)
    logger.addFilter(_as_heard)
    return logger


@contextmanager
def said_of(machine: str) -> Iterator[None]:
    """What is said within begins with the machine's name: a back-end and a threshold do not know it."""
    before = _MACHINE.set(machine)
    try:
        yield
    finally:
        _MACHINE.reset(before)


@contextmanager
def unheard() -> Iterator[None]:
    """Silence warnings: those about the machine's clips were given when the back-end was fitted to all of them."""
    before = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(before)


def _as_heard(record: logging.LogRecord) -> bool:
    if machine := _MACHINE.get():
        # Its name is an argument, since it may hold a percent sign.
        record.msg, record.args = "%s: %s", (machine, record.getMessage())
    return record.levelno >= logging.ERROR or not _SILENT.get()
