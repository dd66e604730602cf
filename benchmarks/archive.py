"""An archive on a Ray cluster of three nodes, one of them killed, against one process; and an interrupted call.

    python benchmarks/archive.py [--recordings 20000] [--interrupted 4000] [--shard 256]
        [--output benchmarks/archive.md]

Recordings of one second are rendered into a temporary folder, which is removed at the end.  The nodes are processes on
this machine with one core each: what is measured is that nothing is lost or doubled and what the engine costs, not
what three machines would give.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

# Read by Ray when it is imported: nothing is sent to its makers.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import psutil
import soundfile

from asd_lightning.archive.shards import shards_of, table_of
from asd_lightning.detector.actions import enrol
from asd_lightning.detector.detector import Detector

RATE = 16_000
NODES = 3
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
KILLED_AT = 0.4
# Every so many recordings one has a whine, and one is damaged.
FAULTY, DAMAGED = 50, 1000


def main() -> None:
    """Render, enrol, score three times, compare, write the table."""
    from ray.cluster_utils import Cluster

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--interrupted", type=int, default=4_000)
    parser.add_argument("--shard", type=int, default=256)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/archive.md"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render(folder / "pump/normal", 100, first=10_000_000)
        enrol(folder / "pump/normal", folder / "pump.asd", clip_seconds=1.0, sounds=0)
        render(folder / "archive", args.recordings)
        render(folder / "interrupted", args.interrupted)
        say("rendered")
        alone = one_process(folder)
        say(f"one process: {alone['seconds']:.0f} s")
        spread = float(Detector.load(folder / "pump.asd").machines_["pump"].normal.scores.std())
        patient()
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        try:
            measured = clustered(cluster, folder, args, alone, spread)
            measured += interrupted(cluster, folder, args)
        finally:
            cluster.shutdown()
        lines = [
            "# An archive on a Ray cluster",
            "",
            f"`python benchmarks/archive.py --recordings {args.recordings} --interrupted {args.interrupted} "
            f"--shard {args.shard}`:",
            "recordings of 1 s, a detector of 100 recordings with `statistics`.",
            "",
            "| what | measured |",
            "|---|---|",
            *measured,
            "",
            f"All on one machine with {os.cpu_count()} cores, which other work shared (load "
            f"{os.getloadavg()[0]:.0f} at the end): the ratio is of two runs one after the other.",
            "Nodes that share the cores of one machine cannot be much faster than one process on it, and the shard of",
            "the killed node waits until Ray takes that node for dead: what this shows is that nothing is lost or",
            "doubled, and not what three machines would give.",
        ]
    args.output.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def render(folder: Path, count: int, first: int = 0) -> None:
    """A hum with noise, each of another loudness and place; some with a whine, some damaged."""
    now = np.arange(60 * RATE) / RATE
    draw = np.random.default_rng(first)
    minute = sum(np.sin(2 * np.pi * 120 * k * now + k) / k for k in range(1, 6)) + 0.5 * draw.standard_normal(len(now))
    whine = 2 * np.sin(2 * np.pi * 3000 * now[:RATE])
    for number in range(count):
        path = folder / f"{number // 1000:04d}" / f"{number:07d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = draw.integers(len(minute) - RATE)
        faulty = not first and number % FAULTY == 7
        made = 0.05 * draw.uniform(0.9, 1.1) * (minute[start : start + RATE] + (whine if faulty else 0))
        soundfile.write(path, made, RATE, subtype="PCM_16")
        if not first and number % DAMAGED == 11:
            path.write_bytes(b"RIFF, and no more")


def one_process(folder: Path) -> dict[str, Any]:
    """Scores and decisions of one process, with its seconds."""
    begun, used = time.monotonic(), time.process_time()
    judgments = Detector.load(folder / "pump.asd").judge(folder / "archive")
    seconds, processor = time.monotonic() - begun, time.process_time() - used
    return {
        "seconds": seconds,
        "processor": processor,
        "judged": {one.path: (one.decision, one.score) for one in judgments},
    }


def command(folder: Path, what: str, shard: int) -> list[str]:
    """The command whose shards are in ``what_scores``."""
    words = ["score", folder / "pump.asd", f"{folder / what}/**", "--engine", "ray", "-o", folder / f"{what}_scores"]
    return [sys.executable, "-m", "asd_lightning.cli", *map(str, words), "--shard", str(shard)]


def patient() -> None:
    """Ray gives a node half a minute to start, in which a busy machine does not start one."""
    from ray._private import services

    plain = services.get_node

    def get_node(*asked: Any) -> Any:
        for _ in range(300):
            with contextlib.suppress(RuntimeError):
                return plain(*asked)
            time.sleep(1)
        return plain(*asked)

    services.get_node = get_node


def clustered(cluster: Any, folder: Path, args: argparse.Namespace, alone: dict[str, Any], spread: float) -> list[str]:
    """Three nodes, of which one is killed on the way."""
    scores, count = folder / "archive_scores", args.recordings
    last = [cluster.add_node(**NODE) for _ in range(NODES - 1)][-1]
    say(f"{NODES} nodes are up")
    begun = time.monotonic()
    process = subprocess.Popen(
        command(folder, "archive", args.shard), env={**os.environ, "RAY_ADDRESS": cluster.address}
    )
    first, at_kill, largest = 0.0, 0, 0
    while process.poll() is None:
        done = len(shards_of(scores))
        first = first or (time.monotonic() if done else 0.0)
        if not at_kill and done * args.shard >= KILLED_AT * count:
            at_kill = done
            cluster.remove_node(last, allow_graceful=False)
            say(f"one node killed after {done} shards")
        largest = max(largest, *workers_memory(), 0)
        time.sleep(0.1)
    ended = time.monotonic()
    say("the archive is scored")
    rows = table_of(shards_of(scores)).to_pylist()
    times = Counter(row["path"] for row in rows)
    judged = alone["judged"]
    assert set(times) == set(judged), "recordings are missing"
    same = sum(row["decision"] == judged[row["path"]][0] for row in rows)
    apart = max(abs(row["score"] - judged[row["path"]][1]) for row in rows if row["score"] is not None)
    written = sorted(path.stat().st_mtime for path in shards_of(scores))
    whole = ended - begun
    working = written[-1] - written[0]
    return [
        "| recordings, and how often each is in the shards | "
        f"{count:,}, {min(times.values())} to {max(times.values())} |",
        f"| one of {NODES} nodes killed after | {at_kill} of {len(written)} shards |",
        f"| exit status of the command (1: there are alarms) | {process.returncode} |",
        f"| decisions that are those of one process | {same:,} of {count:,} |",
        f"| largest difference of a score, in spreads of the bank's scores | {apart / spread:.1e} |",
        f"| decisions | {', '.join(f'{name} {number:,}' for name, number in decisions(rows))} |",
        f"| one process, `Detector.judge` | {count / alone['seconds']:.0f} recordings/s, "
        f"{1000 * alone['processor'] / count:.2f} ms of a processor each |",
        f"| the command, its start and the lost node included | {count / whole:.0f} recordings/s, "
        f"{alone['seconds'] / whole:.2f} times one process |",
        f"| from its first shard to its last | {count / working:.0f} recordings/s, "
        f"{alone['seconds'] / working:.2f} times one process |",
        f"| from the command to its first shard | {first - begun:.0f} s |",
        f"| bytes of a recording in the shards | {sum(p.stat().st_size for p in shards_of(scores)) / count:.0f} |",
        f"| memory of the largest worker | {largest / 2**20:.0f} MB |",
    ]


def workers_memory() -> list[int]:
    """Bytes that each of Ray's workers has, which are below this process: the nodes are."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ShardWriter" in " ".join(process.cmdline()):
                found.append(process.memory_info().rss)
    return found


def decisions(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """How many rows have which."""
    return Counter(row["decision"] for row in rows).most_common()


def interrupted(cluster: Any, folder: Path, args: argparse.Namespace) -> list[str]:
    """Ctrl-C on the way, and the same command again; on the nodes that are left."""
    scores, count = folder / "interrupted_scores", args.interrupted
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    process = subprocess.Popen(command(folder, "interrupted", args.shard), env=environment)
    while process.poll() is None and len(shards_of(scores)) * args.shard < KILLED_AT * count:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status = process.wait()
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in shards_of(scores)}
    say(f"interrupted after {len(before)} shards")
    again = subprocess.run(
        command(folder, "interrupted", args.shard), env=environment, capture_output=True, text=True, check=False
    )
    same = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in before} == before
    rows = table_of(shards_of(scores)).to_pylist()
    times = Counter(row["path"] for row in rows)
    assert len(times) == count, "recordings are missing"
    (told,) = [line.strip() for line in " ".join(again.stdout.split()).split("│")[-1:]]
    return [
        f"| interrupted: exit status of the first command, shards it left | {status}, {len(before)} |",
        f'| the same command again | exit status {again.returncode}, "{told.split("┘")[-1].strip()}" |',
        f"| shards of the first command untouched, and how often each of {count:,} recordings is there | "
        f"{'all' if same else 'NOT ALL'}, {min(times.values())} to {max(times.values())} |",
    ]


def say(text: str) -> None:
    """Where it is, for who waits."""
    print(f"{time.strftime('%T')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
