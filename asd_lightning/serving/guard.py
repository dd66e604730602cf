"""Who is let in, and what every answer carries: around the application, so that no answer is without it."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import math
from time import monotonic
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asd_lightning.serving.counts import Counts
from asd_lightning.serving.files import PATHS
from asd_lightning.serving.rate import Rate
from asd_lightning.serving.settings import Settings

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# What says nothing of the detector: the page asks for the token, and the document tells how to.
_OPEN = (*PATHS, "/openapi.json")
_READING = ("GET", "HEAD", "OPTIONS")
_CLOSE = {"Connection": "close"}
LONGEST_HEAD = 32 * 1024
"""In bytes: the lines before a body."""


class Guard:
    """The application, of which the door is watched.

    In this order: too many requests (429), too long a head (431), another name of the host than the server is called
    by, as DNS rebinding has it (403), a request that another site's page makes (403), no token or a wrong one (401).

    Args:
        app: behind the door.
        settings: of the server.
        counts: of the answers.
    """

    def __init__(self, app: ASGIApp, settings: Settings, counts: Counts) -> None:
        self.app = app
        self._settings = settings
        self._counts = counts
        self._rate = Rate(settings.requests_a_minute)
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.allow_host)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in, or refuse."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = monotonic()
        status: int | None = None

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        try:
            answer = self._refused(scope) or self.app
            await answer(scope, receive, with_headers)
        except asyncio.CancelledError:
            # The server ends, and has waited for long enough.
            if status is None:
                await error_answer(503, "the server ends; ask again later", _CLOSE)(scope, receive, with_headers)
        finally:
            self._counts.answered(scope["path"], status or 500, monotonic() - began)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        client = scope.get("client") or ("",)
        if wait := self._rate.wait(client[0]):
            return error_answer(429, "too many requests; come again later", {"Retry-After": f"{math.ceil(wait)}"})
        if _length(scope) > LONGEST_HEAD:
            return error_answer(431, f"more than {LONGEST_HEAD // 1024} kB before the body", _CLOSE)
        if not self._is_ours(headers.get("host", "")):
            return error_answer(403, "the server is not called so; name it to asd serve with --allow-host")
        # A link elsewhere may lead to the page; its parts and what it asks for are no other page's.
        linked = scope["path"] in _OPEN and scope["method"] in _READING
        if not linked and _is_of_another_site(headers):
            return error_answer(403, "a page of another site asks; only the server's own page may")
        if scope["path"] not in _OPEN and not self._bears_token(headers):
            return error_answer(401, "the token is needed: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return None

    def _is_ours(self, host: str) -> bool:
        """A page that rebinds a name sends that name; an address is nobody's to rebind."""
        name = _name_of(host)
        return name in self._names or _is_address(name)

    def _bears_token(self, headers: Headers) -> bool:
        if not self._settings.token:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(given.strip().encode(), self._settings.token.encode())
        return same and scheme.lower() == "bearer"


def _length(scope: Scope) -> int:
    """Of what came before the body, in bytes."""
    lines = sum(len(name) + len(value) for name, value in scope["headers"])
    return lines + len(scope["path"]) + len(scope["query_string"])


def _is_of_another_site(headers: Headers) -> bool:
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = headers.get("origin")
    return origin is not None and _place(origin) != headers.get("host", "").lower()


def _place(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name_of(host: str) -> str:
    """The name in a ``Host`` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def error_answer(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """What is wrong, in the one form that all errors have."""
    return JSONResponse({"error": reason}, status, headers)
