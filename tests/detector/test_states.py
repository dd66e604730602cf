"""States from levels and from folders: clear ones are found, and what is not clear is one state."""

import json
from pathlib import PurePath

import numpy as np
import pytest

from asd_lightning.detector.states import NOT_RUNNING, RUNNING, LevelStates, NamedStates, state_of_path
from asd_lightning.errors import UserError


def test_off_is_found_and_assigned():
    rng = np.random.default_rng(0)
    for _ in range(50):
        running, off = rng.normal(-35, 2, 40), rng.normal(-70, 2, rng.integers(3, 30))
        states = LevelStates.fit(rng.permutation(np.concatenate([running, off])))
        assert states.names == (RUNNING, NOT_RUNNING)
        assert states.boundary == pytest.approx((running.min() + off.max()) / 2)
        assert (states.assign(rng.normal(-35, 2, 20)) == 0).all()
        assert (states.assign(rng.normal(-70, 2, 20)) == 1).all()


@pytest.mark.parametrize("draw", ["normal", "laplace", "uniform", "gumbel"])
def test_one_state_is_not_parted(draw):
    """Levels of one kind, with scales up to 8 dB, in any number: one state in 99 of 100 machines."""
    rng = np.random.default_rng(1)
    drawn = (rng.uniform(1, 8) * getattr(rng, draw)(size=rng.integers(1, 100)) for _ in range(500))
    assert sum(LevelStates.fit(levels).names != (RUNNING,) for levels in drawn) <= 5


def test_gaps_by_hand():
    def parted(*levels):
        return LevelStates.fit(np.array(levels, float)).boundary

    assert parted(0, 1, 2, 12, 13, 14) == 7
    assert parted(0, 1, 2, 11.9, 13, 14) is None  # below 10 dB
    assert parted(0, 1, 12, 13, 14, 15) is None  # two clips below
    assert parted(0, 1, 2, 12, 13, 17) is None  # 4 dB elsewhere: not three times as wide
    assert parted(0, 1, 2, 12, 13) is None
    assert LevelStates(None).assign(np.array([-200.0, 0.0])).tolist() == [0, 0]
    with pytest.raises(UserError, match="finite"):
        parted(0, np.inf)


def sorted_clips(rng, centers, recordings=5, clips=4):
    """Two features; a recording has an offset of its own."""
    rows = [
        (center + rng.normal(0, 1, 2) + rng.normal(0, 0.5, 2), name, number * 100 + recording)
        for number, (name, center) in enumerate(centers.items())
        for recording in range(recordings)
        for _ in range(clips)
    ]
    features, names, recording = zip(*rows, strict=True)
    return np.array(features), names, np.array(recording)


def test_named_states_are_assigned():
    rng = np.random.default_rng(2)
    centers = {"off": np.array([-60.0, 0.0]), "slow": np.array([-40.0, 0.0]), "fast": np.array([-40.0, 20.0])}
    states = NamedStates.fit(*sorted_clips(rng, centers))
    assert states.names == ("fast", "off", "slow")
    features, names, _ = sorted_clips(rng, centers)
    assert [states.names[state] for state in states.assign(features)] == list(names)


def test_states_that_cannot_be_told_apart_are_one():
    rng = np.random.default_rng(3)
    centers = {"a": np.zeros(2), "b": np.full(2, 0.5), "off": np.full(2, -30.0), "c": np.ones(2)}
    features, names, recording = sorted_clips(rng, centers)
    states = NamedStates.fit(features, names, recording)
    assert states.names == ("a+b+c", "off")
    # A feature without meaning, of another unit, changes nothing.
    wide = np.column_stack([features, rng.normal(0, 1000, len(features))])
    assert NamedStates.fit(wide, names, recording).names == ("a+b+c", "off")
    assert NamedStates.fit(features, ["x"] * len(features), recording).names == ("x",)


def test_recordings_are_left_out_whole():
    """Each state of many recordings that lie anywhere: neighbors of a clip would tell its state."""
    rng = np.random.default_rng(4)
    places = rng.normal(0, 30, (12, 2))
    features = np.repeat(places, 10, axis=0) + rng.normal(0, 0.01, (120, 2))
    names = ["even" if number % 2 else "odd" for number in np.arange(120) // 10]
    assert len(NamedStates.fit(features, names, np.arange(120) // 10).names) == 1


def test_a_state_of_one_recording():
    features = np.array([[0.0], [1.0], [2.0], [50.0], [51.0]])
    assert NamedStates.fit(features, ["a", "a", "a", "b", "b"], np.array([0, 1, 2, 3, 3])).names == ("a", "b")


def test_kept_and_read_again():
    rng = np.random.default_rng(5)
    named = NamedStates.fit(*sorted_clips(rng, {"a": np.zeros(2), "b": np.full(2, 30.0)}))
    assert NamedStates.from_dict(json.loads(json.dumps(named.to_dict()))) == named
    for states in (LevelStates(None), LevelStates(-50.5)):
        assert LevelStates.from_dict(json.loads(json.dumps(states.to_dict()))) == states
    for broken in ({"means": [[1.0]]}, {"names": []}, {"deviations": [0.0, 1.0]}, {"means": "x"}, {"names": None}):
        with pytest.raises(UserError, match="fit the detector again"):
            NamedStates.from_dict(named.to_dict() | broken)
    for boundary in ("x", np.nan, []):
        with pytest.raises(UserError, match="fit the detector again"):
            LevelStates.from_dict({"boundary": boundary})
    with pytest.raises(UserError, match="2 finite features"):
        named.assign(np.zeros((1, 3)))
    with pytest.raises(UserError, match="0 names for 1 clips"):
        NamedStates.fit(np.zeros((1, 1)), [], np.zeros(1, int))


def test_states_of_folders():
    folder = PurePath("pump/normal")
    found = [state_of_path(folder / name, folder) for name in ("a.wav", "off/b.wav", "fast/monday/c.wav")]
    assert found == ["", "off", "fast"]
    with pytest.raises(UserError, match="not in"):
        state_of_path(PurePath("pump/a.wav"), folder)
