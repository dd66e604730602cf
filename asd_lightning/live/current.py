"""The detector that judges now: its file may be written anew while it is in use."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

from asd_lightning.detector.detector import Detector
from asd_lightning.errors import UserError


class InUse(NamedTuple):
    """A detector, which change of its file it is (from 0), and what is to be said of that change."""

    detector: Detector
    change: int
    note: str


class CurrentDetector:
    """Reads the detector again when its file has changed; threads may share it.

    Args:
        path: of the file.

    Raises:
        UserError: not a detector.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen = _identity(path)
        self._in_use = InUse(Detector.load(path), 0, "")

    def get(self) -> InUse:
        """The newest that can be read; one that cannot is told once and the one before goes on."""
        with self._lock:
            now = _identity(self.path)
            if now != self._seen:
                self._seen = now
                self._in_use = self._next()
            return self._in_use

    def _next(self) -> InUse:
        detector, change, _ = self._in_use
        try:
            fresh = Detector.load(self.path)
            missing = [name for name in detector.machines_ if name not in fresh.machines_]
            if missing:
                raise UserError(f"{self.path}: lacks {', '.join(missing)} now")
        except UserError as error:
            return InUse(detector, change + 1, f"the detector from before goes on: {error}")
        return InUse(fresh, change + 1, "the detector's file was written anew and judges from here on")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """``None`` where there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
