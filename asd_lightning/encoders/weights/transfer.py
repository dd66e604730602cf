"""A weight file over HTTP, with a progress bar and this room's advice; the transfer itself is that of all downloads."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from asd_lightning.download import transfer
from asd_lightning.download.retry import RetryPolicy, new_session

# Three times the largest published file: training checkpoints hold the optimizer's state too.
LARGEST_BYTES = 8 * 10**9
POLICY = RetryPolicy(tries=4)
_OTHER_WAYS = "give another address with --url, or download the file yourself and run `asd weights import FILE`"
_OTHER_DISK = "free some and run the command again, or set ASD_CACHE to a folder on another disk"


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None,
    size: int | None = None,
    policy: RetryPolicy = POLICY,
    console: Console | None = None,
) -> str:
    """Bring ``url`` to ``destination``; returns the file's sha256 (hex).  See `asd_lightning.download.transfer`.

    Raises:
        UserError: refused or cut by the server, a web page in place of the file, wrong size or checksum, disk full.
    """
    wanted = transfer.Wanted(url, sha256, "sha256", size, LARGEST_BYTES, _OTHER_WAYS, _OTHER_DISK)
    with new_session() as session, _bar(console) as progress:
        task = progress.add_task(destination.name, total=size)

        def report(present: int, total: int | None) -> None:
            progress.update(task, completed=present, total=total)

        return transfer.fetch(session, wanted, destination, policy, report)


def check_space(folder: Path, needed: int) -> None:
    """Raise UserError unless ``needed`` bytes are free where ``folder`` is."""
    transfer.check_space(folder, needed, _OTHER_DISK)


def no_space_is_a_user_error(path: Path) -> AbstractContextManager[None]:
    """Turn a full disk into a UserError that names ``path``."""
    return transfer.no_space_is_a_user_error(path, _OTHER_DISK)


def file_sha256(path: Path, console: Console | None = None) -> str:
    """Hexadecimal sha256 of a file's bytes, with a progress bar."""
    digest = hashlib.sha256()
    with _bar(console) as progress, progress.open(path, "rb", description=f"sha256 of {path.name}") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _bar(console: Console | None) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console or Console(stderr=True))
