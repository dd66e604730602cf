"""The pump with its detector."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from asd_lightning.detector.drift import DriftTest
from asd_lightning.live import prepared
from asd_lightning.live.levels import LeftOut, drift_of
from tests.detector.conftest import pump as pump


@pytest.fixture(scope="session", autouse=True)
def _one_drift_test_of_the_same_sound() -> Iterator[None]:
    """Every test here begins to listen with the pump's detector, and two thirds of that are the same simulation."""
    known: dict[tuple[bytes, tuple[str, ...]], DriftTest] = {}

    def drift_of_known(left_out: LeftOut) -> DriftTest:
        key = left_out.scores.tobytes(), tuple(left_out.recordings)
        if key not in known:
            known[key] = drift_of(left_out)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "drift_of", drift_of_known)
        yield
