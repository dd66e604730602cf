"""A folder that recordings arrive in, on a disk or a network that may fail for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.container import check_container
from asd_lightning.data.folders import recordings
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.live.inputs import Stretch, may_pass, read_in_stretches, unreadable


class _Found(NamedTuple):
    """A recording: ``name`` below the folder, and ``key``, which changes with what is in it."""

    path: Path
    name: str
    key: str


class _Failing(NamedTuple):
    """One that could not be read for the moment, since when, and why."""

    found: _Found
    since: float
    error: Exception


@dataclass
class FolderInput:
    """Recordings in a folder, oldest first, and those that come later.

    A recording is heard once it has been left alone for ``settle`` seconds: one that is still being written waits.  One
    that its disk or network does not give is tried again for ``patience`` seconds before that is said, and the folder
    itself is waited for as a microphone is; with ``once``, for ``patience`` seconds.  Of a folder below that may not be
    listed it is said once that it is unreadable, and the others are heard.

    Args:
        folder: with WAV or FLAC files, at any depth.
        preprocessing: of the detector; its ``hop_seconds`` says how windows overlap.
        once: end when all that is there was heard.
        settle: in s.
        patience: in s.
        windows: of one stretch.
        now: seconds since 1970; this clock may jump.
        monotonic: seconds on a clock that does not.
    """

    folder: Path
    preprocessing: Preprocessing
    once: bool = False
    settle: float = 2.0
    patience: float = 30.0
    windows: int = 32
    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _since: dict[str, tuple[tuple[int, int], float]] = field(default_factory=dict, repr=False)
    _failing: dict[str, _Failing] = field(default_factory=dict, repr=False)
    _lead: float | None = field(default=None, repr=False)
    _jumped: float = field(default=float("-inf"), repr=False)
    _lost: float | None = field(default=None, repr=False)
    _closed: dict[str, Path] = field(default_factory=dict, repr=False)
    _told_closed: set[str] = field(default_factory=set, repr=False)

    def stretches(self, place: dict[str, Any], was_heard: Callable[[str], bool]) -> Iterator[Stretch | None]:
        """See `asd_lightning.live.inputs.Input`.

        Raises:
            UserError: there is no such folder at the start; or it cannot be listed for long, with ``once``.
        """
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: no such folder; make it, or name another with --input")
        while True:
            try:
                fresh = [found for found in self._found() if not was_heard(found.key)]
            except (UserError, OSError) as error:
                yield from self._away(error, place)
                continue
            if self._lost is not None:
                self._lost = None
                yield Stretch([], [], 0.0, place, time=self.now(), happened="input back")
            yield from self._newly_closed(place)
            yield from self._given_up({found.key for found in fresh}, place)
            for found in fresh:
                for stretch in self._heard(found, place.get("next", 0) if place.get("key") == found.key else 0):
                    place = place if stretch is None else stretch.place
                    yield stretch
                if found.key in self._failing:
                    # The order is kept: what is younger waits for it.
                    break
            if not fresh and self.once and not self._since and not self._failing:
                return
            if not fresh:
                yield None

    def _heard(self, found: _Found, first: int) -> Iterator[Stretch | None]:
        """A recording from a window on; ``None`` where it cannot be read and is to be tried again."""
        try:
            yield from read_in_stretches(*found, self.preprocessing, self.windows, first)
        except (BadAudioError, OSError) as error:
            since = self._failing[found.key].since if found.key in self._failing else self.monotonic()
            if may_pass(error) and self.monotonic() - since < self.patience:
                self._failing[found.key] = _Failing(found, since, error)
                yield None
                return
            yield unreadable(found.name, found.key, error, self.now())
        self._failing.pop(found.key, None)

    def _given_up(self, there: set[str], place: dict[str, Any]) -> Iterator[Stretch]:
        """What has gone before it was heard, and has not come back; where it still does, it is heard."""
        for key, failing in list(self._failing.items()):
            if key not in there and self.monotonic() - failing.since >= self.patience:
                del self._failing[key]
                yield unreadable(failing.found.name, "", failing.error, self.now())._replace(place=place)

    def _newly_closed(self, place: dict[str, Any]) -> Iterator[Stretch]:
        """Folders below that may not be listed; what is in them is heard once they may be."""
        for name in sorted(self._closed.keys() - self._told_closed):
            try:
                check_container(self._closed[name])
            except BadAudioError as error:
                yield unreadable(name, "", error, self.now())._replace(place=place)
        self._told_closed = set(self._closed)

    def _away(self, error: Exception, place: dict[str, Any]) -> Iterator[Stretch | None]:
        """The folder itself cannot be listed."""
        if self._lost is None:
            self._lost = self.monotonic()
            yield Stretch([], [], 0.0, place, time=self.now(), happened="input lost", note=str(error))
        if self.once and self.monotonic() - self._lost >= self.patience:
            raise UserError(str(error))
        # What could not be read is not to be given up for that.
        self._failing = {key: one._replace(since=self.monotonic()) for key, one in self._failing.items()}
        yield None

    def _found(self) -> list[_Found]:
        """Recordings that nobody writes any more, oldest first."""
        if not self.folder.is_dir():
            raise UserError(f"{self.folder}: the folder is not there")
        self._watch_the_clock()
        found = []
        waiting: dict[str, tuple[tuple[int, int], float]] = {}
        self._closed = {}
        for path in recordings(self.folder, closed_too=True):
            if os.path.isdir(path):  # noqa: PTH112
                self._closed[_name(path, self.folder)] = path
                continue
            try:
                # A link to nothing is there, and is told as unreadable.
                status = path.lstat() if path.is_symlink() and not path.exists() else path.stat()
            except OSError:
                continue
            seen = (status.st_size, status.st_mtime_ns)
            name = _name(path, self.folder)
            since = self._since.get(name, (seen, self.monotonic()))
            since = since if since[0] == seen else (seen, self.monotonic())
            # By both clocks: a recording's own time may be of another computer, or be kept by a copy.
            old = self.now() - status.st_mtime >= self.settle and self.monotonic() - self._jumped >= self.settle
            if old or self.monotonic() - since[1] >= self.settle:
                found.append((seen[1], f"{name}:{seen[0]}:{seen[1]}", name, path))
            else:
                waiting[name] = since
        self._since = waiting
        return [_Found(path, name, key) for _, key, name, path in sorted(found)]

    def _watch_the_clock(self) -> None:
        """After a jump no recording is old by its own time, before it was seen to be left alone."""
        lead = self.now() - self.monotonic()
        if self._lead is not None and abs(lead - self._lead) > self.settle / 2:
            self._jumped = self.monotonic()
        self._lead = lead


def _name(path: Path, folder: Path) -> str:
    """Path below the folder; bytes that are no text are written out."""
    return path.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()
