"""Ports that nobody else takes before a test's own process listens there."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Below those that a system gives to who asks for any: one of these could be somebody else's by the time it is used.
_OURS = range(20_000, 30_000)


@contextmanager
def own_port() -> Iterator[int]:
    """A port of this computer where nothing listens; no other test gets it meanwhile."""
    folder = Path(tempfile.gettempdir(), f"asd_ports_{os.getuid()}")
    folder.mkdir(exist_ok=True)
    for port in random.SystemRandom().sample(_OURS, len(_OURS)):
        with (folder / str(port)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if _is_free(port):
                yield port
                return
    raise AssertionError("no port is free")


@contextmanager
def closed_port() -> Iterator[int]:
    """A port where nobody listens, and nobody can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        # As servers ask: what is left of connections that have ended keeps nobody away.
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
