"""What recordings say together: drift by the twentieth recording, seldom where there is none; and absurd shares."""

import csv

import numpy as np
import pytest

from asd_lightning.cli import main
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.judging import Judgment, Window
from asd_lightning.live.over_recordings import absurd_share, drift_note
from tests.detector.sounds import hum, whine, write, write_normal

CLIPS, RUNS = 40, 6


@pytest.fixture(scope="module")
def machine():
    return Detector(clip_seconds=1.0, sounds=0).fit([hum(number) for number in range(30)]).machines_["machine"]


def judged(scores, machine=None, decision="normal"):
    return [
        Judgment(str(n), "machine", score, 1e9, decision, 0.5, (), (Window(0.0, 1.0, score, decision),), None)
        for n, score in enumerate(map(float, scores))
    ]


def test_drift_is_seldom_told_where_there_is_none(machine):
    """New scores from the gamma distribution of the left-out ones; more of it: benchmarks/drift_recordings.md."""
    normal, draw = machine.normal.scores, np.random.default_rng(0)
    shape = (normal.mean() / normal.std()) ** 2
    told = [
        bool(drift_note(machine, judged(draw.gamma(shape, normal.mean() / shape, CLIPS)), (), 1.0)) for _ in range(RUNS)
    ]
    assert sum(told) == 0


def test_drift_is_told_by_the_twentieth_drifted_recording(machine):
    normal, draw = machine.normal.scores, np.random.default_rng(1)
    scores = draw.choice(normal, 40)
    scores[20:] += 4 * normal.std()
    assert drift_note(machine, judged(scores[:20]), (), 1.0) == ""
    note = drift_note(machine, judged(scores), (), 1.0)
    assert "asd calibrate" in note
    assert 20 < int(note.split("by number ")[1].split(" of 40 recordings")[0]) <= 40
    # The same by days, the first of them in a table.
    by_days = drift_note(machine, judged(scores[20:]), scores[:20].tolist(), 1.0)
    assert "(with 20 earlier ones of the table)" in by_days
    # What was not judged says nothing, and four recordings say too little.
    assert drift_note(machine, judged(scores, decision="cannot judge"), (), 1.0) == ""
    assert drift_note(machine, judged(scores[-4:]), (), 1.0) == ""


def test_where_recordings_are_longer_windows_are_tested(machine):
    long = judged([100.0])[0]._replace(windows=tuple(Window(n, n + 1.0, 100.0, "alarm") for n in range(8)))
    note = drift_note(machine, [long], [1.0] * 30, 1.0)
    assert "of 8 windows:" in note


def test_where_it_cannot_be_tested_that_is_said():
    two = Detector(clip_seconds=1.0, sounds=0).fit([hum(0), hum(1)]).machines_["machine"]
    note = drift_note(two, judged([1.0] * 10), (), 1.0)
    assert note.startswith("machine: drift is not tested: ")
    assert "at least 3 are needed" in note


@pytest.mark.parametrize(("alarms", "told"), [(2, False), (3, True), (5, True)])
def test_more_alarms_than_not_are_not_left_without_a_word(machine, alarms, told):
    recordings = [*judged([1.0] * (5 - alarms)), *judged([1.0] * alarms, decision="alarm")]
    note = absurd_share(machine, recordings)
    assert bool(note) == told
    assert not told or f"{alarms} of 5 recordings are warnings or alarms, and 3.23 % of normal ones would be" in note
    assert absurd_share(machine, judged([1.0] * 4, decision="alarm")) == ""


def test_score_goes_on_from_day_to_day(pump, tmp_path, capsys):
    """Thirty normal recordings on one day, then some with a tone; rows by other thresholds do not count."""
    detector, table = str(pump / "pump.asd"), tmp_path / "log.csv"
    write_normal(tmp_path / "one", 12, first=300)
    for number in range(6):
        write(tmp_path / f"two/{number}.wav", whine(400 + number))
    assert main(["score", detector, str(tmp_path / "one"), "--csv", str(table), "--append"]) in (0, 1)
    assert "drift" not in capsys.readouterr().err
    assert main(["score", detector, str(tmp_path / "two"), "--csv", str(table), "--append"]) == 1
    told = capsys.readouterr().err
    assert "other thresholds" not in told
    assert "6 of 6 recordings are warnings or alarms" in told
    assert "of 18 recordings (with 12 earlier ones of the table)" in told
    rows = list(csv.reader(table.open()))
    column = rows[0].index("threshold")
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *([*row[:column], "1.0", *row[column + 1 :]] for row in rows[1:])])
    assert main(["score", detector, str(tmp_path / "two"), "--csv", str(table), "--append"]) == 1
    told = capsys.readouterr().err
    assert "of 6 recordings:" in told
    assert f"asd: {table}: all its rows of pump were judged by other thresholds than today's" in told
    # From now on some were judged as today.
    assert main(["score", detector, str(tmp_path / "two"), "--csv", str(table), "--append"]) == 1
    assert "other thresholds" not in capsys.readouterr().err
