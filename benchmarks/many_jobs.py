"""Independent jobs of a benchmark, several at a time."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

Job, Result = TypeVar("Job"), TypeVar("Result")


def as_they_end(
    executor: Executor,
    at_a_time: int,
    work: Callable[[Job], Result],
    todo: Iterable[Job],
    minutes: float = math.inf,
) -> Iterator[tuple[Job, Future[Result]]]:
    """Each job with what has come of it; after so many minutes no other is begun."""
    left = iter(todo)
    running: dict[Future[Result], Job] = {}
    end = time.monotonic() + 60 * minutes
    while True:
        if time.monotonic() < end:
            running |= {executor.submit(work, job): job for job in islice(left, at_a_time - len(running))}
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield running.pop(future), future


def processes(number: int, log: Path) -> Executor:
    """Processes that stay, each with its share of the processors; what they say goes to ``log``.

    They are started anew, since CUDA is not to be forked: the calling script needs the ``__main__`` guard.
    """
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // number))
    log.parent.mkdir(parents=True, exist_ok=True)
    return ProcessPoolExecutor(number, get_context("spawn"), initializer=_speak_to, initargs=(log,))


def _speak_to(log: Path) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
