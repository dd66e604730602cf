"""What `asd serve` takes under load, on loopback, and what of that is the server and not the detector.

    OMP_NUM_THREADS=1 python benchmarks/serve.py

The statistics embedder on clips of 10 s (16 kHz, mono, 320 kB each), one scored at a time; of 1, 4 and 16 clients each
keeps one request under way over a connection of its own.  In the same run the function is called in this process on the
same file, before and after the load; a busy machine stretches times, so processor seconds, user and system, are told
beside them.  Resident memory is the server's, after a first half of the requests and after the
second.  Writes ``serve.md`` beside this file.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from folders import REPOSITORY

from asd_lightning.atomic import write_text_atomically
from asd_lightning.tables import Row, Table, markdown_lines

RATE, SECONDS = 16_000, 10
CLIENTS = (1, 4, 16)
LONGEST = 480.0
"""Seconds that all may take."""


class Load(NamedTuple):
    """What some clients measured.

    ``seconds`` of each request, in the order of their ends; ``wall`` from the first to the last; ``failed``: answers
    that were no 200, or other scores than the function's.
    """

    seconds: list[float]
    wall: float
    failed: int

    def row(self) -> tuple[str, str, str]:
        """p50 and p99 in ms, requests a second."""
        middle, high = (1000 * np.percentile(self.seconds, share) for share in (50, 99))
        return f"{middle:.0f} ms", f"{high:.0f} ms", f"{len(self.seconds) / self.wall:.1f}"


def loaded(ask: Callable[[], Callable[[], bool]], clients: int, requests: int) -> Load:
    """So many requests by so many clients, each of which asks again when it is answered.

    Args:
        ask: makes a client: a function that asks once, and says whether the answer was right.
        clients: how many.
        requests: of all together.
    """
    left, lock = iter(range(requests)), threading.Lock()
    seconds: list[float] = []
    wrong: list[int] = []

    def client() -> None:
        once = ask()
        while True:
            with lock:
                if next(left, None) is None:
                    return
            begun = time.perf_counter()
            right = once()
            with lock:
                seconds.append(time.perf_counter() - begun)
                wrong.append(not right)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(seconds, time.perf_counter() - begun, sum(wrong))


def client_of(port: int, content: bytes, expected: dict[str, object]) -> Callable[[], Callable[[], bool]]:
    """Makes clients that post a recording, each over one connection."""

    def made() -> Callable[[], bool]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

        def once() -> bool:
            connection.request("POST", "/api/v1/score?name=today.wav", content, {"Content-Type": "audio/wav"})
            answer = connection.getresponse()
            body = answer.read()
            return answer.status == 200 and json.loads(body) == expected

        return once

    return made


def resident(pid: int) -> float:
    """MB of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def processor(pid: int) -> float:
    """Seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def clip(seed: int) -> np.ndarray:
    """A hum in noise."""
    draw = np.random.default_rng(seed)
    now = np.arange(SECONDS * RATE) / RATE
    hum = sum(np.sin(2 * np.pi * 120 * k * now + draw.uniform(0, 6)) / k for k in range(1, 6))
    return np.asarray(0.05 * (hum + 0.5 * draw.normal(size=len(now))), np.float32)


def direct(detector: object, recording: Path, count: int) -> list[float]:
    """Seconds of each call of the function."""
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        detector.judge(recording)  # type: ignore[attr-defined]
        seconds.append(time.perf_counter() - begun)
    return seconds


def served(detector: Path) -> tuple[subprocess.Popen[str], int]:
    """The server's process, and its port."""
    command = [sys.executable, "-m", "asd_lightning.cli", "serve", detector, "--port", "0", "--requests-a-minute", "0"]
    started = subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    return started, int(started.stderr.readline().split("127.0.0.1:")[1].split("/")[0])


def told(loads: Sequence[tuple[int, Load]], calls: Sequence[float], memory: Sequence[float], requests: int) -> str:
    """The page."""
    function = 1000 * float(np.median(calls))
    rows = [Row((f"{clients} clients" if clients > 1 else "1 client", *load.row())) for clients, load in loads]
    alone = 1000 * float(np.median(loads[0][1].seconds))
    best = max(len(load.seconds) / load.wall for _, load in loads)
    lines = [
        "# `asd serve` under load",
        "",
        f"`OMP_NUM_THREADS=1 python benchmarks/serve.py --requests {requests}`",
        "",
        f"{requests} requests for each number of clients, a clip of {SECONDS} s each, statistics embedder, one scored "
        f"at a time, loopback; {os.cpu_count()} cores, load average at the end {os.getloadavg()[0]:.0f}: times "
        "are of this machine in that state, ratios of one run.",
        "",
        *markdown_lines(Table("", ("clients", "p50", "p99", "requests a second"), tuple(rows))),
        "",
        f"- The function in a process of its own, same clip, median of {len(calls)} calls before and after: "
        f"{function:.0f} ms. One client over HTTP: {alone:.0f} ms, {alone / function:.2f} times that.",
        f"- Requests a second at best, as a share of what the function does alone: {best * function / 1000:.2f}.",
        f"- Answers that were no 200, or another score than the function's: {sum(load.failed for _, load in loads)}.",
        f"- Resident memory of the server: {memory[0]:.0f} MB before, {memory[1]:.0f} MB after the first half of all "
        f"requests, {memory[2]:.0f} MB after the second.",
    ]
    return "\n".join(lines) + "\n"


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {LONGEST:g} s: give fewer --requests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400, help="for each number of clients")
    requests = parser.parse_args().requests
    from asd_lightning.detector.detector import Detector
    from asd_lightning.detector.judging import as_json

    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(round(LONGEST))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording = folder / "today.wav"
        soundfile.write(recording, clip(99), RATE, subtype="PCM_16")
        detector = Detector(clip_seconds=float(SECONDS), machine="pump", sounds=0)
        detector.fit([clip(seed) for seed in range(30)])
        path = detector.save(folder / "pump.asd")
        detector = Detector.load(path)
        expected = as_json(detector.judge(recording)[0]) | {"path": "today.wav"}
        begun_here = time.process_time()
        calls = direct(detector, recording, requests // 4)
        per_call = (time.process_time() - begun_here) / len(calls)
        process, port = served(path)
        try:
            make = client_of(port, recording.read_bytes(), expected)
            loaded(make, 1, 10)
            memory, begun = [resident(process.pid)], processor(process.pid)
            halves = []
            for _ in range(2):
                halves.append([loaded(make, clients, requests // 2) for clients in CLIENTS])
                memory.append(resident(process.pid))
            per_request = (processor(process.pid) - begun) / (requests // 2 * 2 * len(CLIENTS))
        finally:
            process.terminate()
            process.wait()
        calls += direct(detector, recording, requests // 4)
    loads = [
        (clients, Load(one.seconds + other.seconds, one.wall + other.wall, one.failed + other.failed))
        for clients, one, other in zip(CLIENTS, *halves, strict=True)
    ]
    page = told(loads, calls, memory, requests) + (
        f"- Processor seconds: {1000 * per_call:.0f} ms of a call of the function, {1000 * per_request:.0f} ms of a "
        f"request in the server's process, {per_request / per_call:.2f} times that.\n"
    )
    write_text_atomically(REPOSITORY / "benchmarks/serve.md", page)
    print(page)


if __name__ == "__main__":
    main()
