"""Against a real server that is slow, refuses, sends elsewhere or speaks something else."""

import base64
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from asd_lightning.errors import UserError
from asd_lightning.live.journal import Journal
from asd_lightning.live.sinks import feed
from asd_lightning.live.webhook import Webhook
from tests.live.broker import PATIENCE, until
from tests.live.test_sinks import ended, lines_of
from tests.live.test_sinks import journal as journal


class Server:
    """Keeps what is posted, and answers with these statuses and then 200; -1 answers too late."""

    def __init__(self):
        self.posted, self.headers, self.statuses, self.late = [], [], [], threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers["Content-Length"])).decode()
                outer.posted.append((self.path, self.headers["Idempotency-Key"], content))
                outer.headers.append(self.headers)
                status = outer.statuses.pop(0) if outer.statuses else 200
                if status == -1:
                    outer.late.wait()
                    return
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.running.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.running.server_port}/hook"

    def close(self):
        self.late.set()
        self.running.shutdown()
        self.running.server_close()


@pytest.fixture
def server():
    running = Server()
    yield running
    running.close()


class Impatient(Webhook):
    """Waits long for all answers but one: that of the ``at``-th call."""

    def __init__(self, url, at):
        super().__init__(url)
        self.calls, self.at = 0, at

    def deliver(self, line):
        self.calls += 1
        self.seconds = 0.1 if self.calls == self.at else PATIENCE
        super().deliver(line)


def keys(server):
    return [key for _, key, _ in server.posted]


@pytest.mark.parametrize("status", [-1, 500, 503, 400, 404, 429, 301, 302, 307, 308])
def test_an_event_that_is_not_taken_comes_again_with_its_id_before_the_next(journal, server, status, caplog):
    server.statuses += [200, status]
    hook = Impatient(server.address, at=2 if status == -1 else None)
    feed(hook, journal, ended())
    told = "timed out" if status == -1 else f"it answers {status}"
    assert told in caplog.text
    # One that is not waited for any longer may reach the server after that.
    until(lambda: len(server.posted) == 2)
    feed(hook, journal, ended())
    ids = [json.loads(line)["id"] for line in lines_of(journal)]
    assert keys(server) == [ids[0], ids[1], *ids[1:]]
    assert [content for *_, content in server.posted[-4:]] == lines_of(journal)[1:]
    # Nothing goes where a redirect points to.
    assert {path for path, *_ in server.posted} == {"/hook"}


@pytest.mark.parametrize("answer", [b"220 mail.example ESMTP\r\n", b"", b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n"])
def test_what_does_not_speak_http_keeps_the_events(journal, answer, caplog):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        hook = Webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/", seconds=PATIENCE)
        feed(hook, journal, ended())
    assert Journal(journal).delivered(hook.name) == 0
    assert "tried again" in caplog.text


def test_a_user_and_a_password_are_sent_and_not_said(journal, server, caplog):
    hook = Webhook(server.address.replace("//", "//me:se%40cret@") + "?key=hidden#part", seconds=PATIENCE)
    server.statuses += [401]
    feed(hook, journal, ended())
    feed(hook, journal, ended())
    assert {path for path, *_ in server.posted} == {"/hook?key=hidden"}
    sent = {headers["Authorization"] for headers in server.headers}
    assert sent == {f"Basic {base64.b64encode(b'me:se@cret').decode()}"}
    for word in ("cret", "hidden"):
        assert word not in hook.name
        assert word not in caplog.text


@pytest.mark.parametrize(
    "address",
    ["ftp://host/x", "file:///etc/passwd", "host", "http:///x", "http://a b/", "http://host:port/", "http://h/\r\nx"],
)
def test_an_address_of_another_kind_is_refused(address):
    with pytest.raises(UserError, match="http:// or https://"):
        Webhook(address)


def test_a_receiver_that_is_not_there_is_told_in_words(free_tcp_port):
    with pytest.raises(OSError, match=r"^it cannot be reached \(Connection refused\)$"):
        Webhook(f"http://127.0.0.1:{free_tcp_port}/x").deliver('{"id": 1}')


def test_a_refused_address_is_told_without_its_password():
    with pytest.raises(UserError) as caught:
        Webhook("ftp://me:secret@host/x")
    assert "secret" not in str(caught.value)
