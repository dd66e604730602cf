"""An archive of two machines with a detector of both, and what is in the place of a cluster where none is needed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.archive import scoring
from asd_lightning.archive.worker import ShardWriter, listed
from asd_lightning.detector.actions import enrol
from tests.detector.sounds import hum, whine, write, write_normal


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``plant.asd`` and ``archive`` (pump, fan, a machine that nobody knows, a damaged file): do not write into it."""
    root = tmp_path_factory.mktemp("plant")
    write_normal(root / "pump/normal")
    for number in range(30):
        write(root / f"fan/normal/clip_{number:03}.wav", hum(number, pitch=90.0))
    for name in ("pump", "fan"):
        enrol(root / name / "normal", root / "plant.asd", clip_seconds=1.0, sounds=0)
    write_normal(root / "archive/monday/pump", 7, first=100)
    write(root / "archive/monday/pump/long.wav", hum(300, seconds=3.2))
    write(root / "archive/tuesday/pump/clip_100.wav", whine(100))
    write(root / "archive/tuesday/fan/clip_1.wav", hum(150, pitch=90.0))
    write(root / "archive/tuesday/lift/clip_1.wav", hum(151))
    (root / "archive/tuesday/fan/broken.wav").write_bytes(b"RIFF, and no more")
    (root / "archive/tuesday/fan/notes.txt").write_text("no recording")
    return root


@pytest.fixture
def without_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are scored one after another in this process."""

    class Nothing:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def cluster_resources(self):
            return {"CPU": 2.0}

    def told(_ray, job, done, _crew):
        writer = ShardWriter(job)
        for row in listed(job, done):
            told = writer({name: np.array([value]) for name, value in row.items()})["told"]
            yield json.loads(told[0])

    monkeypatch.setattr(scoring, "connected", Nothing)
    monkeypatch.setattr(scoring, "_told", told)
