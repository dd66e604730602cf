"""What is told of why, against the sound itself and the excerpts that the file holds."""

import io

import numpy as np
import pytest
import soundfile

from asd_lightning.detector.detector import Detector
from asd_lightning.detector.excerpts import write_excerpts
from tests.detector.sounds import RATE, hum, whine, write


def explained(ask, path):
    return ask("POST", "/api/v1/explain", files={"file": (path.name, path.read_bytes())}).json()


@pytest.mark.parametrize(("seconds", "window"), [(1.0, 0.0), (3.5, 2.0)])
def test_the_whine_is_where_it_is(ask, tmp_path, seconds, window):
    waveform = hum(5, seconds)
    first = round(window * RATE)
    waveform[first : first + RATE] = whine(6)
    path = write(tmp_path / "today.wav", waveform)
    told = explained(ask, path)
    scored = ask("POST", "/api/v1/score", files={"file": (path.name, path.read_bytes())}).json()
    assert told["judgment"] == scored
    assert told["sentence"].startswith("Its score is ")
    (low, high), *_ = told["parts"]["marked"]["frequencies"]
    assert low < 3000 < high
    picture = told["spectrogram"]
    levels = np.array(picture["levels"])
    assert levels.shape == (len(picture["times"]), len(picture["frequencies"]))
    assert (levels.shape[0] <= 200, levels.shape[1] <= 128) == (True, True)
    assert window <= picture["times"][0] < picture["times"][-1] < window + 1
    high_bands = np.array(picture["frequencies"]) > 1500
    loudest = np.array(picture["frequencies"])[high_bands][levels[:, high_bands].mean(axis=0).argmax()]
    assert loudest == pytest.approx(3000, rel=0.03)
    parts = told["parts"]
    assert len(parts["values"]["times"]) == len(parts["times"])
    assert parts["times"][0][0] == window
    assert parts["exact"]
    bands = dict(zip(map(tuple, parts["frequencies"]), parts["values"]["frequencies"], strict=True))
    (lowest, highest) = max(bands, key=bands.get)
    assert lowest < 3000 < highest


def test_a_long_window_is_shrunk_and_its_power_kept():
    from asd_lightning.serving.explained import _edges, _means

    decibels = np.random.default_rng(0).normal(-40, 10, (1001, 130)).astype(np.float32)
    rows, columns = _edges(1001, 200), _edges(130, 128)
    shrunk = _means(_means(decibels, rows, 0), columns, 1)
    assert shrunk.shape == (200, 128)
    power = 10 ** (decibels.astype(float) / 10)
    block = power[rows[7] : rows[8], columns[126] : columns[127]]
    assert 10 * np.log10(block.mean()) == pytest.approx(shrunk[7, 126])


def test_the_nearest_sound_is_that_of_the_file(pump, ask, tmp_path):
    (tmp_path / "sounds").mkdir()
    loaded = Detector.load(pump / "pump.asd")
    paths = write_excerpts({"pump": loaded.sounds_of("pump")}, tmp_path / "sounds")
    kept = {path.stem.split("_")[1]: soundfile.read(path)[0] for path in paths}
    told = explained(ask, write(tmp_path / "today.wav", hum(0)))["nearest"]
    # The very sound that the bank begins with, whose excerpt is the first.
    assert told == {"recording": "clip_000.wav", "start": 0.0, "sound": "/api/v1/sound/0-0", "is_nearest": True}
    for number, waveform in kept.items():
        answer = ask("GET", f"/api/v1/sound/0-{number}")
        assert answer.headers["Content-Type"] == "audio/wav"
        heard, rate = soundfile.read(io.BytesIO(answer.content))
        assert rate == RATE
        assert np.array_equal(heard, waveform)


@pytest.mark.parametrize("given", ["0-1", "1-0", "0", "x-0", "0-x", "-", "0--1", "0-0-0", "٠-0", "9" * 12 + "-0"])
def test_what_is_no_sound_is_told(ask, given):
    answer = ask("GET", f"/api/v1/sound/{given}")
    assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_what_cannot_be_judged_has_a_picture_and_no_parts(ask, tmp_path):
    told = explained(ask, write(tmp_path / "silent.wav", np.zeros(RATE, np.float32)))
    assert told["judgment"]["decision"] in ("cannot judge", "not running")
    assert told["spectrogram"]["times"]
    assert told["parts"]["times"] == told["parts"]["frequencies"] == []
