"""One file over HTTP: resumed where it stopped, taken only when size and md5 are right.

Own code because pooch begins again at byte 0 after an interruption.
"""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import requests

from asd_lightning.data.download.records import RemoteFile
from asd_lightning.data.download.retry import (
    TIMEOUT_SECONDS,
    PassingError,
    RetryPolicy,
    check_status,
    passing_or_final,
)
from asd_lightning.errors import UserError

# What a broken connection loses at most: a piece is handed over only when it is complete.
CHUNK_BYTES = 1 << 14
_WRONG_CHECKSUMS_ALLOWED = 2  # a second whole transfer tells a bad line from a bad file


class StoppedError(Exception):
    """The person asked to stop; what has arrived stays on disk."""


def fetch(
    session: requests.Session,
    remote: RemoteFile,
    destination: Path,
    policy: RetryPolicy,
    report: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """Bring ``remote`` to ``destination``.

    Bytes gather in ``<destination>.part``, which a later call continues; ``destination`` appears by renaming, once the
    size and the md5 agree. ``report`` receives the number of bytes present so far (it may fall, when a transfer has to
    begin again).

    Raises:
        UserError: refused by the server, out of tries, checksum wrong twice, or disk full.
        StoppedError: ``stop`` was set.
    """
    # Without a published md5 nothing can vouch for a file of an earlier call.
    if destination.exists() and remote.md5 is not None and _is_whole(destination, remote):
        report(destination.stat().st_size)
        return
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    for _ in range(_WRONG_CHECKSUMS_ALLOWED):
        _complete(session, remote, part, policy, report, stop)
        if _is_whole(part, remote):
            part.replace(destination)
            return
        part.unlink()
        report(0)
    raise UserError(
        f"{remote.name}: the checksum of {remote.url} is wrong twice in a row (expected md5 {remote.md5}); "
        "the server's copy or the file list is damaged: try another server with --mirror, or a fresh file list"
    )


def _complete(
    session: requests.Session,
    remote: RemoteFile,
    part: Path,
    policy: RetryPolicy,
    report: Callable[[int], None],
    stop: threading.Event,
) -> None:
    """Continue ``part`` until it has its full size; tries are counted afresh whenever it has grown beyond its best."""
    failures, best = 0, _size(part)
    while True:
        if stop.is_set():
            raise StoppedError
        try:
            _transfer_once(session, remote, part, report, stop)
            return
        except PassingError as fault:
            failures = 1 if _size(part) > best else failures + 1
            best = max(best, _size(part))
            policy.pause(fault, failures)


def _transfer_once(
    session: requests.Session, remote: RemoteFile, part: Path, report: Callable[[int], None], stop: threading.Event
) -> None:
    offset = _resume_offset(part, remote)
    report(offset)
    if remote.size is not None and offset == remote.size:
        return
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with session.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            _refuse_downgrade(remote.url, response.url)
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink(missing_ok=True)
                raise PassingError(f"{response.url} refused to continue at byte {offset}")
            check_status(response)
            start = _start_of(response, offset, remote, part)
            _append(response, part, start, report, stop)
    except requests.exceptions.RequestException as error:
        raise passing_or_final(error, remote.url) from error
    if remote.size is not None and _size(part) < remote.size:
        raise PassingError(f"{remote.url} ended after {_size(part)} of {remote.size} bytes")


def _resume_offset(part: Path, remote: RemoteFile) -> int:
    """First byte still missing; a part that is too long, or whose full size is unknown, is begun again."""
    offset = _size(part)
    if offset and (remote.size is None or offset > remote.size):
        part.unlink()
        return 0
    return offset


def _start_of(response: requests.Response, offset: int, remote: RemoteFile, part: Path) -> int:
    """Where the answer's first byte belongs: ``offset``, or 0 from a server that ignores ranges."""
    if response.status_code != requests.codes.partial_content:
        return 0
    expected = f"bytes {offset}-"
    content_range = response.headers.get("Content-Range", "")
    if not content_range.startswith(expected) or content_range.rpartition("/")[2] not in ("*", str(remote.size)):
        part.unlink(missing_ok=True)
        raise PassingError(f"{response.url} sent the range {content_range!r} instead of {expected}/{remote.size}")
    return offset


def _append(
    response: requests.Response, part: Path, start: int, report: Callable[[int], None], stop: threading.Event
) -> None:
    try:
        with part.open("r+b" if part.exists() else "wb") as stream:
            stream.seek(start)
            stream.truncate()
            _copy(response, stream, report, stop)
    except OSError as error:
        # requests' own exceptions are OSErrors too, without a number.
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left for {part}: {_size(part)} bytes are kept: free some and run the command again"
            ) from error
        raise


def _copy(response: requests.Response, stream: BinaryIO, report: Callable[[int], None], stop: threading.Event) -> None:
    for chunk in response.iter_content(CHUNK_BYTES):
        if stop.is_set():
            raise StoppedError
        stream.write(chunk)
        report(stream.tell())


def _refuse_downgrade(asked: str, answered: str) -> None:
    if asked.startswith("https://") and not answered.startswith("https://"):
        raise UserError(f"{asked} redirects to the unencrypted {answered}: refused; name a server with --mirror")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_whole(path: Path, remote: RemoteFile) -> bool:
    if remote.size is not None and path.stat().st_size != remote.size:
        return False
    return remote.md5 is None or file_md5(path) == remote.md5


def file_md5(path: Path) -> str:
    """Hexadecimal md5 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
