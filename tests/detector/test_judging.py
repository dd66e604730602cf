"""Many recordings are judged some at a time: the same judgements, and no more kept than those need."""

import random

import numpy as np
import pytest

from asd_lightning import Detector
from asd_lightning.detector import judging
from tests.detector.sounds import hum, whine, write


@pytest.fixture(scope="module")
def detector(pump):
    return Detector.load(pump / "pump.asd")


@pytest.fixture(scope="module")
def sounds(detector, tmp_path_factory):
    """Of 1 to 5 windows each, one that cannot be read."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(30):
        sound = whine if number % 7 == 3 else hum
        write(folder / f"{number:02}.wav", sound(300 + number, seconds=1 + number % 5))
    torn = folder / "11.wav"
    torn.write_bytes(torn.read_bytes()[:40])
    return detector.sounds_given(folder)


def judged(detector, sounds, batch_size=4):
    return judging.judge(sounds, detector.hearing_, detector.machines_, batch_size)


def without_scores(judgments):
    told = [judging.as_json(one) for one in judgments]
    return [one | {"score": 0, "windows": [window | {"score": 0} for window in one["windows"]]} for one in told]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("together", [1, 7, 16])
def test_they_are_judged_as_they_are_all_at_once(detector, sounds, monkeypatch, together, mixed):
    if mixed:
        sounds = random.Random(0).sample(sounds, len(sounds))
    wanted = judged(detector, sounds)
    rows = []
    scored = judging.scores_of
    monkeypatch.setattr(judging, "_TOGETHER", together)
    monkeypatch.setattr(judging, "scores_of", lambda *given: rows.append(len(given[1])) or scored(*given))
    found = judged(detector, sounds)
    assert len(rows) == 1 if mixed else len(rows) > 2
    assert without_scores(found) == without_scores(wanted)
    assert [one.decision for one in found].count("cannot judge") == 1
    # Products of other shapes round in another way.
    np.testing.assert_allclose([one.score for one in found], [one.score for one in wanted], rtol=1e-9)
    windows = [np.array([window.score for one in each for window in one.windows]) for each in (found, wanted)]
    np.testing.assert_allclose(*windows, rtol=1e-9)


@pytest.mark.parametrize(("batch_size", "wanted"), [(1, [3, 4, 1]), (2, [4, 4]), (3, [3, 5]), (4, [4, 4]), (5, [8])])
def test_a_block_has_whole_recordings_and_full_batches(detector, sounds, monkeypatch, batch_size, wanted):
    """Of 1, 2, 1, 3 and 1 windows, at least three at a time."""
    monkeypatch.setattr(judging, "_TOGETHER", 3)
    of_file = {}
    for sound in sounds:
        of_file.setdefault(sound.clip.file, []).append(sound)
    own = [sound for name in ("00", "01", "05", "02", "10") for sound in of_file[f"{name}.wav"]]
    assert [len(block) for block in judging._blocks(own, batch_size)] == wanted
