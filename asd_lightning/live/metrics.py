"""How all inputs are doing, as a page of text that Prometheus reads."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from asd_lightning.errors import UserError
from asd_lightning.live.listener import Status

_LEVELS = {"normal": 0, "warning": 1, "alarm": 2}


def as_text(inputs: Mapping[str, Status]) -> str:
    """In Prometheus' text format, version 0.0.4.

    Args:
        inputs: by name.
    """
    families: list[tuple[str, str, str, Callable[[Status], float]]] = [
        ("asd_level", "gauge", "0 normal, 1 warning, 2 alarm", lambda one: _LEVELS[one.place.state.told]),
        ("asd_score", "gauge", "Anomaly score of the last window", lambda one: one.score),
        ("asd_threshold", "gauge", "Warnings begin above it", lambda one: one.threshold),
        ("asd_judging", "gauge", "1 where the sound can be judged", lambda one: one.place.state.judging),
        ("asd_running", "gauge", "1 where the machine runs", lambda one: one.place.state.running),
        ("asd_heard_seconds_total", "counter", "Seconds of sound heard", lambda one: one.place.position),
        ("asd_windows_total", "counter", "Windows judged since the start", lambda one: one.windows),
        ("asd_events_total", "counter", "Events told", lambda one: one.place.events),
        ("asd_unwritten_events", "gauge", "Events the disk did not take yet", lambda one: one.unwritten),
    ]
    lines = []
    for name, kind, meaning, value in families:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        lines += [
            f'{name}{{input="{_label(source)}",machine="{_label(one.place.machine)}"}} {_number(float(value(one)))}'
            for source, one in sorted(inputs.items())
        ]
    return "\n".join(lines) + "\n"


def serve(port: int, inputs: Callable[[], Mapping[str, Status]]) -> ThreadingHTTPServer:
    """Answer ``GET /metrics`` on this computer alone, in a thread; ``shutdown()`` ends it.

    Args:
        port: 0 for any that is free.
        inputs: as they are now.

    Raises:
        UserError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer one request."""
            known = self.path.split("?")[0] == "/metrics"
            content = (as_text(inputs()) if known else "see /metrics\n").encode()
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            """Requests are no news."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"--metrics {port}: the port is not to be had ({error}); give another") from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _label(text: str) -> str:
    """A label's value, without its quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.10g}"
