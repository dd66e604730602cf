"""A pump with its detector, made once: do not write into its folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from asd_lightning.detector.actions import enrol
from tests.detector.sounds import whine, write, write_normal


@pytest.fixture(scope="session")
def pump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``pump/normal``, ``pump/test/{normal,anomaly}`` and ``pump.asd``."""
    root = tmp_path_factory.mktemp("pump")
    write_normal(root / "pump/normal")
    write_normal(root / "pump/test/normal", 4, first=100)
    for number in range(4):
        write(root / f"pump/test/anomaly/fault_{number}.wav", whine(200 + number))
    enrol(root / "pump/normal", root / "pump.asd", clip_seconds=1.0, sounds=3)
    return root


@pytest.fixture
def own(pump, tmp_path):
    """A copy of the detector, to be changed."""
    return shutil.copy(pump / "pump.asd", tmp_path / "pump.asd")
