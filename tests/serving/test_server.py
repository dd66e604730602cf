"""The real process: what a client on the wire sees, and how it ends."""

import asyncio
import json
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request

import pytest
import uvicorn

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal
from asd_lightning.serving import server
from tests.detector.sounds import whine, write
from tests.forked import Forked
from tests.serving.test_events import told

TOKEN = "a-token-of-ours"


@pytest.fixture
def process(own, monkeypatch):
    """``asd serve`` on a port of its own; the process, and its port."""
    monkeypatch.setenv("ASD_TOKEN", TOKEN)
    journal = Journal(own.with_name("own.asd.journal"))
    told(journal, 1)
    journal.close()
    started = Forked(["serve", own, "--port", 0], own.parent)
    try:
        while (address := re.search(r"http://127\.0\.0\.1:(\d+)/ ", started.so_far())) is None:
            assert started.poll() is None, started.done()
            time.sleep(0.02)
        port = int(address[1])
        # Ctrl-C is the server's own from here on.
        assert request(port, "/api/v1/health")[0] == 200
        yield started, port
    finally:
        if started.poll() is None:
            started.kill()


def request(port, path, body=None, **headers):
    kind = {"Content-Type": "audio/wav", "Authorization": f"Bearer {TOKEN}", **headers}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, kind)
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def spoken(port, text):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(text.encode())
    return connection, connection.makefile("rb")


def test_a_server_answers_on_the_wire_and_ends_when_it_is_told(process, own, tmp_path, capsys):
    started, port = process
    sound = write(tmp_path / "today.wav", whine(5))
    main(["score", str(own), str(sound), "--json"])
    status, body, headers = request(port, f"/api/v1/score?name={sound}", sound.read_bytes())
    assert (status, [json.loads(body)]) == (200, json.loads(capsys.readouterr().out))
    assert "Server" not in headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert request(port, "/api/v1/info", Authorization="Bearer wrong")[0] == 401
    head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    # More than is allowed, by its own word: refused before it comes, and hung up on.
    told_large, lines = spoken(
        port, f"POST /api/v1/score HTTP/1.1\r\n{head}Content-Type: audio/wav\r\nContent-Length: 999999999\r\n\r\nRIFF"
    )
    answer = lines.read().decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert "more than 100 MB" in answer
    # One that says a length and then hangs up, and one whose stream of events is open, hold nothing up.
    torn, _ = spoken(port, f"POST /api/v1/score HTTP/1.1\r\n{head}Content-Length: 1000\r\n\r\nRIFF")
    torn.close()
    unfinished, _ = spoken(port, "GET / HTTP/1.1\r\nHost: ")
    stream, lines = spoken(port, f"GET /api/v1/events/stream HTTP/1.1\r\n{head}Last-Event-ID: \r\n\r\n")
    assert b": asd\n" in lines
    journal = Journal(own.with_name("own.asd.journal"))
    (event_id,) = told(journal, 2)
    journal.close()
    assert f"id: {event_id}\n".encode() in lines
    started.send_signal(signal.SIGTERM)
    done = started.done()
    assert done.returncode == 0
    assert done.stderr == f"asd: {own}: http://127.0.0.1:{port}/ (end with Ctrl-C)\n"
    for connection in (told_large, unfinished, stream):
        connection.close()


def test_ctrl_c_ends_it(process):
    started, _ = process
    started.send_signal(signal.SIGINT)
    done = started.done()
    assert (done.returncode, done.stderr.splitlines()[1:]) == (0, ["asd: ended"])


def test_an_address_that_is_not_to_be_had_is_told(own, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(own), "--port", str(port)]) == 2
    told = capsys.readouterr().err
    assert f"127.0.0.1, port {port}: not to be had" in told
    assert (told.count(str(port)), told.count("127.0.0.1")) == (1, 1)
    assert main(["serve", str(own), "--host", "0.0.0.0"]) == 2
    assert "give a token too" in capsys.readouterr().err
    assert main(["serve", str(own.with_name("none.asd"))]) == 2


def test_the_extra_is_named_where_it_is_missing(own, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    with pytest.raises(UserError, match=r"asd serve needs fastapi: pip install 'asd_lightning\[serve\]'"):
        asd_lightning.serve(own)


def test_who_does_not_say_what_is_wanted_is_hung_up_on(app, monkeypatch):
    monkeypatch.setattr(server, "_HEAD", 0.05)

    async def spoken_to():
        listener = socket.create_server(("127.0.0.1", 0))
        serving = uvicorn.Server(server._config(app))
        running = asyncio.create_task(serving.serve(sockets=[listener]))
        ended = []
        for text in ("", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /api"):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(text.encode())
            ended.append((await reader.read()).startswith(b"HTTP/1.1 200"))
            writer.close()
        serving.should_exit = True
        await running
        return ended

    # Each is answered what it has asked for, and the connection ends.
    assert asyncio.run(spoken_to()) == [False, False, True]


def test_what_never_reaches_the_api_is_told_as_all_errors_are(app, monkeypatch, caplog):
    """What is no HTTP; a chunk that is none while a body is waited for, and after the answer; a connection too many."""
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 1)
    head = "POST /api/v1/score HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: "

    async def spoken_to():
        listener = socket.create_server(("127.0.0.1", 0))
        serving = uvicorn.Server(server._config(app))
        running = asyncio.create_task(serving.serve(sockets=[listener]))
        ended = []

        async def told(text, and_then=""):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(text.encode())
            answer = await reader.readuntil(b"}") if and_then else b""
            writer.write(and_then.encode())
            ended.append((answer + await reader.read()).decode())
            writer.close()

        await told("\x16\x03\x01 hello, TLS\r\n\r\n")
        await told("GET / HTTP/1.1\r\n\r\n")
        await told("GET / HTTP/1.1\r\nX: " + 40_000 * "x")
        await told(f"{head}localhost\r\nContent-Type: audio/wav\r\n\r\nnone\r\n")
        await told(f"{head}elsewhere\r\n\r\n", "none\r\n")
        other = await asyncio.open_connection(*listener.getsockname())
        await told("GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        other[1].close()
        serving.should_exit = True
        await running
        return ended

    statuses = []
    for answer in asyncio.run(spoken_to()):
        lines, _, body = answer.partition("\r\n\r\n")
        statuses.append(int(lines.split()[1]))
        assert list(json.loads(body)) == ["error"]
        assert "content-type: application/json" in lines.lower()
        assert "x-content-type-options: nosniff" in lines.lower()
    assert statuses == [400, 400, 400, 400, 403, 503]
    assert caplog.text == ""


def test_what_is_unfinished_when_the_server_ends_is_told_so_and_leaves_no_traceback(app, monkeypatch, capsys):
    monkeypatch.setattr(server, "_GRACE", 0.05)

    async def ended():
        listener = socket.create_server(("127.0.0.1", 0))
        serving = server._Server(server._config(app), app.app)
        running = asyncio.create_task(serving.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        head = "POST /api/v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\nContent-Type: audio/wav"
        writer.write(f"{head}\r\n\r\nRIF".encode())
        while not serving.server_state.tasks:
            await asyncio.sleep(0.001)
        serving.should_exit = True
        answer = await reader.read()
        writer.close()
        await running
        return answer.decode()

    head, _, body = asyncio.run(ended()).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 503 ")
    assert "ends" in json.loads(body)["error"]
    # Where uvicorn's errors go.
    assert capsys.readouterr().err == ""


def test_answers_are_sent_at_once(tmp_path):
    """What asyncio asks before it switches off the waiting for a receipt: that a connection is known to be TCP."""
    listener = server._bound(server.Settings(tmp_path / "pump.asd", port=0))
    with listener, socket.create_connection(listener.getsockname()[:2]), listener.accept()[0] as accepted:
        assert accepted.proto == socket.IPPROTO_TCP
