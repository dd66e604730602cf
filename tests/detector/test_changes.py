"""What changes a detector, accept, calibrate and undo: the commands, and the functions of their names."""

import shutil
from pathlib import Path

import numpy as np
import pytest

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.detector.actions import calibrate, enrol
from asd_lightning.detector.detector import Detector
from asd_lightning.errors import UserError
from tests.detector.sounds import hum, whine, write, write_normal


def test_what_is_accepted_is_normal_and_can_be_taken_back_to_the_bit(own, tmp_path, capsys):
    before = own.read_bytes()
    whines = [write(tmp_path / f"whine_{number}.wav", whine(number)) for number in range(3)]
    assert asd_lightning.score(own, whines[0])[0].decision == "alarm"
    assert main(["accept", str(own), *map(str, whines)]) == 0
    assert "33 clips in the bank, changes: 1" in capsys.readouterr().out
    accepted = own.read_bytes()
    found = asd_lightning.score(own, write(tmp_path / "again.wav", whine(600)))[0]
    assert found.decision == "normal"
    assert found.nearest.recording.endswith(".wav (accepted, change 1)")
    with pytest.raises(UserError, match="nothing new"):
        asd_lightning.accept(own, whines[0])
    write_normal(tmp_path / "later", 10, first=300)
    asd_lightning.calibrate(own, tmp_path / "later")
    assert own.read_bytes() != accepted
    assert main(["undo", str(own)]) == 0
    assert own.read_bytes() == accepted
    asd_lightning.undo(own)
    assert own.read_bytes() == before
    with pytest.raises(UserError, match="nothing to take back"):
        asd_lightning.undo(own)


def test_calibrate_is_a_command_too_and_does_what_the_function_does(own, tmp_path, capsys):

    other = Path(shutil.copy(own, tmp_path / "other.asd"))
    write_normal(tmp_path / "later", 10, first=300)
    assert main(["calibrate", str(own), str(tmp_path / "later"), "--machine", "pump"]) == 0
    told = capsys.readouterr().out
    asd_lightning.calibrate(other, tmp_path / "later", "pump")
    promises = [asd_lightning.Detector.load(path).machines_["pump"].promise for path in (own, other)]
    assert promises[0] == promises[1]
    assert "thresholds found from later normal recordings" in told
    assert "changes: 1" in told


def test_later_recordings_alone_make_the_thresholds_where_they_are_enough(pump, own, tmp_path):
    """Ten later clips promise one in eleven; thirty and ten together promise what the thirty did."""
    folder = write_normal(tmp_path / "later", 10, first=300)
    scores = sorted(one.score for one in asd_lightning.score(own, folder))
    machine = asd_lightning.calibrate(own, folder).machines_["pump"]
    assert machine.normal.recordings == 40
    assert machine.promise.rate == pytest.approx(1 / 31)
    coarse = tmp_path / "coarse.asd"
    asd_lightning.enrol(pump / "pump/normal", coarse, clip_seconds=1.0, false_alarms=0.1)
    machine = asd_lightning.calibrate(coarse, folder).machines_["pump"]
    assert machine.normal.recordings == 10
    assert machine.promise.warning == scores[-1]
    np.testing.assert_allclose(machine.normal.scores, scores, rtol=0, atol=0)


def test_clips_of_a_recording_that_the_bank_has_heard_calibrate_nothing(tmp_path, caplog):
    folder = write_normal(tmp_path / "pump/normal", 12)
    (tmp_path / "pump/recordings.csv").write_text(
        "file,recording\nnormal/clip_000.wav,monday\nlater/clip_400.wav,monday\nlater/clip_401.wav,tuesday\n"
    )
    asd_lightning.enrol(folder, tmp_path / "x.asd", clip_seconds=1.0)
    machine = asd_lightning.calibrate(tmp_path / "x.asd", write_normal(tmp_path / "pump/later", 2, first=400))
    assert [item.recording for item in machine.machines_["pump"].bank.of_role("calibration").items] == ["tuesday"]
    assert "cut from monday, which the bank has heard" in caplog.text


def test_a_change_by_somebody_else_is_not_overwritten(own, tmp_path, monkeypatch):
    clip = write(tmp_path / "a.wav", hum(500))
    grown = asd_lightning.detector.actions.grown

    def meanwhile(*arguments):
        made = grown(*arguments)
        monkeypatch.setattr("asd_lightning.detector.actions.grown", grown)
        asd_lightning.accept(own, write(tmp_path / "b.wav", hum(501)))
        return made

    monkeypatch.setattr("asd_lightning.detector.actions.grown", meanwhile)
    with pytest.raises(UserError, match="was changed meanwhile"):
        asd_lightning.accept(own, clip)
    assert len(asd_lightning.Detector.load(own).machines_["pump"].bank.items) == 31


def test_one_long_recording_is_calibrated_with_others(tmp_path):
    """As the command advises; they have no blocks."""
    write(tmp_path / "long/normal/hour.wav", hum(0, 60.0))
    write_normal(tmp_path / "later", 12, first=300)
    enrol(tmp_path / "long/normal", tmp_path / "x.asd", clip_seconds=1.0, sounds=0, machine="pump")
    before = Detector.load(tmp_path / "x.asd").machines_["pump"]
    calibrate(tmp_path / "x.asd", tmp_path / "later", machine="pump")
    after = Detector.load(tmp_path / "x.asd").machines_["pump"]
    assert after.bank.of_role("calibration").recordings() != []
    assert after.bank.of_role("calibration").blocking == ()
    assert after.bank.blocking == before.bank.blocking


def test_accepting_what_the_sensor_check_refuses_says_that_it_stays_refused(own, tmp_path, caplog):
    offset = write(tmp_path / "offset.wav", hum(400) + 0.3)
    assert asd_lightning.score(own, offset)[0].decision == "cannot judge"
    asd_lightning.accept(own, offset)
    assert (
        "offset.wav: taken into the bank, but what sounds so still cannot be judged (a constant offset" in caplog.text
    )
    assert asd_lightning.score(own, offset)[0].decision == "cannot judge"


def test_a_change_tells_the_level_of_warnings_before_and_after(own, tmp_path, capsys):
    """By hand, from what asd info tells of the file before and after."""

    def level():
        return f"{asd_lightning.detector.actions.info(own)['machines'][0]['warning']:.6g}"

    first = level()
    assert main(["accept", str(own), str(write(tmp_path / "a.wav", whine(700)))]) == 0
    second = level()
    assert second != first
    assert f"\nwarning above {second} (was {first})\n" in capsys.readouterr().out
    assert main(["undo", str(own)]) == 0
    assert f"\nwarning above {first} (was {second})\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["accept", "calibrate"])
def test_what_is_called_an_anomaly_becomes_normal_only_where_its_file_is_given(command, own, tmp_path, capsys, caplog):
    before = own.read_bytes()
    day = tmp_path / "day"
    write_normal(day / "good", 10, first=300)
    fault = write(day / "anomaly/0.wav", whine(300))
    assert main([command, str(own), str(fault.parent)]) == 2
    assert (
        f"{fault.parent}: 1 of 1 recordings are called anomalies by folder or name; if they are normal, give the files "
        "themselves" in capsys.readouterr().err
    )
    assert own.read_bytes() == before
    write(day / "fault_2.wav", whine(301))
    assert main([command, str(own), str(day)]) == 0
    assert f"{day}: 2 of 12 recordings are called anomalies by folder or name and left out" in caplog.text
    assert len(Detector.load(own).machines_["pump"].bank.files()) == 40
    assert main([command, str(own), str(fault)]) == 0
    assert "1 of 1 recordings are called anomalies by folder or name, and taken as normal all the same" in caplog.text
    assert len(Detector.load(own).machines_["pump"].bank.files()) == 41
