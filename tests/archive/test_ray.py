"""An archive on clusters of Ray nodes on this machine (``make test-ray``): a killed node and Ctrl-C lose nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asd_lightning.archive.shards import shards_of, table_of
from asd_lightning.detector.actions import enrol
from asd_lightning.detector.detector import Detector
from tests.detector.sounds import whine, write, write_normal

# Read by Ray when it is imported: nothing is sent to its makers.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.ray
COUNT, SHARD = 300, 6
TOTAL = COUNT + 2


@pytest.fixture(scope="module", autouse=True)
def _signal_that_ray_keeps() -> Iterator[None]:
    """Ray takes SIGTERM for its cluster and does not give it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ray")
    write_normal(root / "pump/normal")
    enrol(root / "pump/normal", root / "pump.asd", clip_seconds=1.0, sounds=0)
    write_normal(root / "archive/monday", COUNT, first=100)
    write(root / "archive/tuesday/fault.wav", whine(1))
    (root / "archive/tuesday/broken.wav").write_bytes(b"RIFF")
    return root


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives a node half a minute to start, in which a busy machine does not start one."""
    services = pytest.importorskip("ray._private.services")
    plain = services.get_node

    def get_node(*asked: Any) -> Any:
        for _ in range(300):
            with contextlib.suppress(RuntimeError):
                return plain(*asked)
            time.sleep(1)
        return plain(*asked)

    monkeypatch.setattr(services, "get_node", get_node)


def begin(root: Path, output: Path, address: str | None) -> subprocess.Popen[str]:
    words = ["score", root / "pump.asd", f"{root}/archive/**", "--engine", "ray", "-o", output, "--shard", str(SHARD)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {} if address is None else {"RAY_ADDRESS": address}
    command = [sys.executable, "-m", "asd_lightning.cli", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def check_all_is_there_once(root: Path, scores: Path, printed: str) -> None:
    rows = table_of(shards_of(scores)).to_pylist()
    assert Counter(row["path"] for row in rows) == Counter(map(str, (root / "archive").rglob("*.wav")))
    normal = Detector.load(root / "pump.asd")
    bank = normal.machines_["pump"].normal.scores
    judgments = {one.path: one for one in normal.judge(root / "archive")}
    for row in rows:
        one = judgments[row["path"]]
        assert (row["decision"], row["health"]) == (one.decision, "; ".join(one.health))
        if row["score"] is not None:
            assert row["score"] == pytest.approx(one.score, rel=0, abs=1e-5 * bank.std())
    assert f"{TOTAL}" in printed


@pytest.mark.usefixtures("patient")
def test_a_node_that_is_killed_costs_no_recording_and_doubles_none(archive, tmp_path):
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        other = cluster.add_node(**node)
        process = begin(archive, tmp_path / "scores", cluster.address)
        wait_until(lambda: len(shards_of(tmp_path / "scores")) * SHARD >= 0.4 * TOTAL, process)
        cluster.remove_node(other, allow_graceful=False)
        printed, said = process.communicate()
    finally:
        cluster.shutdown()
    assert process.returncode == 1, said
    check_all_is_there_once(archive, tmp_path / "scores", printed)
    # Nothing but the table: what Ray says of nodes is no result.
    assert "raylet" not in printed


def test_interrupted_it_goes_on_with_what_is_missing(archive, tmp_path):
    pytest.importorskip("ray")
    scores = tmp_path / "scores"
    process = begin(archive, scores, None)
    wait_until(lambda: len(shards_of(scores)) >= 10, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, "interrupted" in said) == (130, True)
    done = {path: path.stat().st_mtime_ns for path in shards_of(scores)}
    assert 10 <= len(done) < TOTAL / SHARD
    process = begin(archive, scores, None)
    printed, said = process.communicate()
    assert process.returncode == 1, said
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert f"{TOTAL - table_of(list(done)).num_rows} of them were scored by this call" in " ".join(printed.split())
    check_all_is_there_once(archive, scores, printed)
