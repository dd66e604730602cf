"""The server: an address, and a process that ends in seconds when it is told to."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from asd_lightning.errors import UserError
from asd_lightning.serving.app import make_app
from asd_lightning.serving.guard import LONGEST_HEAD, SECURITY_HEADERS, Guard, error_answer
from asd_lightning.serving.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)
# In s: between requests; for the lines before a body; for answers under way when the server ends.
_KEEP_ALIVE, _HEAD, _GRACE = 5, 10.0, 5
_MOST_CONNECTIONS = 256
_LAST = SECURITY_HEADERS | {"Connection": "close"}


class _Impatient(H11Protocol):
    """Hangs up on who does not say within some seconds what is wanted, which uvicorn would wait for.

    What uvicorn itself refuses it would tell in plain text: that is told like all errors, too.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count the seconds."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            told = "too many connections at a time; come again"
            self.app = error_answer(503, told, _LAST | {"Retry-After": "5"})
        self._last_seen = self.cycle
        self._look = self.loop.call_later(_HEAD, self._look_again)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count no more."""
        self._look.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless an answer is on its way already, and hang up."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            told = f"{msg} One has a Host, whole chunks, and {LONGEST_HEAD // 1024} kB at most before its body"
            answer = error_answer(400, told, _LAST)
            head = h11.Response(status_code=400, reason=b"Bad Request", headers=answer.raw_headers)
            for part in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(part) or b"")
        self.transport.close()

    def _look_again(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.cycle is self._last_seen:
            self.transport.close()
            return
        self._last_seen = self.cycle
        self._look = self.loop.call_later(_HEAD, self._look_again)


class _Server(uvicorn.Server):
    """Ends streams of events too when it is told to end."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        self._app.state.service.stopping.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End; what is not answered in time is cut off, and told so."""
        ending = asyncio.get_running_loop().call_later(_GRACE, self._cut_off)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    def _cut_off(self) -> None:
        for task in self.server_state.tasks:
            task.cancel()


def run_server(settings: Settings) -> None:
    """Serve until the process is told to end (Ctrl-C, SIGTERM).

    Args:
        settings: of the server.

    Raises:
        UserError: not a detector, or an address that is not to be had.
    """
    guard = make_app(settings)
    # It tells of every form that is none; whoever has sent it is answered.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    with _bound(settings) as listener:
        logger.warning("%s: http://%s/ (end with Ctrl-C)", settings.detector, _address(listener))
        server = _Server(_config(guard), guard.app)  # type: ignore[arg-type]
        with _quiet_end():
            server.run(sockets=[listener])


def _config(guard: Guard) -> uvicorn.Config:
    return uvicorn.Config(
        guard,
        http=_Impatient,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        # Who sends X-Forwarded-For could be anybody.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        # Should be over by then.
        timeout_graceful_shutdown=2 * _GRACE,
        h11_max_incomplete_event_size=LONGEST_HEAD,
    )


def _bound(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise UserError(
            f"{settings.host}, port {settings.port}: not to be had ({_why(error)}); give another with --host and --port"
        ) from error
    # asyncio sends at once where it knows that it is TCP; else an answer's body waits 40 ms for its head's receipt.
    return socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=listener.detach())


def _why(error: OSError) -> str:
    """Without the address, which asyncio's relative appends once more."""
    return (error.strerror or str(error)).partition(" (while")[0]


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _quiet_end() -> Iterator[None]:
    """A service manager ends a program by SIGTERM, which uvicorn sends itself once more at the end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    except KeyboardInterrupt:
        logger.warning("ended")
    finally:
        signal.signal(signal.SIGTERM, before)
