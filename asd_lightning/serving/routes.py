"""The paths of the API, and what each takes and answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from threading import Event as Flag
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from asd_lightning import __version__
from asd_lightning.serving import events as journal
from asd_lightning.serving import explained, schemas
from asd_lightning.serving.answers import Answers, pieces_of, told_of, within, without_place
from asd_lightning.serving.bodies import MOST_FILES, Received, gone, received
from asd_lightning.serving.counts import Counts
from asd_lightning.serving.worker import Worker

router = APIRouter()
# Bodies on the disk, and streams of events, at a time.
_MOST_BODIES, _MOST_STREAMS = 32, 16
_AGAIN = {"Retry-After": "5"}
_REASONS = {
    400: "not readable as audio, or not as a form",
    401: "no token, or a wrong one",
    403: "not called so, asked by another site's page, or read-only",
    404: "no such machine, event or sound",
    405: "not with this method",
    408: "the body came too slowly",
    409: "somebody else has written the detector meanwhile, or its file is not what judges now",
    413: "over a limit of bytes, seconds or samples",
    415: "neither audio nor a form",
    422: "a parameter or field that does not fit",
    429: "too many requests; Retry-After tells the seconds",
    431: "the lines before the body are too long",
    500: "the server has failed; its log says why",
    503: "too many requests at a time, the server ends, or the detector's file cannot be read or written now",
    507: "the server's disk is full",
}
_DOOR = (401, 403, 405, 429, 431, 500, 503, 507)
_BODY = (400, 404, 408, 413, 415, 422)
_AUDIO = {"schema": {"type": "string", "format": "binary"}}
Machine = Annotated[
    str | None,
    Query(description="whose; by default the only one, or the one whose name is that of a folder in the file's name"),
]
Name = Annotated[str | None, Query(description="what a raw body is called", max_length=255)]
After = Annotated[str | None, Query(description="id of an event; by default the last ones are told", max_length=300)]


class Service:
    """What the routes share.

    Args:
        answers: of the detector.
        counts: of answers and decisions.

    Attributes:
        scoring: does what is quick.
        slower: explains and accepts, beside it.
        stopping: set when the server ends.
    """

    def __init__(self, answers: Answers, counts: Counts) -> None:
        self.answers = answers
        self.counts = counts
        self.scoring = Worker("scoring")
        self.slower = Worker("explaining")
        self.stopping = Flag()
        self.streams = 0
        self._bodies = 0

    @asynccontextmanager
    async def received(self, request: Request, field: str, most_files: int = 1) -> AsyncIterator[list[Received]]:
        """The recordings of a request, where there is room for them.

        Raises:
            HTTPException: see `asd_lightning.serving.bodies.received`; 503 without room.
        """
        if self._bodies >= _MOST_BODIES:
            raise HTTPException(503, "too many recordings come at a time; come again", _AGAIN)
        self._bodies += 1
        try:
            async with received(request, self.answers.settings.most_bytes, field, most_files) as found:
                yield found
        finally:
            self._bodies -= 1


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": schemas.Error, "description": _REASONS[status]} for status in (*_DOOR, *statuses)}


def _body(field: str, many: bool = False) -> dict[str, Any]:
    binary = _AUDIO["schema"]
    files = {"type": "array", "items": binary, "minItems": 1, "maxItems": MOST_FILES}
    fields = {field: files if many else binary}
    form = {"schema": {"type": "object", "required": [field], "properties": fields, "additionalProperties": False}}
    raw = {} if many else {"audio/wav": _AUDIO, "audio/flac": _AUDIO, "application/octet-stream": _AUDIO}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": form, **raw}}}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


@router.get("/api/v1/health", response_model=schemas.Health, responses=_errors(), tags=["detector"])
async def health(request: Request) -> Response:
    """That the server answers, and with which detector."""
    answers = _service(request).answers
    in_use = await run_in_threadpool(lambda: answers.in_use)
    file = in_use.detector.read_from
    told: dict[str, Any] = {
        "status": "ok",
        "version": __version__,
        "file": answers.current.path.name,
        "note": without_place(in_use.note, answers.current.path),
    }
    told |= {"content_hash": "" if file is None else file.content_hash, "read_only": answers.settings.read_only}
    return JSONResponse(told)


@router.get("/api/v1/info", response_model=schemas.Info, responses=_errors(409), tags=["detector"])
async def info(request: Request) -> Response:
    """What the detector's file holds, and every change: `asd info --json`."""
    service = _service(request)
    return JSONResponse(await service.slower.run(service.answers.info))


@router.post(
    "/api/v1/score",
    response_model=schemas.Judgment,
    responses=_errors(*_BODY),
    openapi_extra=_body("file"),
    tags=["recordings"],
)
async def score(request: Request, machine: Machine = None, name: Name = None) -> Response:
    """Judge a recording, WAV or FLAC, as `asd score --json` does."""
    service = _service(request)
    async with service.received(request, "file") as found:
        told = await service.scoring.run_for(gone(request), partial(service.answers.score, found[0], machine))
    service.counts.decided(told["decision"])
    return JSONResponse(told)


@router.post(
    "/api/v1/batch",
    response_model=list[schemas.Judgment | schemas.Unread],
    responses=_errors(*_BODY),
    openapi_extra=_body("files", many=True),
    tags=["recordings"],
)
async def batch(request: Request, machine: Machine = None) -> Response:
    """Judge several recordings together, in their order; one that cannot be read has an `error`."""
    service = _service(request)
    async with service.received(request, "files", MOST_FILES) as found:
        told = await service.scoring.run_for(gone(request), partial(service.answers.batch, found, machine))
    for one in told:
        service.counts.decided(one.get("decision", "unreadable"))
    return JSONResponse(told)


@router.post(
    "/api/v1/explain",
    response_model=schemas.Explanation,
    responses=_errors(*_BODY),
    openapi_extra=_body("file"),
    tags=["recordings"],
)
async def explain(request: Request, machine: Machine = None, name: Name = None) -> Response:
    """Why a recording is judged as it is: what of it is unlike normal sound."""
    service = _service(request)
    async with service.received(request, "file") as found:
        told = await service.slower.run_for(gone(request), partial(_explained, service.answers, found[0], machine))
    return JSONResponse(told)


def _explained(answers: Answers, one: Received, machine: str | None) -> dict[str, Any]:
    within(answers.settings, [one])
    detector = answers.detector
    with told_of(answers.settings.detector, 503):
        return explained.explanation(detector, pieces_of(detector, one, machine))


@router.get(
    "/api/v1/sound/{sound_id}",
    response_class=Response,
    responses={
        200: {"content": {"audio/wav": _AUDIO}, "description": "a WAV file"},
        **_errors(404, 422),
    },
    tags=["recordings"],
)
async def sound(request: Request, sound_id: Annotated[str, Path(max_length=40)]) -> Response:
    """An excerpt of normal sound that the detector keeps."""
    answers = _service(request).answers
    content = await run_in_threadpool(_sound, answers, sound_id)
    return Response(content, media_type="audio/wav")


def _sound(answers: Answers, sound_id: str) -> bytes:
    with told_of(answers.settings.detector, 503):
        return explained.sound(answers.detector, sound_id)


@router.post(
    "/api/v1/accept",
    response_model=schemas.Accepted,
    responses=_errors(*_BODY, 409),
    openapi_extra=_body("file"),
    tags=["detector"],
)
async def accept(request: Request, machine: Machine = None, name: Name = None) -> Response:
    """Take a recording into the detector's file as normal sound, as `asd accept` does: whole or not at all."""
    service = _service(request)
    async with service.received(request, "file") as found:
        told = await service.slower.run_for(gone(request), partial(service.answers.accept, found[0], machine))
    return JSONResponse(told)


@router.get("/api/v1/events", response_model=list[schemas.Event], responses=_errors(404, 422), tags=["events"])
async def events(request: Request, after: After = None, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> Response:
    """Events of the journal of a running `asd watch`, newest last."""
    path = _service(request).answers.settings.watched
    return JSONResponse(await run_in_threadpool(journal.events, path, after, limit))


@router.get(
    "/api/v1/events/stream",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "server-sent events"},
        **_errors(404, 422),
    },
    tags=["events"],
)
async def events_stream(request: Request, after: After = None) -> Response:
    """The same as server-sent events, from now on or from an event on (`after`, or `Last-Event-ID`)."""
    service = _service(request)
    path = service.answers.settings.watched
    known = after or request.headers.get("last-event-id") or None
    row = await run_in_threadpool(journal.newest, path, known)
    # Nobody else's turn comes between this and taking the place.
    if service.streams >= _MOST_STREAMS:
        raise HTTPException(503, "too many streams of events at a time; ask /api/v1/events", _AGAIN)
    return _Stream(service, row)


class _Stream(StreamingResponse):
    """Holds one of the places until it ends, also where the client has gone before its beginning."""

    def __init__(self, service: Service, row: int) -> None:
        # Proxies pass it on as it comes.
        at_once = {"X-Accel-Buffering": "no"}
        parts = journal.stream(service.answers.settings.watched, row, service.stopping)
        super().__init__(parts, media_type="text/event-stream", headers=at_once)
        self._service = service
        service.streams += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._service.streams -= 1


@router.get("/metrics", response_class=PlainTextResponse, responses=_errors(), tags=["server"])
async def metrics(request: Request) -> Response:
    """Counts for Prometheus."""
    return PlainTextResponse(_service(request).counts.as_text(), media_type="text/plain; version=0.0.4; charset=utf-8")
