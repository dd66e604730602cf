"""From a year's name to a folder of clips: list, check the space, fetch and unpack in parallel, remember what is done.

``ROOT/.download`` holds all state: unfinished and finished archives, a marker per unpacked archive, the file list.
Every step can be interrupted, also by SIGKILL; the same call goes on.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.pool import AsyncResult, ThreadPool
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from asd_lightning.atomic import refuse_link, write_atomically
from asd_lightning.download.archives import extract, is_extracted
from asd_lightning.download.records import (
    RemoteFile,
    list_year,
    on_mirror,
    read_file_list,
    select,
    write_file_list,
)
from asd_lightning.download.retry import GaveUpError, RetryPolicy, new_session
from asd_lightning.download.transfer import LARGEST_BYTES, Wanted, fetch
from asd_lightning.download.years import ATTRIBUTES, PARTS, Part, Year
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import CSV_BYTES, ForeignFileError, load_json

STATE_FOLDER = ".download"
# Recordings shrink to about 0.75 of their size in a zip file.
_UNPACKED_PER_PACKED_BYTE = 1.4
_BYTES_PER_UPDATE = 1 << 20
# To end in order after Ctrl-C; a transfer that waits for a server longer is left behind, as a kill would leave it.
_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Source:
    """Where files come from, and how a faulty transfer is tried again.

    Attributes:
        mirror: server to use instead of the original ones.
        file_list: pins what to fetch; by default Zenodo is asked for its lists.
        policy: ``None`` is `RetryPolicy` with pauses that end when the download is stopped.
    """

    mirror: str | None = None
    file_list: Path | None = None
    policy: RetryPolicy | None = None


@dataclass(frozen=True)
class Selection:
    """Which parts and machines; ``machines`` None means all."""

    parts: tuple[Part, ...] = PARTS
    machines: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Outcome:
    """Names of the files fetched by this call, and of those that were there already."""

    fetched: list[str]
    present: list[str]


def download_year(
    year: Year,
    root: Path,
    selection: Selection | None = None,
    source: Source | None = None,
    jobs: int = 4,
    keep_archives: bool = False,
    console: Console | None = None,
    check_truth: Callable[[Path], object] = lambda _: None,
) -> Outcome:
    """Bring a year of Task 2 to ``root`` in the released layout, ``root/{dev_data,eval_data}/raw/<machine>/...``.

    ``check_truth`` raises UserError where a file is no truth file; such a file is not kept.

    Raises:
        UserError: a file could not be had (the others are complete), or there is too little space, or another
            download into ``root`` is running.
        KeyboardInterrupt: passed on after the running transfers have stopped; the same call goes on.
    """
    if jobs < 1:
        raise UserError(f"jobs={jobs}: give a number of parallel downloads of at least 1")
    state = root / STATE_FOLDER
    source = source or Source()
    found = root.exists()
    try:
        state.mkdir(parents=True, exist_ok=True)
        refuse_link(state / "lock")
        with FileLock(state / "lock", timeout=0):
            run = _Run(root, source.policy, keep_archives, console or Console(stderr=True), check_truth)
            try:
                files = _planned(year, state, selection or Selection(), source, run.policy)
            except BaseException:
                if not found:
                    _take_back(root)
                raise
            return run.all(files, jobs)
    except Timeout as error:
        raise UserError(f"another download into {root} is running: wait for it, or stop it first") from error
    except OSError as error:
        raise UserError(f"cannot write to {root} ({error}): choose another folder with --output") from error


def _take_back(root: Path) -> None:
    """Remove the folder that this call has made, as long as nothing but its lock is in it."""
    state = root / STATE_FOLDER
    (state / "lock").unlink(missing_ok=True)
    with suppress(OSError):
        state.rmdir()
        root.rmdir()


def _planned(year: Year, state: Path, selection: Selection, source: Source, policy: RetryPolicy) -> list[RemoteFile]:
    if source.file_list is not None:
        files = [file for file in read_file_list(source.file_list) if file.part in selection.parts]
    else:
        try:
            with new_session() as session:
                files = list_year(session, year, selection.parts, source.mirror, policy)
        except GaveUpError as error:
            raise UserError(
                f"{error}; where that server is out of reach, --mirror ADDRESS asks another, and --file-list FILE does "
                "without its lists (docs/data.md, Downloading)"
            ) from None
        _remember(state / f"dcase{year.year}.json", files, selection.parts)
    if not files:
        raise UserError(f"there is no file of {', '.join(selection.parts)} for {year.year}: choose other --parts")
    return [replace(file, url=on_mirror(file.url, source.mirror)) for file in select(files, selection.machines)]


def _remember(path: Path, files: Sequence[RemoteFile], parts: Sequence[Part]) -> None:
    """Pin the list beside the data, keeping what an earlier call listed of other parts."""
    try:
        earlier = read_file_list(path) if path.exists() else []
    except UserError:
        # Damaged on disk: what it said of other parts can be asked again.
        earlier = []
    write_file_list(path, [file for file in earlier if file.part not in parts] + list(files))


class _Run:
    """One call's workers and what they share."""

    def __init__(
        self,
        root: Path,
        policy: RetryPolicy | None,
        keep_archives: bool,
        console: Console,
        check_truth: Callable[[Path], object],
    ) -> None:
        self.root = root
        self.state = root / STATE_FOLDER
        self.stop = threading.Event()
        self.console = console
        self.policy = policy or RetryPolicy(sleep=self.stop.wait, tell=self._tell)
        self.keep_archives = keep_archives
        self.display = _Display(console)
        self.check_truth = check_truth

    def all(self, files: Sequence[RemoteFile], jobs: int) -> Outcome:
        """Fetch and unpack ``files``; one that fails does not keep the others from being completed."""
        missing = [file for file in files if not self._is_done(file)]
        self._check_space(missing, jobs)
        self._tell_of_foreign(missing)
        # Its threads are daemons, so one that waits for a dead line does not keep the process from ending.
        with self.display.running(missing), ThreadPool(jobs) as pool:
            tasks = {file: pool.apply_async(self._one, (file,)) for file in missing}
            try:
                for task in tasks.values():
                    task.wait()
            except KeyboardInterrupt:
                self.stop.set()
                self._tell("stopping")
                until = time.monotonic() + _GRACE_SECONDS
                for task in tasks.values():
                    task.wait(max(until - time.monotonic(), 0))
                raise
            _raise_failures(tasks)
        done = {file.name for file in missing}
        return Outcome([file.name for file in missing], [file.name for file in files if file.name not in done])

    def _one(self, file: RemoteFile) -> None:
        archive = self.state / file.name
        with self.display.file(file) as shown, new_session() as session:
            largest = CSV_BYTES if file.part == "truth" else LARGEST_BYTES
            wanted = Wanted(file.url, file.md5, size=file.size, largest=largest)
            fetch(session, wanted, archive, self.policy, lambda present, _: shown.received(present), self.stop)
            if file.part == "truth":
                self._refuse_other_than_truth(archive)
                self._truth_path(file).parent.mkdir(parents=True, exist_ok=True)
                archive.replace(self._truth_path(file))
                return
            shown.unpacking()
            work = self.state / "unpacking" / archive.stem
            sizes = extract(archive, file.machine, self._machine_folder(file), work, self.stop)
            self._mark(file, sizes)
            if not self.keep_archives:
                archive.unlink()

    def _refuse_other_than_truth(self, path: Path) -> None:
        try:
            self.check_truth(path)
        except UserError as error:
            path.unlink()
            raise UserError(f"{error}: the server sent something else; fetch the truth file again") from error

    def _machine_folder(self, file: RemoteFile) -> Path:
        return self.root / ("dev_data" if file.part == "dev" else "eval_data") / "raw" / file.machine

    def _truth_path(self, file: RemoteFile) -> Path:
        """Files of single machines lie in the evaluator's folder for them."""
        folder = self.root / "eval_data"
        return (folder / ATTRIBUTES if file.machine else folder) / file.name

    def _marker(self, file: RemoteFile) -> Path:
        return self.state / "unpacked" / f"{file.name}.json"

    def _mark(self, file: RemoteFile, sizes: dict[str, int]) -> None:
        with write_atomically(self._marker(file)) as stream:
            stream.write(json.dumps({"md5": file.md5, "sizes": sizes}).encode())

    def _is_done(self, file: RemoteFile) -> bool:
        if file.part == "truth":
            return self._truth_path(file).exists()
        try:
            done = load_json(self._marker(file))
            return done["md5"] == file.md5 and is_extracted(self._machine_folder(file), done["sizes"])
        except (ForeignFileError, TypeError, KeyError):
            # None yet, or damaged on disk: the archive is unpacked once more, which changes nothing that is right.
            return False

    def _tell(self, message: str) -> None:
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def _tell_of_foreign(self, missing: Sequence[RemoteFile]) -> None:
        """Name folders that were not unpacked by this command; what they lack is known only from the archive."""
        splits = {"dev": "train", "train": "train", "test": "test"}
        foreign = [
            file.machine
            for file in missing
            if file.part != "truth"
            and not self._marker(file).exists()
            and not any(path.exists() for path in self._pieces(file))
            and (self._machine_folder(file) / splits[file.part]).is_dir()
        ]
        if foreign:
            self._tell(
                f"there already, but not unpacked by this command: {', '.join(sorted(set(foreign)))}. Their archives "
                "are fetched to compare and complete them, and nothing is overwritten; --machines and --parts leave "
                "them out"
            )

    def _check_space(self, missing: Sequence[RemoteFile], jobs: int) -> None:
        """Refuse before the first byte: what is still to come packed, and all of it unpacked, must fit."""
        sizes = sorted((file.size or 0 for file in missing), reverse=True)
        present = sum(path.stat().st_size for file in missing for path in self._pieces(file) if path.exists())
        # An archive is removed once unpacked, so only as many as there are workers lie there at a time.
        packed = sum(sizes if self.keep_archives else sizes[:jobs])
        needed = int(sum(sizes) * _UNPACKED_PER_PACKED_BYTE) + max(packed - present, 0)
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise UserError(
                f"too little space in {self.root}: about {decimal(needed)} needed, {decimal(free)} free; "
                "free some, choose another folder with --output, or fewer --machines or --parts"
            )

    def _pieces(self, file: RemoteFile) -> tuple[Path, Path]:
        return self.state / file.name, self.state / f"{file.name}.part"


def _raise_failures(tasks: dict[RemoteFile, AsyncResult[Any]]) -> None:
    messages = []
    for file, task in tasks.items():
        try:
            task.get()
        except (UserError, OSError) as error:
            messages.append(f"{file.name}: {error}")
    if messages:
        complete = len(tasks) - len(messages)
        raise UserError("\n  ".join([f"{len(messages)} files are not complete ({complete} others are):", *messages]))


class _Shown:
    """One file's line in the display."""

    def __init__(self, progress: Progress, overall: TaskID, line: TaskID, file: RemoteFile) -> None:
        self._progress, self._overall, self._line = progress, overall, line
        self._name, self._total = file.name, file.size
        self._bytes = 0

    def received(self, count: int) -> None:
        # Pieces are small; drawing each would cost more than fetching it.
        if 0 <= count - self._bytes < _BYTES_PER_UPDATE and count != self._total:
            return
        self._progress.update(self._line, completed=count)
        self._progress.advance(self._overall, count - self._bytes)
        self._bytes = count

    def unpacking(self) -> None:
        self._progress.update(self._line, description=f"{self._name} (unpacking)")


class _Display:
    """One progress display for everything: a line in all, and one for each file under way."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console)
        self._overall = self._progress.add_task("all files", visible=False)

    @contextmanager
    def running(self, files: Sequence[RemoteFile]) -> Iterator[None]:
        self._progress.update(self._overall, total=sum(file.size or 0 for file in files), visible=bool(files))
        with self._progress:
            yield

    @contextmanager
    def file(self, file: RemoteFile) -> Iterator[_Shown]:
        line = self._progress.add_task(file.name, total=file.size)
        try:
            yield _Shown(self._progress, self._overall, line, file)
        finally:
            self._progress.remove_task(line)
