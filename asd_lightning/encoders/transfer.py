"""One weight file over HTTP: resumed where it stopped, taken only when its checksum is right."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from asd_lightning.data.download.retry import (
    TIMEOUT_SECONDS,
    PassingError,
    RetryPolicy,
    check_status,
    new_session,
    passing_or_final,
)
from asd_lightning.encoders.unpickling import looks_like_web_page
from asd_lightning.errors import UserError

CHUNK_BYTES = 1 << 16  # also what a broken connection loses at most
POLICY = RetryPolicy(tries=4)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_OTHER_WAYS = "give another address with --url, or download the file yourself and run `asd weights import FILE`"


def download(
    url: str,
    destination: Path,
    *,
    sha256: str | None,
    size: int | None = None,
    policy: RetryPolicy = POLICY,
    console: Console | None = None,
) -> str:
    """Bring ``url`` to ``destination``; returns the file's sha256 (hex).

    Bytes gather in ``<destination>.part``.  A later call continues that part where ``sha256`` is known, which then
    proves that both halves are of one file, and begins again otherwise.  ``destination`` appears by renaming.

    Raises:
        UserError: refused or cut by the server, a web page in place of the file, wrong size or checksum, disk full.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    if sha256 is None:
        part.unlink(missing_ok=True)
    with new_session() as session, _bar(console) as progress:
        task = progress.add_task(destination.name, total=size)
        _complete(session, url, part, size, policy, progress, task)
    digest = file_sha256(part, console=console)
    if sha256 not in (None, digest):
        part.unlink()
        raise UserError(
            f"the checksum of {url} is wrong: sha256 {digest}, expected {sha256}. The download was deleted; "
            f"run the command again, or {_OTHER_WAYS}"
        )
    part.replace(destination)
    return digest


def check_space(folder: Path, needed: int) -> None:
    """Raise UserError unless ``needed`` bytes are free where ``folder`` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"no space left in {folder}: {needed / 1e6:.0f} MB are needed and {free / 1e6:.0f} MB are free. "
            "Free some, or set ASD_CACHE to a folder on another disk"
        )


def file_sha256(path: Path, console: Console | None = None) -> str:
    """Hexadecimal sha256 of a file's bytes, with a progress bar."""
    digest = hashlib.sha256()
    with _bar(console) as progress, progress.open(path, "rb", description=f"sha256 of {path.name}") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def no_space_is_a_user_error(path: Path) -> Iterator[None]:
    """Turn a full disk into a UserError that names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise UserError(
                f"no space left for {path}. Free some and run the command again, "
                "or set ASD_CACHE to a folder on another disk"
            ) from error
        raise


def _bar(console: Console | None) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console or Console(stderr=True))


def _complete(
    session: requests.Session,
    url: str,
    part: Path,
    size: int | None,
    policy: RetryPolicy,
    progress: Progress,
    task: TaskID,
) -> None:
    """Transfer until whole; tries are counted afresh whenever a try brought something."""
    failures = 0
    while True:
        before = _length(part)
        try:
            _transfer_once(session, url, part, size, progress, task)
            return
        except PassingError as fault:
            failures = 1 if _length(part) > before else failures + 1
            policy.pause(fault, failures)


def _transfer_once(
    session: requests.Session, url: str, part: Path, size: int | None, progress: Progress, task: TaskID
) -> None:
    offset = _length(part)
    if size is not None and offset == size:
        progress.update(task, completed=offset)
        return
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if _is_already_whole(response, offset):
                return
            start, total = _placement(response, offset, part)
            if size is not None and total not in (None, size):
                raise UserError(
                    f"{response.url} has {total} bytes, not the published {size}: it is another file; {_OTHER_WAYS}"
                )
            check_space(part.parent, (total or 0) - start)
            progress.update(task, total=total or size, completed=start)
            _append(response, part, start, progress, task)
    except requests.exceptions.RequestException as error:
        raise passing_or_final(error, url) from error
    if total is not None and _length(part) < total:
        raise PassingError(f"{url} ended after {_length(part)} of {total} bytes")


def _is_already_whole(response: requests.Response, offset: int) -> bool:
    """An interrupted run may have received all and verified nothing: the server then has no range to give."""
    unsatisfiable = response.status_code == requests.codes.requested_range_not_satisfiable
    return unsatisfiable and response.headers.get("Content-Range") == f"bytes */{offset}"


def _placement(response: requests.Response, offset: int, part: Path) -> tuple[int, int | None]:
    """Where the answer's first byte belongs, and the whole file's length where the server says it.

    The first is ``offset``, or 0 from a server that ignores ranges.
    """
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        part.unlink()
        raise PassingError(f"{response.url} has no byte {offset}; beginning again")
    try:
        check_status(response)
    except UserError as error:
        raise UserError(f"{response.url} answered {response.status_code} {response.reason}: {_OTHER_WAYS}") from error
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise UserError(f"{response.url} answered with a web page, not with a file: {_OTHER_WAYS}")
    if response.status_code != requests.codes.partial_content:
        length = response.headers.get("Content-Length")
        return 0, int(length) if length else None
    content_range = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
    if match is None or int(match[1]) != offset:
        part.unlink(missing_ok=True)
        raise PassingError(f"{response.url} sent the range {content_range!r} where byte {offset} was asked for")
    return offset, None if match[2] == "*" else int(match[2])


def _append(response: requests.Response, part: Path, start: int, progress: Progress, task: TaskID) -> None:
    with no_space_is_a_user_error(part), part.open("r+b" if part.exists() else "wb") as stream:
        stream.seek(start)
        stream.truncate()
        for chunk in response.iter_content(CHUNK_BYTES):
            if stream.tell() == 0 and looks_like_web_page(chunk):
                raise UserError(f"{response.url} answered with a web page, not with a file: {_OTHER_WAYS}")
            stream.write(chunk)
            progress.update(task, completed=stream.tell())


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
