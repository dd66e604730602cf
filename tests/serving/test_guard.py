"""Who is let in; what every answer carries; how it is counted."""

import asyncio
import io
import re

import httpx
import pytest
import soundfile

from asd_lightning.errors import UserError
from asd_lightning.serving import guard, rate
from asd_lightning.serving.counts import Counts
from asd_lightning.serving.rate import Rate
from asd_lightning.serving.settings import Settings
from tests.detector.sounds import RATE, whine
from tests.serving.conftest import asking, served

TOKEN = "a-token-of-ours"


def sound():
    buffer = io.BytesIO()
    soundfile.write(buffer, whine(5), RATE, format="WAV")
    return {"files": {"file": ("today.wav", buffer.getvalue())}}


@pytest.fixture(scope="module")
def locked(pump):
    return served(pump / "pump.asd", token=TOKEN, allow_host=("Asd.example",))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/static/page.js", 200),
        ("GET", "/static/page.css", 200),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/docs", 404),
        ("GET", "/api/v1/health", 200),
        ("GET", "/api/v1/score", 405),
        ("GET", "/api/v1/health/", 404),
        ("GET", "/api/v1/events?limit=0", 422),
        ("GET", "/api/v1/events", 404),
        ("GET", "/metrics", 200),
        ("POST", "/api/v1/score", 400),
    ],
)
def test_every_answer_has_the_headers(ask, method, path, status):
    answer = ask(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    if status >= 400:
        assert list(answer.json()) == ["error"]


def test_a_failure_is_told_without_what_failed(app, monkeypatch):
    def broken(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(app.app.state.service.answers, "score", broken)
    answer = asking(app)("POST", "/api/v1/score", **sound())
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server has failed; its log says why"}
    assert "Content-Security-Policy" in answer.headers

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app.app.state.service.answers, "score", full)
    assert asking(app)("POST", "/api/v1/score", **sound()).status_code == 507


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(
            ("127.0.0.1:8000", 200),
            ("localhost", 200),
            ("[::1]:8000", 200),
            ("192.168.1.5", 200),
            ("ASD.example:443", 200),
        ),
        *(("evil.example", 403), ("evil.example:8000", 403), ("localhost.evil.example", 403), ("", 403)),
        *(("127.0.0.1.evil.example", 403), ("evil@localhost", 403)),
    ],
)
def test_the_server_answers_under_its_own_names_alone(locked, host, status):
    assert asking(locked)("GET", "/", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "asd.example", "Origin": "https://asd.example"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8001"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_have_nothing_done(locked, headers, status):
    mine = {"Authorization": f"Bearer {TOKEN}", **headers}
    assert asking(locked)("POST", "/api/v1/score", headers=mine, **sound()).status_code == status


@pytest.mark.parametrize("headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_what_takes_places_or_tells_is_not_read_by_other_sites_and_the_page_may_be_linked(ask, headers):
    for path in ("/api/v1/events/stream", "/api/v1/info", "/metrics"):
        answer = ask("GET", path, headers=headers)
        assert (answer.status_code, "another site" in answer.json()["error"]) == (403, True)
    assert ask("GET", "/", headers=headers).status_code == 200


def test_too_long_a_head_is_told(ask):
    assert ask("GET", "/", headers={"X-Long": "x" * 32_000}).status_code == 200
    assert ask("GET", "/", headers={"X-Long": "x" * 33_000}).status_code == 431
    assert ask("GET", "/?" + "x" * 33_000).status_code == 431


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        (f"Bearer {TOKEN}x", 401),
        (f"Bearer {TOKEN[:-1]}", 401),
        (f"Basic {TOKEN}", 401),
        ("Bearer \xfc".encode("latin-1"), 401),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/health", "/metrics"])
def test_a_token_is_asked_for(locked, given, status, path):
    answer = asking(locked)("GET", path, headers={} if given is None else {"Authorization": given})
    assert answer.status_code == status
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") == (status == 401)


def test_what_a_token_opens_is_closed_without_it(locked):
    document = asking(locked)("GET", "/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            assert asking(locked)(method.upper(), path.replace("{sound_id}", "0-0")).status_code == 401


def test_tokens_are_compared_in_constant_time(locked, monkeypatch):
    compared = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda one, other: compared.append((one, other)) or one == other)
    asking(locked)("GET", "/metrics", headers={"Authorization": "Bearer x"})
    assert compared == [(b"x", TOKEN.encode())]


def test_a_client_that_asks_too_often_is_told_when_to_come(pump, monkeypatch):
    # However long the requests take here.
    monkeypatch.setattr(guard, "Rate", lambda a_minute: Rate(a_minute, lambda: 0.0))
    app = served(pump / "pump.asd", requests_a_minute=10.0)

    async def asked(client):
        transport = httpx.ASGITransport(app, client=(client, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as session:
            return [await session.get("/api/v1/health") for _ in range(3)]

    first, second, third = asyncio.run(asked("10.0.0.1"))
    assert (first.status_code, second.status_code, third.status_code) == (200, 200, 429)
    assert third.headers["Retry-After"] == "6"
    assert asyncio.run(asked("10.0.0.2"))[0].status_code == 200


def test_a_rate_is_that_of_a_plain_count(monkeypatch):
    """No minute and burst has more than its share, and who waits as told is let in."""
    now = [0.0]
    limit = Rate(60.0, lambda: now[0])
    let_in = []
    for _ in range(400):
        if wait := limit.wait("a"):
            now[0] += wait
            assert limit.wait("a") == 0
        let_in.append(now[0])
    for start in let_in:
        assert sum(start <= at < start + 60 for at in let_in) <= 60 + 12
    assert let_in[-1] >= 400 - 12 - 1
    assert all(Rate(0.0).wait("a") == 0 for _ in range(100))
    assert limit.wait("2001:db8::1") == limit.wait("2001:db8::ffff") == 0
    networks = {name for name in limit._whole_at if ":" in name}
    assert networks == {"2001:db8::/64"}
    monkeypatch.setattr(rate, "_MOST_CLIENTS", 100)
    for number in range(1000):
        limit.wait(f"10.0.{number // 256}.{number % 256}")
        assert len(limit._whole_at) <= 101


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"host": "0.0.0.0"}, "give a token too"),
        ({"host": "::"}, "give a token too"),
        ({"host": "plant.example"}, "give a token too"),
        ({"max_megabytes": 0.0}, "--max-megabytes 0"),
        ({"max_seconds": float("nan")}, "--max-seconds nan"),
        ({"requests_a_minute": -1.0}, "--requests-a-minute -1"),
        ({"port": 70_000}, "--port 70000"),
        ({"token": "two words"}, "without spaces"),
        ({"token": "tökén"}, "ASCII"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        Settings(tmp_path / "pump.asd", **settings)
    assert Settings(tmp_path / "pump.asd", host="::1").watched == tmp_path / "pump.asd.journal"


def test_metrics_are_read_by_a_plain_reader(pump):
    ask = asking(served(pump / "pump.asd"))
    for path in ("/api/v1/health", "/api/v1/sound/9-9", "/api/v1/sound/8-8", "/nowhere", "/else"):
        ask("GET", path)
    ask("POST", "/api/v1/score", **sound())
    answer = ask("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    told = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
    assert all(re.fullmatch(r'[a-z_]+(\{([a-z]+="[^"\\]*",?)+\})?', name) for name in told)
    assert told['asd_requests_total{route="/api/v1/sound/ID",status="404"}'] == 2
    assert told['asd_requests_total{route="other",status="404"}'] == 2
    assert told['asd_decisions_total{decision="alarm"}'] == 1
    assert told["asd_request_seconds_count"] == told['asd_request_seconds_bucket{le="+Inf"}'] == 6


def test_seconds_are_counted_up_to_each_bound():
    counts = Counts()
    seconds = (0.001, 0.005, 0.3, 0.6, 100.0)
    for one in seconds:
        counts.answered("/", 200, one)
    found = re.findall(r'bucket\{le="(.+)"\} (\d+)', counts.as_text())
    assert [int(count) for _, count in found] == [
        sum(one <= float(bound.replace("+Inf", "inf")) for one in seconds) for bound, _ in found
    ]
