"""What several back-ends fit alike to the same clips, fitted once while many back-ends are compared."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jaxtyping import Float
from numpy import ndarray

Arrays = tuple[ndarray, ...]
Key = tuple[str, tuple[int, ...], str, int]
"""Of a fit: what it is, and shape, type and hash of the clips."""

MOST_BYTES = 1 << 30
"""Kept at most; what has not been asked for the longest goes first."""


class _Kept:
    """Used by several threads: one that asks for what another computes waits for it."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._bytes = most_bytes, 0
        self._found: OrderedDict[Key, Arrays] = OrderedDict()
        self._lock = threading.Lock()
        self._computing: dict[Key, threading.Lock] = {}

    def of(self, key: Key, compute: Callable[[], Arrays]) -> Arrays:
        with self._lock:
            computing = self._computing.setdefault(key, threading.Lock())
        with computing:
            found = self._kept(key)
            if found is None:
                found = compute()
                self._keep(key, found)
        return found

    def _kept(self, key: Key) -> Arrays | None:
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def _keep(self, key: Key, found: Arrays) -> None:
        for array in found:
            # One array is many back-ends' now.
            array.flags.writeable = False
        with self._lock:
            self._found[key] = found
            self._bytes += sum(array.nbytes for array in found)
            while self._bytes > self._most and len(self._found) > 1:
                _, gone = self._found.popitem(last=False)
                self._bytes -= sum(array.nbytes for array in gone)


_KEPT: ContextVar[_Kept | None] = ContextVar("asd_shared_fits", default=None)


@contextmanager
def shared_fits(most_bytes: int = MOST_BYTES) -> Iterator[None]:
    """While it lasts, `fitted_once` remembers; results are the same to the last bit.

    Args:
        most_bytes: of what is remembered.
    """
    token = _KEPT.set(_Kept(most_bytes))
    try:
        yield
    finally:
        _KEPT.reset(token)


def fitted_once(what: str, clips: Float[ndarray, "n dim"], compute: Callable[[], Arrays]) -> Arrays:
    """What ``compute()`` returns, which depends on ``what`` and on these clips alone.

    Args:
        what: the fit, with its settings.
        clips: that it is of.
        compute: the fit.
    """
    kept = _KEPT.get()
    if kept is None:
        return compute()
    # Python's hash of bytes has 64 bits and is several times as fast as a digest; keys stay in this process.
    return kept.of((what, clips.shape, clips.dtype.str, hash(clips.tobytes())), compute)
