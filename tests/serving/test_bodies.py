"""What is sent is kept within its limits, and refused with the reader's reason."""

import asyncio
import gzip
import io
import tempfile
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from asd_lightning.serving import bodies, routes
from asd_lightning.serving.worker import Worker
from tests.detector.sounds import RATE, hum, whine
from tests.serving.conftest import HERE, asking, served

WAV = {"Content-Type": "audio/wav"}


def as_bytes(waveform, rate=RATE, **how):
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, rate, **{"format": "WAV", **how})
    return buffer.getvalue()


def flac_of_silence(seconds, rate=RATE, channels=1):
    return as_bytes(np.zeros((round(seconds * rate), channels), np.int16), rate, format="FLAC")


def with_length(flac, samples):
    """A FLAC file whose header promises so many samples: 36 bits, from the middle of byte 21 on."""
    return flac[:21] + bytes([flac[21] & 0xF0 | samples >> 32]) + (samples & 0xFFFFFFFF).to_bytes(4, "big") + flac[26:]


SOUND = as_bytes(hum(0))
FLAC = as_bytes(hum(0), format="FLAC")


@pytest.fixture(scope="module")
def small(pump):
    return served(pump / "pump.asd", max_megabytes=0.1, max_seconds=2.5)


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch, tmp_path):
    """Whatever is sent, and however it ends, is gone from the disk."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"text", "it is neither WAV nor FLAC"),
        (b"<html>", "it holds a web page"),
        (gzip.compress(SOUND), "it is neither WAV nor FLAC"),
        (SOUND[:1000], "truncated"),
        (SOUND[:30], "not readable as audio"),
        (SOUND[:44], "truncated"),
        (FLAC[:2000], "not readable as audio"),
        (FLAC[:42], "not readable as audio"),
        (with_length(FLAC, 0), "does not tell its length"),
        (with_length(FLAC, 32_000), "not readable as audio"),
        (as_bytes(np.full(RATE, np.nan, np.float32), subtype="FLOAT"), "NaN"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_read_is_refused_with_the_readers_reason(ask, content, reason):
    for route in ("score", "explain"):
        answer = ask("POST", f"/api/v1/{route}", files={"file": ("today.wav", content)})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith("today.wav: ")
        assert reason in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (as_bytes(hum(0, seconds=3.0)), "3 s of sound"),
        (flac_of_silence(600.0), "600 s of sound"),
        (flac_of_silence(2.0, rate=48_000, channels=8), "768,000 samples in all channels"),
        (with_length(flac_of_silence(1.0), (1 << 36) - 1), "4.29497e+06 s of sound"),
    ],
    ids=["long", "long but few bytes", "many channels", "long by its own word"],
)
def test_sound_beyond_a_limit_is_not_decoded(small, content, why):
    assert len(content) < 100_000
    answer = asking(small)("POST", "/api/v1/score", files={"file": ("today.wav", content)})
    assert (answer.status_code, why in answer.json()["error"]) == (413, True)


def test_a_limit_is_of_all_recordings_of_a_request(small):
    ask = asking(small)
    content = as_bytes(hum(0), subtype="PCM_U8")
    answer = ask("POST", "/api/v1/batch", files=[("files", ("a.wav", content))] * 2)
    assert [one["decision"] for one in answer.json()] == ["normal", "normal"]
    assert ask("POST", "/api/v1/batch", files=[("files", ("a.wav", content))] * 3).status_code == 413


def exchange(app, parts, headers, path="/api/v1/score"):
    """Send parts of a body as they are asked for; the answer's status, and how many parts were asked for."""
    asked, sent = 0, []

    async def receive():
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": next(parts), "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "http_version": "1.1",
        "headers": [(b"host", b"127.0.0.1"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "raw_path": path.encode(),
        "root_path": "",
    }
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], asked, dict(sent[0]["headers"])


def endless(size, head=b""):
    yield head
    while True:
        yield bytes(size)


@pytest.mark.parametrize("told", [[], [(b"content-length", b"10")]], ids=["chunked", "a length that is a lie"])
@pytest.mark.parametrize("as_form", [False, True])
def test_a_body_is_refused_while_it_comes(small, told, as_form):
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    kind = b"multipart/form-data; boundary=x" if as_form else b"audio/wav"
    parts = endless(10_000, head if as_form else b"")
    status, asked, headers = exchange(small, parts, [(b"content-type", kind), *told])
    # Ten of 10 kB are 0.1 MB, without what is around them in a form.
    assert status == 413
    assert asked == 11 + (not as_form)
    assert headers[b"connection"] == b"close"


def test_a_length_that_is_too_large_is_refused_before_anything_comes(small):
    status, asked, _ = exchange(small, endless(1), [(b"content-length", b"100001"), (b"content-type", b"audio/wav")])
    assert (status, asked) == (413, 0)


def test_who_sends_too_slowly_is_not_waited_for_and_keeps_nobody_waiting(pump, monkeypatch):
    began, answered = asyncio.Event(), asyncio.Event()

    async def drop_by_drop():
        yield SOUND[:1]
        began.set()
        await answered.wait()
        yield SOUND[1:2]
        await asyncio.Event().wait()

    async def both():
        transport = httpx.ASGITransport(served(pump / "pump.asd"))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            slow = asyncio.create_task(client.post("/api/v1/score", content=drop_by_drop(), headers=WAV))
            await began.wait()
            quick = await client.post("/api/v1/score", content=SOUND, headers=WAV)
            # Two bytes, and the first seconds are over.
            monkeypatch.setattr(bodies, "_AT_FIRST", 0.0)
            answered.set()
            return quick.status_code, (await slow).status_code

    assert asyncio.run(both()) == (200, 408)


def test_who_goes_before_all_has_come_leaves_nothing(app):
    async def receive():
        return next(messages)

    messages = iter([{"type": "http.request", "body": SOUND[:100], "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/v1/score",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "client": None,
        "server": None,
        "scheme": "http",
        "root_path": "",
    }
    scope["headers"] = [(b"host", b"localhost"), (b"content-type", b"audio/flac")]
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400


@pytest.mark.parametrize(
    ("how", "status", "reason"),
    [
        ({"content": SOUND, "headers": {"Content-Type": "application/json"}}, 415, "application/json"),
        ({"content": SOUND, "headers": WAV | {"Content-Encoding": "gzip"}}, 415, "Content-Encoding gzip"),
        ({"files": {"sound": ("a.wav", SOUND)}}, 422, "a file in the field file"),
        ({"files": {"file": ("a.wav", SOUND), "more": ("b.wav", SOUND)}}, 400, "Too many files"),
        ({"files": {"file": (None, "text")}}, 422, "is no file"),
        ({"files": {"file": ("a.wav", SOUND)}, "data": {"machine": "pump"}}, 422, "nothing else (machine)"),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"--y", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400, ""),
        ({"content": SOUND, "headers": WAV, "params": {"name": "x" * 300}}, 422, "name"),
    ],
)
def test_what_is_no_recording_is_told(ask, how, status, reason):
    answer = ask("POST", "/api/v1/score", **how)
    assert (answer.status_code, reason in answer.json()["error"]) == (status, True)


@pytest.mark.parametrize("route", ["score", "batch"])
def test_a_form_that_is_cut_off_is_told_and_nothing_of_it_judged(ask, route):
    field = "files" if route == "batch" else "file"
    head = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="a.wav"\r\n\r\n'.encode()
    part = head + SOUND + b"\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for torn in (head + SOUND, part, part + head + SOUND[:500], part + b"--x"):
        answer = ask("POST", f"/api/v1/{route}", content=torn, headers=kind)
        # Too many files for one route are refused as such.
        assert answer.status_code == 400
        assert "closing boundary" in answer.json()["error"] or (route == "score" and torn.count(head) == 2)
    assert ask("POST", f"/api/v1/{route}", content=part + b"--x--\r\n", headers=kind).status_code == 200


def test_a_batch_is_a_form(ask):
    assert ask("POST", "/api/v1/batch", content=SOUND, headers=WAV).status_code == 415


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\a.wav", "a\nb\x1b[31m\0", "ü.wav", "x" * 500, "..", ""]
)
def test_a_name_is_told_and_no_file_has_it(ask, name, monkeypatch):
    opened = []
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *more: opened.append(path) or original(path, *more))
    answer = ask("POST", "/api/v1/score", params={"name": name[:255]}, content=SOUND, headers=WAV)
    # What could forge a line of the log, or color it, is spelled out.
    shown = name[:255].replace("\n", "\\n").replace("\x1b", "\\x1b").replace("\0", "\\x00")
    assert answer.json()["path"] == (shown if name.strip(".") else "recording")
    assert opened
    assert {path.name for path in opened} == {"0"}


def test_too_many_at_a_time_are_asked_to_come_again(pump, monkeypatch):
    monkeypatch.setattr(routes, "_MOST_BODIES", 0)
    answer = asking(served(pump / "pump.asd"))("POST", "/api/v1/score", content=whine(0).tobytes(), headers=WAV)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_a_worker_does_one_job_at_a_time_and_none_that_nobody_waits_for():
    async def work():
        worker, order, go = Worker("test", most_waiting=2), [], asyncio.Event()
        loop = asyncio.get_running_loop()

        def blocking():
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()
            order.append("first")

        began = asyncio.Event()
        first = asyncio.create_task(worker.run(blocking))
        await began.wait()
        second = asyncio.create_task(worker.run(lambda: order.append("second")))
        third = asyncio.create_task(worker.run(lambda: order.append("third")))
        await asyncio.sleep(0)
        with pytest.raises(Exception, match="503"):
            await worker.run(lambda: order.append("fourth"))
        second.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, third)
        with pytest.raises(ZeroDivisionError):
            await worker.run(lambda: 1 / 0)
        return order

    assert asyncio.run(work()) == ["first", "third"]


def test_a_recording_whose_client_has_gone_is_not_begun(pump, monkeypatch):
    app = served(pump / "pump.asd")
    service, begun = app.app.state.service, []
    monkeypatch.setattr(service.answers, "score", lambda one, machine: begun.append(one.name) or {"decision": "normal"})

    async def both():
        loop, busy, go = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def blocking():
            loop.call_soon_threadsafe(busy.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result()

        first = asyncio.create_task(service.scoring.run(blocking))
        await busy.wait()
        messages = iter([{"type": "http.request", "body": SOUND}, {"type": "http.disconnect"}])
        sent = []

        async def receive():
            return next(messages)

        async def send(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"audio/wav")]
        scope = {"type": "http", "method": "POST", "path": "/api/v1/score", "query_string": b"name=gone.wav"}
        await app(scope | {"headers": headers, "client": None, "http_version": "1.1"}, receive, send)
        go.set()
        await first
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            await client.post("/api/v1/score", content=SOUND, headers=WAV, params={"name": "here.wav"})

    asyncio.run(both())
    assert begun == ["here.wav"]
