"""The pump with its detector."""

from tests.detector.conftest import pump as pump
