"""The parts of the measurement that decide what its table says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def retention(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import fault_retention

    return fault_retention


def test_a_fault_is_all_that_differs_and_nothing_is_left_out_of_the_near_microphone(retention):
    for fault in retention.FAULTS:
        assert retention.remains(0, (0.0, 3), fault, "none") == pytest.approx(1.0)
    near, far = (channel.astype(np.float64) for channel in retention.clip(0, "x", None, (10.0, 1), measure=True))
    with_tone, far_too = (
        channel.astype(np.float64) for channel in retention.clip(0, "x", "tone", (10.0, 1), measure=True)
    )
    tone, leaked = with_tone - near, far_too - far
    assert np.sqrt(np.mean(tone**2)) == pytest.approx(np.sqrt(np.mean(leaked**2)) / retention.LEAK, rel=1e-3), (
        "the far microphone hears the machine, too"
    )
    spectrum = np.abs(np.fft.rfft(tone))
    assert 1500 <= np.argmax(spectrum) / retention.SECONDS <= 2500


def test_the_rule(retention):
    cells = [(snr, fault) for snr in retention.SNR_DB for fault in retention.FAULTS]

    def found(**auc):
        return {(snr, way, fault): np.array(values) for way, values in auc.items() for snr, fault in cells}

    low = [0.6, 0.62, 0.61]
    plain = {"none": low, "reduced_per_clip": low, "subtracted": low, "residual": [0.7, 0.72, 0.7]}
    assert retention.verdict(found(**plain))[0] == "residual"
    assert retention.verdict(found(**plain | {"residual": [0.6, 0.9, 0.5]}))[0] == "none"
    default, why = retention.verdict(found(**plain | {"none": [0.8, 0.8, 0.8]}))
    assert (default, why) == ("none", "no way has a higher mean AUC than the near microphone alone")
