"""A state's only recording, where it is long, stands for several: in blocks of time with a gap."""

import numpy as np
import pytest

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.detector.detector import Detector
from asd_lightning.errors import UserError
from asd_lightning.live.levels import left_out_windows
from tests.detector.sounds import write
from tests.detector.test_detector import left_by
from tests.detector.test_sorted_states import fast, off, slow

WINDOWS = 12
OPTIONS = {"clip_seconds": 0.5, "sounds": 0}


def long(make, windows=WINDOWS):
    return np.concatenate([make(seed) for seed in range(windows)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``pump/normal/{fast,slow,off}/long.wav``."""
    root = tmp_path_factory.mktemp("long") / "pump/normal"
    for make in (fast, slow, off):
        write(root / make.__name__ / "long.wav", long(make))
    return root


@pytest.fixture(scope="module")
def machine(folder):
    return Detector(states="folders", **OPTIONS).fit(folder).machines_["pump"]


@pytest.mark.parametrize("row", [0, 5, 11, 13, 20])
def test_a_block_is_scored_without_itself_and_its_neighbors(machine, row):
    """By a plain choice among the windows of both states, with the gap of a window."""
    items = machine.bank.items
    item = items[row]
    first = 3 * (round(item.start / 0.5) // 3)
    near = {(first + step) * 0.5 for step in range(-1, 4)}
    others = [place for place, other in enumerate(items) if other.file != item.file or other.start not in near]
    embeddings = machine.bank.embeddings.astype(np.float64)
    wanted = left_by(embeddings[others], embeddings[row])
    own = machine.in_states[item.state].normal
    assert own.recordings == WINDOWS // 3
    assert np.abs(own.scores / wanted - 1).min() < 1e-6


def test_the_command_says_what_blocks_promise(folder, tmp_path, capsys):
    path = tmp_path / "pump.asd"
    given = ["enrol", str(folder), "-o", str(path), "--states", "folders", "--clip-seconds", "0.5", "--no-sound"]
    assert main([*given, "--false-alarms", "0.2"]) == 0
    told = capsys.readouterr().out
    assert "24 clips of 8 recordings, or blocks of a state's only one" in told
    assert told.count("it rests on 4 blocks of one recording: ") == 2
    assert "blocks of one recording promise for that recording; calibrate with those of other days" in told
    given[3] = str(tmp_path / "other.asd")
    assert main([*given, "--false-alarms", "0.1"]) == 2
    assert "state fast: a rate of 0.1 cannot be promised with 4 recordings" in capsys.readouterr().err


def test_it_is_the_same_from_its_file_and_after_a_change_that_was_taken_back(folder, tmp_path):
    path = tmp_path / "pump.asd"
    asd_lightning.enrol(folder, path, states="folders", **OPTIONS)
    before = path.read_bytes()
    sounds = [slow(200), fast(200), off(200)]
    judged = Detector.load(path).judge(sounds)
    assert [one.state for one in judged] == ["slow", "fast", "off"]
    asd_lightning.accept(path, write(tmp_path / "new.wav", slow(300)))
    asd_lightning.undo(path)
    assert path.read_bytes() == before


def test_a_state_of_many_recordings_stays_beside_one_in_blocks():
    waveforms, filed = [*(slow(seed) for seed in range(10)), long(fast, 12)], [*["slow"] * 10, "fast"]
    machine = Detector(**OPTIONS).fit(waveforms, filed=filed).machines_["machine"]
    assert [(one.file, one.count) for one in machine.bank.blocking] == [("10", 4)]
    assert {name: own.normal.recordings for name, own in machine.in_states.items()} == {"fast": 4, "slow": 10}
    told = machine.sentence().split("; in state ")
    assert ["blocks of one recording" in one for one in told] == [True, False]


def test_states_that_sound_alike_are_joined_by_their_blocks():
    """Nobody else's recording could say so; what is joined has two recordings, and they are left out whole."""
    twice = [long(slow, 12), np.concatenate([slow(seed) for seed in range(50, 62)])]
    machine = Detector(**OPTIONS).fit(twice, filed=["slow", "as slow"]).machines_["machine"]
    assert machine.states.names == ("as slow+slow",)
    assert machine.bank.blocking == ()
    assert machine.normal.recordings == 2


def test_a_recording_too_short_for_three_blocks_is_refused():
    with pytest.raises(UserError, match=r"state fast: 1 of its recordings .* takes 3, or one of nine windows or more"):
        Detector(**OPTIONS).fit([long(slow, 9), long(fast, 8)], filed=["slow", "fast"])


def test_left_out_windows_come_in_the_order_of_the_sound(machine):
    """Of more than ten blocks too: the tenth comes after the second."""
    alone = Detector(**OPTIONS).fit([long(slow, 33)]).machines_["machine"]
    assert alone.bank.blocking[0].count == 11
    np.testing.assert_allclose(left_out_windows(alone, 0.5).ends, np.arange(1, 34) * 0.5)
    np.testing.assert_allclose(left_out_windows(machine, 0.5).ends, np.arange(1, 25) * 0.5)
