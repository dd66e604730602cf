"""Work that takes long, beside the loop that answers: one job after another."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

T = TypeVar("T")
_MOST_WAITING = 32
_AGAIN = {"Retry-After": "5"}


class Worker:
    """A thread that does what it is given, one job at a time, and ends with the process, whatever it is at.

    Args:
        name: of the thread.
        most_waiting: jobs.
    """

    def __init__(self, name: str, most_waiting: int = _MOST_WAITING) -> None:
        self._jobs: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue(most_waiting)
        threading.Thread(target=self._work, name=name, daemon=True).start()

    async def run_for(self, gone: Coroutine[Any, Any, None], job: Callable[[], T]) -> T:
        """Likewise, for as long as the client has not gone.

        Args:
            gone: returns when it has.
            job: for it.

        Raises:
            ClientDisconnect: it has gone.
            HTTPException: as of `run`.
        """
        working, leaving = asyncio.ensure_future(self.run(job)), asyncio.ensure_future(gone)
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise ClientDisconnect
            return await working
        finally:
            working.cancel()
            leaving.cancel()

    async def run(self, job: Callable[[], T]) -> T:
        """What the job returns or raises; one that nobody waits for any more is not begun.

        Raises:
            HTTPException: 503, where too many wait.
        """
        future: Future[T] = Future()
        try:
            self._jobs.put_nowait((future, job))
        except queue.Full:
            raise HTTPException(503, "too many requests wait for this one; come again", _AGAIN) from None
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while True:
            future, job = self._jobs.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # what a job raises is its asker's
                future.set_exception(error)
