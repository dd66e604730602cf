"""The load's counting: as many requests as were asked for, each counted once, wrong answers told."""

import threading
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("clients", [1, 4])
def test_each_request_is_counted_once(monkeypatch, clients):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import serve

    lock, asked, made = threading.Lock(), [], []

    def ask():
        made.append(1)

        def once():
            with lock:
                asked.append(1)
                return len(asked) % 10 != 0

        return once

    load = serve.loaded(ask, clients, 50)
    assert (len(asked), len(load.seconds), load.failed, len(made)) == (50, 50, 5, clients)
    assert all(0 <= one <= load.wall for one in load.seconds)
    row = serve.Load([0.001 * (one + 1) for one in range(100)], 10.0, 0).row()
    assert row == ("50 ms", "99 ms", "10.0")
