"""Recordings that clients send: onto the disk as they come, under names of this computer's own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from asd_lightning.plain_text import printable

# Slower than that, in bytes a second after the first seconds, nobody is waited for.
_SLOWEST, _AT_FIRST = 10_000, 15.0
_LONGEST_NAME = 255
# In bytes: a closing boundary ends in two hyphens and a line break.
_LONGEST_END = 8
_OTHERWISE = "recording"
MOST_FILES = 100
"""In one request."""


class Received(NamedTuple):
    """A recording: where it lies for as long as the request lasts, and what the client calls it."""

    path: Path
    name: str


class _Patience:
    """Passes on what a client sends, within a size and a time."""

    def __init__(self, receive: Receive, most_bytes: int) -> None:
        self._receive = receive
        self._most = most_bytes
        self._came = 0
        self._end = b""
        self._began = asyncio.get_running_loop().time()

    async def __call__(self) -> Message:
        """The next part.

        Raises:
            HTTPException: 413 or 408.
        """
        until = self._began + _AT_FIRST + self._came / _SLOWEST
        try:
            async with asyncio.timeout_at(until):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, f"slower than {_SLOWEST // 1000} kB/s; send it again", _CLOSE) from None
        part = message.get("body", b"")
        self._came += len(part)
        self._end = (self._end + part[-_LONGEST_END:])[-_LONGEST_END:]
        if self._came > self._most:
            raise too_large(self._most)
        return message

    def refuse_cut_off(self) -> None:
        """Raise where what has come is no form to its end: parts of it would be missing without a word."""
        if not self._end.rstrip().endswith(b"--"):
            raise HTTPException(400, "the form ends before its closing boundary; send it again, whole")


# What is still to come is not waited for.
_CLOSE = {"Connection": "close"}


def too_large(most_bytes: int) -> HTTPException:
    """What a body of more bytes is answered with."""
    told = f"more than {most_bytes / 1e6:g} MB in one request; send shorter recordings (asd serve --max-megabytes)"
    return HTTPException(413, told, _CLOSE)


async def gone(request: Request) -> None:
    """Return when the client has hung up; what it sends is to have come."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def received(request: Request, most_bytes: int, field: str, most_files: int = 1) -> AsyncIterator[list[Received]]:
    """The recordings of a request, which are removed at the end.

    Args:
        request: whose body is a recording, or a form with files.
        most_bytes: of the whole body.
        field: of the form.
        most_files: in the form.

    Raises:
        HTTPException: 400, 408, 413, 415 or 422, with the reason.
    """
    _refuse_told(request, most_bytes)
    patience = _Patience(request.receive, most_bytes)
    patient = Request(request.scope, patience)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    folder = Path(await run_in_threadpool(tempfile.mkdtemp, prefix="asd_serve_"))
    try:
        if kind == "multipart/form-data":
            yield await _of_form(patient, patience, folder, field, most_files)
        elif most_files > 1:
            raise HTTPException(415, f"multipart/form-data with files in the field {field} is needed")
        else:
            _refuse_other_kind(kind)
            yield [await _of_body(patient, folder)]
    except ClientDisconnect:
        raise HTTPException(400, "the client has gone") from None
    finally:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)


def _refuse_told(request: Request, most_bytes: int) -> None:
    """Refuse by the headers alone; what they say is not relied on."""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > most_bytes:
        raise too_large(most_bytes)
    coding = request.headers.get("content-encoding", "identity")
    if coding.strip().lower() != "identity":
        raise HTTPException(415, f"Content-Encoding {coding:.40}: send the recording as it is")


def _refuse_other_kind(kind: str) -> None:
    if kind and kind != "application/octet-stream" and not kind.startswith("audio/"):
        raise HTTPException(
            415, f"Content-Type {kind:.60}: send audio/wav, audio/flac or multipart/form-data with a field file"
        )


async def _of_body(request: Request, folder: Path) -> Received:
    path = folder / "0"
    file = await run_in_threadpool(path.open, "xb")
    try:
        async for part in request.stream():
            await run_in_threadpool(file.write, part)
    finally:
        await run_in_threadpool(file.close)
    return Received(path, shown_name(request.query_params.get("name", "")))


async def _of_form(request: Request, patience: _Patience, folder: Path, field: str, most_files: int) -> list[Received]:
    async with request.form(max_files=most_files, max_fields=most_files) as form:
        patience.refuse_cut_off()
        files = list(_files(form, field))
        return [await run_in_threadpool(_kept, number, file, folder) for number, file in enumerate(files)]


def _files(form: FormData, field: str) -> Iterator[UploadFile]:
    others = sorted(set(form) - {field})
    if others or field not in form:
        told = f", and nothing else ({others[0]:.40})" if others else ""
        raise HTTPException(422, f"a form with a file in the field {field} is needed{told}: curl -F {field}=@today.wav")
    for file in form.getlist(field):
        if not isinstance(file, UploadFile):
            raise HTTPException(422, f"the field {field} is no file: curl -F {field}=@today.wav")
        yield file


def _kept(number: int, file: UploadFile, folder: Path) -> Received:
    path = folder / str(number)
    with path.open("xb") as kept:
        shutil.copyfileobj(file.file, kept)
    return Received(path, shown_name(file.filename or ""))


def shown_name(given: str) -> str:
    r"""What a recording is called in answers, in the log and in the detector; no file has that name here.

    >>> shown_name("pump/today.wav"), shown_name(".."), shown_name("a\x1b")
    ('pump/today.wav', 'recording', 'a\\x1b')
    """
    name = printable(given.encode("utf-8", "replace").decode())[-_LONGEST_NAME:]
    return name if PurePosixPath(name).name not in ("", "..") else _OTHERWISE
