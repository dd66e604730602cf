"""Downloads against a local server that resumes, cannot resume, cuts, lies, or sends a page instead."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.download.retry import RetryPolicy
from asd_lightning.encoders.weights.transfer import download
from asd_lightning.errors import UserError

CHUNK_BYTES = 1 << 14
PAYLOAD = np.random.default_rng(0).bytes(5 * CHUNK_BYTES + 17)
SHA256 = hashlib.sha256(PAYLOAD).hexdigest()
IMPATIENT = RetryPolicy(tries=3, sleep=lambda _: None)


@dataclass
class Server:
    """How the server behaves, and what it was asked."""

    payload: bytes = PAYLOAD
    ranges: bool = True
    status: int = 200
    content_type: str = "application/octet-stream"
    cuts: int = 0  # this many answers end after three chunks
    shift: int = 0  # a lie in Content-Range
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and state.ranges else 0
            if start >= len(state.payload):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.payload)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.payload[start:]
            partial = bool(wanted) and state.ranges and state.status == 200
            self.send_response(206 if partial else state.status)
            if partial:
                total = len(state.payload)
                self.send_header("Content-Range", f"bytes {start + state.shift}-{total - 1}/{total}")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", state.content_type)
            self.end_headers()
            if state.cuts:
                state.cuts -= 1
                body = body[: 3 * CHUNK_BYTES]
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{listening.server_port}/weights.pt"
    yield state
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "weights.pt"


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def test_whole_file(server: Server, target: Path) -> None:
    assert download(server.url, target, sha256=SHA256, size=len(PAYLOAD)) == SHA256
    assert target.read_bytes() == PAYLOAD
    assert not part_of(target).exists()


def test_cut_connection_goes_on_where_it_stopped(server: Server, target: Path) -> None:
    server.cuts = 1
    download(server.url, target, sha256=SHA256, policy=IMPATIENT)
    assert target.read_bytes() == PAYLOAD
    assert server.asked == [None, f"bytes={3 * CHUNK_BYTES}-"]


def test_connection_always_cut_keeps_the_part_for_the_next_call(server: Server, target: Path) -> None:
    server.cuts, server.ranges = 100, False  # every answer begins at 0 and ends early: no try gets further
    with pytest.raises(UserError, match=r"gave up after 3 tries; run the same command again"):
        download(server.url, target, sha256=SHA256, policy=IMPATIENT)
    assert not target.exists()
    assert part_of(target).read_bytes() == PAYLOAD[: 3 * CHUNK_BYTES]
    server.cuts, server.ranges, server.asked = 0, True, []
    download(server.url, target, sha256=SHA256, policy=IMPATIENT)
    assert target.read_bytes() == PAYLOAD
    assert server.asked == [f"bytes={3 * CHUNK_BYTES}-"]


@pytest.mark.parametrize("part", [PAYLOAD[:1000], PAYLOAD + b"a longer file before"], ids=["shorter", "longer"])
def test_server_without_ranges_begins_again(server: Server, target: Path, part: bytes) -> None:
    server.ranges = False
    target.parent.mkdir()
    part_of(target).write_bytes(part)
    download(server.url, target, sha256=SHA256, policy=IMPATIENT)
    assert target.read_bytes() == PAYLOAD


def test_without_checksum_an_old_part_is_not_trusted(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(b"something else")
    assert download(server.url, target, sha256=None) == SHA256
    assert server.asked == [None]


def test_part_that_is_already_whole(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(PAYLOAD)
    download(server.url, target, sha256=SHA256)
    assert target.read_bytes() == PAYLOAD
    assert server.asked == [f"bytes={len(PAYLOAD)}-"]


def test_part_longer_than_the_file_begins_again(server: Server, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(PAYLOAD + b"x")
    download(server.url, target, sha256=SHA256, policy=IMPATIENT)
    assert target.read_bytes() == PAYLOAD


def test_a_range_from_elsewhere_is_not_joined(server: Server, target: Path) -> None:
    server.shift = 5
    target.parent.mkdir()
    part_of(target).write_bytes(PAYLOAD[:1000])
    download(server.url, target, sha256=SHA256, policy=IMPATIENT)
    assert target.read_bytes() == PAYLOAD
    assert server.asked == ["bytes=1000-", None]


def test_wrong_checksum_deletes_the_download(server: Server, target: Path) -> None:
    server.payload = PAYLOAD[:-1] + b"?"
    with pytest.raises(UserError, match=rf"checksum of {server.url} is wrong: .* expected {SHA256}.*--url"):
        download(server.url, target, sha256=SHA256)
    assert not target.exists()
    assert not part_of(target).exists()


def test_wrong_size_is_another_file(server: Server, target: Path) -> None:
    with pytest.raises(UserError, match=rf"has {len(PAYLOAD)} bytes, not the published 7: it is another file"):
        download(server.url, target, sha256=SHA256, size=7)


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_web_page_in_place_of_the_file(server: Server, target: Path, content_type: str) -> None:
    server.payload, server.content_type = b"<html><body>Sign in</body></html>", content_type
    with pytest.raises(UserError, match=r"answered with a web page.*asd weights import FILE"):
        download(server.url, target, sha256=SHA256)
    assert not target.exists()


def test_refused_and_unreachable(server: Server, target: Path) -> None:
    server.status = 403
    with pytest.raises(UserError, match=r"answered 403 Forbidden: give another address with --url"):
        download(server.url, target, sha256=SHA256)
    server.status = 503
    with pytest.raises(UserError, match=r"503.*gave up after 3 tries"):
        download(server.url, target, sha256=SHA256, policy=IMPATIENT)
    with pytest.raises(UserError, match=r"no connection to http://127\.0\.0\.1:9/"):
        download("http://127.0.0.1:9/x", target, sha256=SHA256, policy=IMPATIENT)
    with pytest.raises(UserError, match="cannot read ftp://x/y"):
        download("ftp://x/y", target, sha256=SHA256)


def test_no_space_is_seen_before_the_transfer(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": len(PAYLOAD) - 1})())
    with pytest.raises(UserError, match=r"no space left in .*set ASD_CACHE"):
        download(server.url, target, sha256=SHA256)
    assert not part_of(target).exists()


def test_disk_that_fills_up_during_the_transfer(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("asd_lightning.download.transfer.open_unlinked", full_disk)
    with pytest.raises(UserError, match=r"no space left for .*weights\.pt\.part"):
        download(server.url, target, sha256=SHA256)
