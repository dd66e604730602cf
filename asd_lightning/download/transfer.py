"""One file over HTTP: resumed where it stopped, taken only when its size and checksum are right.

Own code because pooch begins again at byte 0 after an interruption.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import requests
from rich.filesize import decimal

from asd_lightning.atomic import open_unlinked
from asd_lightning.download.retry import (
    TIMEOUT_SECONDS,
    PassingError,
    RetryPolicy,
    SlowError,
    check_status,
    passing_or_final,
    pieces,
    refuse_downgrade,
)
from asd_lightning.errors import UserError

# The largest archive of any year has 2 GB.
LARGEST_BYTES = 20 * 10**9
# How often the disk is looked at on the way, and what stays free where nobody has said how much will come.
_BYTES_PER_LOOK = 1 << 24
_SPARE_BYTES = 1 << 28
_WRONG_CHECKSUMS_ALLOWED = 2  # a second whole transfer tells a bad line from a bad file
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class StoppedError(Exception):
    """The person asked to stop; what has arrived stays on disk."""


@dataclass(frozen=True)
class Wanted:
    """A file to bring, and how it is told from another.

    Attributes:
        url: its address.
        digest: published checksum of its bytes, hexadecimal; ``None`` where nobody has published one.
        algorithm: of the checksum.
        size: published length in bytes, or ``None``.
        largest: what is taken at most where no length is published.
        advice: what else a person can do when it cannot be had from there.
        space_advice: what a person can do when the disk is too small.
    """

    url: str
    digest: str | None = None
    algorithm: Literal["md5", "sha256"] = "md5"
    size: int | None = None
    largest: int = LARGEST_BYTES
    advice: str = "check the address, or name another server with --mirror"
    space_advice: str = "free some and run the command again"


def fetch(
    session: requests.Session,
    wanted: Wanted,
    destination: Path,
    policy: RetryPolicy,
    report: Callable[[int, int | None], None] = lambda present, total: None,
    stop: threading.Event | None = None,
) -> str:
    """Bring ``wanted`` to ``destination``; returns its checksum.

    Bytes gather in ``<destination>.part``; ``destination`` appears by renaming, once size and checksum agree.  A later
    call continues that part, or takes what is at ``destination`` already, where a published checksum vouches for it;
    else it begins again.  ``report`` receives the number of bytes present so far (it may fall, when a transfer has to
    begin again) and the whole length, once that is known.

    Raises:
        UserError: refused by the server, a web page or another file in its place, out of tries, checksum wrong twice,
            or disk full.
        StoppedError: ``stop`` was set.
    """
    stop = stop or threading.Event()
    if destination.exists() and wanted.digest is not None and _is_right(destination, wanted):
        size = destination.stat().st_size
        report(size, size)
        return wanted.digest
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    if wanted.digest is None or part.is_symlink():
        part.unlink(missing_ok=True)
    for _ in range(_WRONG_CHECKSUMS_ALLOWED):
        _complete(session, wanted, part, policy, report, stop)
        digest = file_digest(part, wanted.algorithm)
        if wanted.digest in (None, digest):
            part.replace(destination)
            return digest
        part.unlink()
        report(0, wanted.size)
    raise UserError(
        f"the checksum of {wanted.url} is wrong: {wanted.algorithm} {digest}, expected {wanted.digest}, also at a "
        f"second try: it is damaged there, or another file; {wanted.advice}"
    )


def file_digest(path: Path, algorithm: Literal["md5", "sha256"]) -> str:
    """Hexadecimal checksum of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def check_space(folder: Path, needed: int, advice: str) -> None:
    """Raise UserError unless ``needed`` bytes are free where ``folder`` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"no space left in {folder}: {decimal(needed)} are needed and {decimal(free)} are free: {advice}"
        )


@contextmanager
def no_space_is_a_user_error(path: Path, advice: str) -> Iterator[None]:
    """Turn a full disk into a UserError that names ``path``."""
    try:
        yield
    except OSError as error:
        # requests' own exceptions are OSErrors too, without a number.
        if error.errno in _NO_SPACE:
            raise UserError(f"no space left for {path}: {advice}") from error
        raise


def looks_like_web_page(head: bytes) -> bool:
    """Whether the first bytes of a file are HTML or XML."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower() in (b"<!doc", b"<html", b"<head", b"<?xml")


def _complete(
    session: requests.Session,
    wanted: Wanted,
    part: Path,
    policy: RetryPolicy,
    report: Callable[[int, int | None], None],
    stop: threading.Event,
) -> None:
    """Continue ``part`` until it is whole; tries are counted afresh whenever it has grown beyond its best."""
    failures, best = 0, _size(part)
    while True:
        if stop.is_set():
            raise StoppedError
        try:
            _transfer_once(session, wanted, part, policy, report, stop)
            return
        except PassingError as fault:
            # Without this a slow answer, which always brings a little more, would be tried again without end.
            is_new = _size(part) > best and not isinstance(fault, SlowError)
            failures = 1 if is_new else failures + 1
            best = max(best, _size(part))
            policy.pause(fault, failures)


def _transfer_once(
    session: requests.Session,
    wanted: Wanted,
    part: Path,
    policy: RetryPolicy,
    report: Callable[[int, int | None], None],
    stop: threading.Event,
) -> None:
    if wanted.size is not None and _size(part) > wanted.size:
        part.unlink()
    offset = _size(part)
    report(offset, wanted.size)
    if wanted.size is not None and offset == wanted.size:
        return
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with session.get(wanted.url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            refuse_downgrade(wanted.url, response.url, wanted.advice)
            if _is_already_whole(response, offset):
                return
            start, total = _placement(response, offset, wanted, part)
            check_space(part.parent, (total or 0) - start, wanted.space_advice)
            _append(pieces(response, policy), wanted, part, start, total, lambda now: report(now, total), stop)
    except requests.exceptions.RequestException as error:
        raise passing_or_final(error, wanted.url) from error
    if total is not None and _size(part) < total:
        raise PassingError(f"{wanted.url} ended after {_size(part)} of {total} bytes")


def _is_already_whole(response: requests.Response, offset: int) -> bool:
    """An interrupted run may have received all and verified nothing: the server then has no range to give."""
    unsatisfiable = response.status_code == requests.codes.requested_range_not_satisfiable
    return unsatisfiable and response.headers.get("Content-Range") == f"bytes */{offset}"


def _placement(response: requests.Response, offset: int, wanted: Wanted, part: Path) -> tuple[int, int | None]:
    """Where the answer's first byte belongs, and the whole file's length as far as it is known.

    The first is ``offset``, or 0 from a server that ignores ranges.
    """
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        part.unlink(missing_ok=True)
        raise PassingError(f"{response.url} refused to continue at byte {offset}")
    check_status(response, wanted.advice)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise _web_page(wanted)
    if response.status_code == requests.codes.partial_content:
        total = _total_of_range(response, offset, wanted, part)
        _refuse_too_large(response, total, wanted)
        return offset, total
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else wanted.size
    if wanted.size is not None and total != wanted.size:
        raise UserError(
            f"{response.url} has {total} bytes, not the published {wanted.size}: it is another file; {wanted.advice}"
        )
    _refuse_too_large(response, total, wanted)
    return 0, total


def _refuse_too_large(response: requests.Response, total: int | None, wanted: Wanted) -> None:
    if wanted.size is None and (total or 0) > wanted.largest:
        raise UserError(
            f"{response.url} has {decimal(total or 0)}, more than the {decimal(wanted.largest)} that are taken without "
            f"a published length; {wanted.advice}"
        )


def _total_of_range(response: requests.Response, offset: int, wanted: Wanted, part: Path) -> int | None:
    """The whole file's length; a range that does not continue ``part`` costs what is there of it."""
    content_range = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
    total = wanted.size if match is None or match[2] == "*" else int(match[2])
    if match is None or int(match[1]) != offset or (wanted.size is not None and total != wanted.size):
        part.unlink(missing_ok=True)
        raise PassingError(f"{response.url} sent the range {content_range!r} where byte {offset} was asked for")
    return total


def _append(
    arriving: Iterator[bytes],
    wanted: Wanted,
    part: Path,
    start: int,
    total: int | None,
    report: Callable[[int], None],
    stop: threading.Event,
) -> None:
    advice = f"what has arrived is kept: {wanted.space_advice}"
    with no_space_is_a_user_error(part, advice), open_unlinked(part, "r+b" if part.exists() else "wb") as stream:
        stream.seek(start)
        stream.truncate()
        report(start)
        _copy(arriving, wanted, stream, total, report, stop)


def _copy(
    arriving: Iterator[bytes],
    wanted: Wanted,
    stream: BinaryIO,
    total: int | None,
    report: Callable[[int], None],
    stop: threading.Event,
) -> None:
    most, looked_at = wanted.largest if total is None else total, stream.tell()
    for piece in arriving:
        if stop.is_set():
            raise StoppedError
        if stream.tell() == 0 and looks_like_web_page(piece):
            raise _web_page(wanted)
        if stream.tell() + len(piece) > most:
            # Not to be gone on with, and an endless answer would fill the disk.
            stream.truncate(0)
            raise UserError(f"{wanted.url} sent more than the {most} bytes it should have: {wanted.advice}")
        stream.write(piece)
        report(stream.tell())
        if stream.tell() - looked_at >= _BYTES_PER_LOOK:
            looked_at = stream.tell()
            # Others write to the disk too, and an answer without a length would go on until it is full.
            needed = _SPARE_BYTES if total is None else total - looked_at
            check_space(Path(stream.name).parent, needed, f"what has arrived is kept: {wanted.space_advice}")


def _web_page(wanted: Wanted) -> UserError:
    return UserError(f"{wanted.url} answered with a web page, not with a file: {wanted.advice}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_right(path: Path, wanted: Wanted) -> bool:
    same_size = wanted.size in (None, path.stat().st_size)
    return same_size and file_digest(path, wanted.algorithm) == wanted.digest
