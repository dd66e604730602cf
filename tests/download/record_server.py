"""A local server that imitates Zenodo's record API and misbehaves on request."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Fault:
    """What goes wrong with one answer: a status instead of the file, a cut after some bytes, or other content.

    ``length`` stands in the place of the true Content-Length; with "" there is none, and the end of the connection is
    the end of the file.  With ``pause_seconds`` the content goes out byte by byte, with a pause after each.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    send_until: int | None = None
    content: bytes | None = None
    length: str | None = None
    pause_seconds: float = 0.0


@dataclass
class Request:
    path: str
    start: int
    number: int  # of this path's requests, from 0
    user_agent: str = ""


@dataclass
class RecordServer:
    """``files`` by path below the server; ``fault`` decides what happens to each request."""

    files: dict[str, bytes] = field(default_factory=dict)
    fault: Callable[[Request], Fault | None] = lambda _: None
    ranges: bool = True
    requests: list[Request] = field(default_factory=list)
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)  # of every answer
    gate: threading.Event | None = None  # where there is one, files stop in the middle until it is set

    def add_record(self, record: int, archives: dict[str, bytes]) -> None:
        """Publish a record in Zenodo's own form, with links that name the original server."""
        entries = []
        for name, content in archives.items():
            path = f"/api/records/{record}/files/{name}/content"
            self.files[path] = content
            entries.append(entry(name, content, f"https://zenodo.org{path}"))
        self.files[f"/api/records/{record}"] = json.dumps({"id": record, "files": entries}).encode()

    def starts(self, name: str) -> list[int]:
        """First byte asked for in each request for a file of that name."""
        return [request.start for request in self.requests if name in request.path]


def entry(name: str, content: bytes, url: str) -> dict[str, Any]:
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"id": "0", "key": name, "size": len(content), "checksum": f"md5:{md5}", "links": {"self": url}}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, server: RecordServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.records = server

    def handle_error(self, *_: object) -> None:
        """Silent: a client that goes away in the middle is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # header and body in one piece: else each answer waits for a delayed acknowledgement
    server: _Http

    def do_GET(self) -> None:
        records = self.server.records
        path = urlsplit(self.path).path
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        number = sum(request.path == path for request in records.requests)
        request = Request(path, start, number, self.headers.get("User-Agent", ""))
        records.requests.append(request)
        fault = records.fault(request) or Fault()
        content = fault.content or records.files.get(self.path, records.files.get(path))
        if fault.status is not None:
            self._refuse(fault)
        elif content is None:
            self._refuse(Fault(404))
        else:
            self._send(content, start if records.ranges else 0, fault)

    def _refuse(self, fault: Fault) -> None:
        self.send_response(fault.status or 500)
        for name, value in fault.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, start: int, fault: Fault) -> None:
        if start >= len(content) > 0:
            self._refuse(Fault(416))
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault.length != "":
            self.send_header("Content-Length", fault.length or str(len(content) - start))
        for name, value in self.server.records.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault.pause_seconds:
            self._trickle(content[start:], fault.pause_seconds)
        self._write(content[start : fault.send_until])
        if fault.send_until is not None or fault.length is not None:
            self.close_connection = True

    def _trickle(self, body: bytes, pause_seconds: float) -> None:
        for byte in body:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(pause_seconds)

    def _write(self, body: bytes) -> None:
        gate = self.server.records.gate
        half = len(body) // 2 if gate is not None and len(body) > 10_000 else 0
        if gate is not None and half:
            self.wfile.write(body[:half])
            self.wfile.flush()
            gate.wait()
        self.wfile.write(body[half:])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: RecordServer) -> Iterator[RecordServer]:
    """Run ``server`` on a free port of this machine."""
    http = _Http(server)
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        if server.gate is not None:
            server.gate.set()
        http.shutdown()
        http.server_close()
