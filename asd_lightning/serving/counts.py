"""What the server has done so far, as a page of text that Prometheus reads."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter

from asd_lightning.serving.files import PATHS

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROUTES = frozenset(
    f"/api/v1/{name}" for name in ("health", "info", "score", "batch", "explain", "accept", "events", "events/stream")
) | {*PATHS, "/metrics", "/openapi.json"}
_SOUND = "/api/v1/sound/"


class Counts:
    """Answers by route and status, how long they took, and decisions; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(_BOUNDS) + 1)
        self._seconds = 0.0
        self._decisions: Counter[str] = Counter()

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self._answers[_route(path), status] += 1
            self._buckets[bisect_left(_BOUNDS, seconds)] += 1
            self._seconds += seconds

    def decided(self, decision: str) -> None:
        """Count a decision."""
        with self._lock:
            self._decisions[decision] += 1

    def as_text(self) -> str:
        """In Prometheus' text format, version 0.0.4.

        >>> counts = Counts()
        >>> counts.answered("/api/v1/sound/0-1", 200, 0.02)
        >>> [line for line in counts.as_text().splitlines() if line.startswith("asd_requests_total")]
        ['asd_requests_total{route="/api/v1/sound/ID",status="200"} 1']
        """
        with self._lock:
            lines = _head("asd_requests_total", "counter", "Answers by route and status")
            lines += [
                f'asd_requests_total{{route="{route}",status="{status}"}} {count}'
                for (route, status), count in sorted(self._answers.items())
            ]
            lines += self._histogram()
            lines += _head("asd_decisions_total", "counter", "Recordings by decision")
            lines += [
                f'asd_decisions_total{{decision="{decision}"}} {count}'
                for decision, count in sorted(self._decisions.items())
            ]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        lines = _head("asd_request_seconds", "histogram", "Seconds from request to answer")
        total = 0
        for bound, count in zip([*map(str, _BOUNDS), "+Inf"], self._buckets, strict=True):
            total += count
            lines.append(f'asd_request_seconds_bucket{{le="{bound}"}} {total}')
        return [*lines, f"asd_request_seconds_sum {self._seconds:.6f}", f"asd_request_seconds_count {total}"]


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]


def _route(path: str) -> str:
    """Of which there are few, whatever clients ask for."""
    if path.startswith(_SOUND):
        return f"{_SOUND}ID"
    return path if path in _ROUTES else "other"
