"""The pump of the tests of detectors."""

from tests.detector.conftest import pump

__all__ = ["pump"]
