"""Drift is found within 20 clips, and where there is none at most 5 of 100 runs say so."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from asd_lightning.detector import drift
from asd_lightning.detector.drift import DriftState, DriftTest
from asd_lightning.errors import UserError

RUNS_PER_ENROLMENT = 20


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(drift, "_RUNS", 400)


def machine(rng, count, clips, between, skewed):
    """Values of ``count`` recordings; a share ``between`` of the variance is theirs.  Gamma of shape 4, or Gaussian."""

    def draw(*shape):
        return (rng.gamma(4.0, size=shape) - 4) / 2 if skewed else rng.normal(size=shape)

    return draw(count, 1) * math.sqrt(between) + draw(count, clips) * math.sqrt(1 - between)


def run(test, values):
    """The clip at which drift is found, by the textbook's recursion; 0 where it is not."""
    up = down = 0.0
    for number, value in enumerate(values, start=1):
        z = min(6.0, max(-6.0, (value - test.center) / test.scale))
        up, down = max(0.0, up + z - test.allowance), max(0.0, down - z - test.allowance)
        if up > test.limit or (test.sides == "both" and down > test.limit):
            return number
    return 0


def by_updates(test, values):
    state = DriftState()
    for value in values:
        state = test.update(state, float(value))
    return state


@pytest.mark.parametrize("sides", ["up", "both"])
def test_runs_with_and_without_drift(quick, sides):
    """Machines of many kinds, 40 enrolments with 20 runs each: 200 clips without drift, then 20 that drifted."""
    rng = np.random.default_rng(0)
    early, late, total = 0, [], 0
    kinds = [(9, 4, 0.5), (15, 4, 0.7), (30, 1, 0.0), (20, 10, 0.3)]
    for count, clips, between in kinds * 10:
        enrolled = machine(rng, count, clips, between, sides == "up")
        test = DriftTest.fit(enrolled.ravel(), np.repeat(np.arange(count), clips), sides)
        for _ in range(RUNS_PER_ENROLMENT):
            new = machine(rng, -(-220 // clips), clips, between, sides == "up").ravel()[:220]
            early += run(test, new[:200]) > 0
            total += 1
            late.append(run(test, new[200:] + test.smallest))
    assert early <= 0.05 * total
    assert np.mean(np.array(late) > 0) >= 0.9
    assert max(late) <= 20


@pytest.mark.parametrize(("sides", "drawn"), [("up", "exponential"), ("both", "laplace")])
def test_the_limit_is_exact_for_the_tails_it_is_set_with(sides, drawn):
    """Of 2,000 enrolments of 30 recordings of one clip, 5 % call 200 clips drifted; with Gaussian tails fewer do."""
    rng = np.random.default_rng(6)
    test = DriftTest.fit(rng.normal(size=30), np.arange(30), sides)
    shares = []
    for draw in (getattr(rng, drawn), rng.normal):
        enrolled, new = draw(size=(2000, 30, 1)), draw(size=(2000, 200))
        z = (new - enrolled.mean(axis=1)) / enrolled.std(axis=1, ddof=1)
        shares.append(np.mean([run(replace(test, center=0.0, scale=1.0), values) > 0 for values in z]))
    assert shares[0] == pytest.approx(0.05, abs=0.015)
    assert shares[1] < shares[0]


def test_shared_recordings_cost_what_they_must():
    """Ten clips of a recording in a row raise the limit; said to be independent, they would break the promise."""
    rng = np.random.default_rng(1)
    enrolled = machine(rng, 30, 10, 0.8, False)
    recording = np.repeat(np.arange(30), 10)
    test, naive = (DriftTest.fit(enrolled.ravel(), recording, "both", together=each) for each in (None, 1))
    assert (test.together, naive.together) == (10, 1)
    assert naive.smallest < test.smallest
    runs = [machine(rng, 20, 10, 0.8, False).ravel() for _ in range(200)]
    assert np.mean([run(naive, values) > 0 for values in runs]) > 0.2
    assert np.mean([run(test, values) > 0 for values in runs]) <= 0.05


def test_updates_are_the_textbooks():
    rng = np.random.default_rng(2)
    test = DriftTest.fit(rng.normal(size=40), np.arange(40), "both")
    for shift in (0.0, 1.0, -2.0):
        values = rng.normal(shift, 1, 100)
        assert by_updates(test, values).drifted_at == run(test, values)


def test_by_hand():
    test = DriftTest(10.0, 2.0, 1.0, 7.0, "both", 200, 0.05, 1, 3.0)
    # z = 2, -1, 6 (of 50), 6: sums 1, 0 (down: 0), 5, 10.
    assert by_updates(test, [14.0]) == DriftState(1, 1.0, 0.0, 0)
    assert by_updates(test, [14.0, 8.0, 110.0]) == DriftState(3, 5.0, 0.0, 0)
    assert by_updates(test, [14.0, 8.0, 110.0, 110.0, 10.0, 4.0]) == DriftState(6, 5.0, 2.0, 4)
    assert by_updates(test, [-100.0, -100.0]).drifted_at == 2
    up = DriftTest(10.0, 2.0, 1.0, 7.0, "up", 200, 0.05, 1, 3.0)
    assert by_updates(up, [-100.0] * 20) == DriftState(20, 0.0, 0.0, 0)


def test_one_loud_clip_is_no_drift():
    rng = np.random.default_rng(3)
    for count, clips in ((9, 4), (100, 1)):
        enrolled = machine(rng, count, clips, 0.5, True)
        test = DriftTest.fit(enrolled.ravel(), np.repeat(np.arange(count), clips))
        assert by_updates(test, [test.center, 1e6, test.center]).drifted_at == 0


def test_center_and_scale_by_hand():
    """Recordings 0 2, 4 6 and 5 5: means 1, 5, 5; within 4/3; between 16/3 - 2/3."""
    values, recording = np.array([0.0, 2.0, 4.0, 6.0, 5.0, 5.0]), np.array([7, 7, 8, 8, 9, 9])
    test = DriftTest.fit(values, recording)
    assert test.center == pytest.approx(11 / 3)
    assert test.scale == pytest.approx(math.sqrt(4 / 3 + 16 / 3 - 2 / 3))
    assert test.together == 2


def test_unit_of_the_values_does_not_matter():
    rng = np.random.default_rng(4)
    values, recording = rng.gamma(4.0, size=60), np.arange(60) // 4
    one, other = DriftTest.fit(values, recording), DriftTest.fit(100 * values - 7, recording)
    assert (one.allowance, one.limit) == (other.allowance, pytest.approx(other.limit))
    assert other.smallest == pytest.approx(100 * one.smallest)


def test_kept_and_resumed():
    rng = np.random.default_rng(5)
    test = DriftTest.fit(rng.normal(size=30), np.arange(30))
    again = DriftTest.from_dict(json.loads(json.dumps(test.to_dict())))
    assert again == test
    values = rng.normal(1.0, 1.0, 60)
    whole, state = by_updates(test, values), by_updates(test, values[:25])
    for value in values[25:]:
        state = again.update(DriftState.from_dict(json.loads(json.dumps(asdict(state)))), float(value))
    assert state == whole
    for broken in ({"scale": 0.0}, {"limit": "x"}, {"sides": "left"}, {"center": math.nan}, {"clips": None}):
        with pytest.raises(UserError):
            DriftTest.from_dict(test.to_dict() | broken)
    for broken in ({"up": -1.0}, {"clips": math.inf}, {"drifted_at": 99}, {"down": None}):
        with pytest.raises(UserError, match="begin a new one"):
            DriftState.from_dict(asdict(state) | broken)


def test_what_cannot_be_fitted():
    values = np.arange(6.0)
    for bad, recording, message in (
        (values, np.arange(6) // 3, "2 recordings"),
        (np.ones(6), np.arange(6), "no spread"),
        (np.where(values == 2, np.nan, values), np.arange(6), "NaN"),
    ):
        with pytest.raises(UserError, match=message):
            DriftTest.fit(bad, recording)
    test = DriftTest.fit(values, np.arange(6))
    with pytest.raises(UserError, match="cannot be judged"):
        test.update(DriftState(), math.nan)
    with pytest.raises(UserError, match="clips=5"):
        DriftTest.fit(values, np.arange(6), clips=5)
