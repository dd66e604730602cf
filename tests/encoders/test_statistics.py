"""Statistics of log-mel bands against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch

from asd_lightning.encoders.statistics import FRAME_RATE, TemporalStatistics
from asd_lightning.errors import UserError

NAMES = ["change", "p0", "p12.5", "p50", "p100", "mean", "deviation", "m0.5-2", "m2-4"]


def by_scipy(name: str, x: np.ndarray, rate: float) -> np.ndarray:
    """Of (frames, bands)."""
    if name[0] == "p":
        return np.percentile(x, float(name[1:]), axis=0)
    if name[0] == "m" and name != "mean":
        low, high = map(float, name[1:].split("-"))
        frequency, power = scipy.signal.periodogram(x, rate, detrend="constant", scaling="spectrum", axis=0)
        return np.sqrt(power[(frequency >= low) & (frequency < high)].sum(0))
    plain = {"mean": x.mean, "deviation": x.std, "change": np.diff(x, axis=0).std}
    return plain[name](axis=0)


@pytest.mark.parametrize("frames", [40, 41])
def test_each_statistic_of_each_clip(frames):
    features = np.random.default_rng(0).normal(-30, 8, size=(3, frames, 5))
    found = TemporalStatistics(5, NAMES)(torch.from_numpy(features))
    expected = [np.concatenate([by_scipy(name, clip, FRAME_RATE) for name in NAMES]) for clip in features]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-10)
    assert found.shape[1] == TemporalStatistics(5, NAMES).out_dim


def test_modulation_finds_a_beat_and_shares_out_the_squared_deviation():
    rate = 20.0
    time = np.arange(200) / rate
    features = torch.from_numpy(-40 + 3 * np.sin(2 * np.pi * 2.5 * time))[None, :, None]
    low, beat, high = TemporalStatistics(1, ["m0-2", "m2-3", "m3-11"], frame_rate=rate)(features)[0]
    torch.testing.assert_close(beat.item(), 3 / np.sqrt(2))
    assert max(low, high) < 1e-9
    noise = torch.randn(2, 51, 4, dtype=torch.float64)
    parts = TemporalStatistics(4, ["m0-2", "m2-3", "m3-11"], frame_rate=rate)(noise).view(2, 3, 4)
    torch.testing.assert_close(parts.square().sum(1), noise.var(1, correction=0))


def test_what_is_not_asked_for_changes_nothing():
    features = torch.randn(2, 30, 8)
    default = torch.cat([features.mean(1), features.std(1, correction=0)], dim=1)
    assert torch.equal(TemporalStatistics(8)(features), default)
    more = TemporalStatistics(8, ["p10", "mean", "deviation", "m2-4"])(features)
    assert torch.equal(more[:, 8:24], default)


def test_few_frames():
    one = torch.full((2, 1, 4), -30.0)
    found = TemporalStatistics(4, ["mean", "p90", "deviation", "change", "m2-4"])(one).view(2, 5, 4)
    assert torch.equal(found[:, :2], one.expand(2, 2, 4))
    assert torch.equal(found[:, 2:], torch.zeros(2, 3, 4))


@pytest.mark.parametrize("names", [["median"], ["p101"], ["p"], ["m4-2"], ["m2"], ["mean", "mean"], [], ["p1"] * 65])
def test_names_that_are_none_are_said(names):
    with pytest.raises(UserError, match=r"statistics.*mean, deviation, change, p10 \(a percentile\)"):
        TemporalStatistics(4, names)
