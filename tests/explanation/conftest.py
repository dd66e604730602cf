"""The pump of the detector's tests."""

from tests.detector.conftest import pump as pump
