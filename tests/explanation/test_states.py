"""Of a machine with several states, what is said is of the state that decided."""

import dataclasses
import re

import numpy as np
import pytest

from asd_lightning.cli import main
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.judging import Judgment, Window
from asd_lightning.detector.states import LevelStates
from asd_lightning.explanation.explanation import Explanation
from asd_lightning.explanation.page import summary, write_explanation
from tests.detector.sounds import write
from tests.detector.test_sorted_states import FILED, NORMAL, OPTIONS, fast, off, slow
from tests.explanation.test_page import words_of

NAN = float("nan")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return Detector(**OPTIONS).fit(NORMAL, filed=FILED).save(tmp_path_factory.mktemp("states") / "pump.asd")


def told(file, clip, status, capsys):
    assert main(["explain", str(file), str(clip), "-o", str(clip.with_suffix(".html"))]) == status
    return words_of(clip.with_suffix(".html")), capsys.readouterr().out


def test_the_loudest_is_of_the_windows_that_decided():
    windows = (
        Window(0.0, 1.0, 9.0, "normal", "fast"),
        Window(1.0, 2.0, 2.0, "warning", "slow"),
        Window(2.0, 3.0, 1.0, "normal", "slow"),
        Window(3.0, 4.0, NAN, "cannot judge", "slow"),
        Window(4.0, 5.0, 8.0, "cannot judge", "slow"),
        Window(5.0, 6.0, 7.0, "not running", "off"),
    )
    one = Judgment("a.wav", "pump", 2.0, 1.5, "warning", 0.1, (), windows, None, "slow")
    for order in (windows, windows[::-1]):
        assert one._replace(windows=order).loudest() == windows[1]
    assert one._replace(score=NAN).loudest() is None
    # Without a threshold no window is judged.
    undecided = tuple(window._replace(decision="cannot judge", state="") for window in windows[:4])
    assert one._replace(windows=undecided, state="", threshold=NAN).loudest() == undecided[0]


def test_what_decides_is_explained_and_named_in_the_table(file, tmp_path, capsys):
    """Windows of other states score higher, and mean nothing there."""
    clip = write(
        tmp_path / "through.wav", np.concatenate([off(60), fast(60), fast(61), slow(60, whine=0.03), slow(61)])
    )
    judged = Detector.load(file).judge([clip])[0]
    assert judged.loudest() == judged.windows[3]
    assert min(window.score for window in judged.windows[:3]) > judged.score
    page, line = told(file, clip, 1, capsys)
    assert "heard in 5 windows; the score is the highest of its windows in state slow, from 1.5 to 2 s" in page
    assert "score, 1 = warning" in page
    assert "1 where its warnings begin" in page
    assert f"warning above {judged.threshold:.4g}" in line
    low, high = re.search(r"unlike normal sound at ([\d.]+) kHz to ([\d.]+) kHz", line).groups()
    assert float(low) < 3 < float(high)
    assert main(["score", str(file), str(clip), "--plot", str(tmp_path / "x.svg")]) == 1
    assert " 2 s " in capsys.readouterr().out
    assert "score, 1 = warning" in (tmp_path / "x.svg").read_text()


def test_a_machine_that_is_off_says_which_state_it_sounds_like(file, tmp_path, capsys):
    page, line = told(file, write(tmp_path / "off.wav", off(70)), 0, capsys)
    assert "It sounds most like the state off, in which the machine does not run, so nothing is judged." in page
    assert "not running (it sounds most like the state off, in which the machine does not run)" in line
    assert "each state of the machine has its own levels" in page
    assert "quieter" not in page
    assert f"{Detector.load(file).machines_['machine'].promise.warning:.4g}" not in page


def test_a_machine_that_is_known_by_its_level_was_quieter(file, tmp_path):
    machine = Detector.load(file).machines_["machine"]
    by_level = dataclasses.replace(machine, states=LevelStates(-50.0), in_states={})
    window = Window(0.0, 1.0, 3.0, "not running")
    found = Explanation(Judgment("a.wav", "machine", NAN, 1.5, "not running", NAN, (), (window,), None), 16_000)
    page = words_of(write_explanation(found, by_level, "x.asd", tmp_path / "why.html"))
    assert "The machine is quieter than it ever was while it ran, so nothing is judged." in page
    assert summary(found) == "a.wav: not running (the machine is quieter than it ever was while it ran)"
    assert "warnings begin above" in page


def test_what_cannot_be_read_has_no_threshold_of_no_state(file, tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no sound")
    page, _ = told(file, tmp_path / "text.wav", 3, capsys)
    assert "each state of the machine has its own levels" in page
    assert "warnings begin above" not in page


def test_info_tells_each_states_thresholds_alone(file, capsys):
    assert main(["info", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    machine = Detector.load(file).machines_["machine"]
    assert [line.split(":")[0].strip() for line in lines if "warning above" in line] == ["state fast", "state slow"]
    assert any(f"warning above {machine.in_states['slow'].promise.warning:.6g}" in line for line in lines)
