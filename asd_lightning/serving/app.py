"""The application: routes, the page's files, and what is wrong told in one way."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import Request

from asd_lightning import __version__
from asd_lightning.atomic import full_disk
from asd_lightning.errors import UserError
from asd_lightning.serving.answers import Answers, without_place
from asd_lightning.serving.counts import Counts
from asd_lightning.serving.files import PATHS, page_file
from asd_lightning.serving.guard import Guard
from asd_lightning.serving.routes import Service, router
from asd_lightning.serving.settings import Settings

logger = logging.getLogger(__name__)


def make_app(settings: Settings) -> Guard:
    """The application behind its door.

    Args:
        settings: of the server.

    Raises:
        UserError: not a detector, or one whose embedder cannot be built here.
    """
    counts = Counts()
    # The documentation pages of FastAPI load scripts from the network.
    # Behind a proxy a redirection to a path without its last slash would lead from https to http, and the token too.
    app = FastAPI(title="asd serve", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.service = Service(Answers(settings), counts)
    app.include_router(router)
    for path in PATHS:
        app.add_api_route(path, _file, include_in_schema=False)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return Guard(app, settings, counts)


def _file(request: Request) -> Response:
    content, kind = page_file(request.url.path)
    return Response(content, media_type=kind)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    told = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
    return JSONResponse({"error": told}, 422)


async def _users_mistake(request: Request, error: Exception) -> Response:
    told = without_place(str(error), request.app.state.service.answers.settings.detector)
    return JSONResponse({"error": told}, 422)


async def _broken(request: Request, error: Exception) -> Response:
    if (told := full_disk(error)) is not None:
        logger.error("%s", told)
        return JSONResponse({"error": "the server's disk is full"}, 507)
    return JSONResponse({"error": "the server has failed; its log says why"}, 500)


_ANSWERS = {
    HTTPException: _refused,
    RequestValidationError: _invalid,
    UserError: _users_mistake,
    Exception: _broken,
}
