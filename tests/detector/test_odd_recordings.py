"""What folders hold besides good recordings, and disks that are full: each is told, and none stops the rest."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning.cli import main
from asd_lightning.detector.detector import Detector
from tests.detector.sounds import RATE, hum, whine, write, write_normal


def test_a_folder_that_may_not_be_listed_is_a_row_and_the_others_are_judged(pump, tmp_path, monkeypatch, capsys):
    for place in ("a.wav", "secret/b.wav"):
        write(tmp_path / "today" / place, hum(300))
    iterdir = Path.iterdir

    def refuse(self):
        if self.name == "secret":
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    for given in ([tmp_path / "today"], [tmp_path / "today", next((pump / "pump/test/normal").iterdir())]):
        assert main(["score", str(pump / "pump.asd"), *map(str, given), "--json"]) == 3
        found = json.loads(capsys.readouterr().out)
        assert {Path(one["path"]).name: one["decision"] for one in found[:2]} == {
            "a.wav": "normal",
            "secret": "cannot judge",
        }
        assert "make it readable" in found[1]["health"][0]


def test_clips_far_shorter_than_the_others_are_left_out_and_named(tmp_path, capsys):
    """0.05 s among clips of 1 s would be enrolled as a tone, and let 0.03 s be judged."""
    folder = write_normal(tmp_path / "pump/normal", 10)
    write(folder / "tiny.wav", hum(400)[: RATE // 20])
    write(folder / "half.wav", hum(401)[: RATE // 2])
    assert main(["enrol", str(folder), "-o", str(tmp_path / "x.asd"), "--clip-seconds", "1"]) == 0
    told = capsys.readouterr().out
    assert "pump: 11 clips of 11" in told
    assert "tiny.wav: 0.05 s of sound, and 0.1 s at least are needed beside the usual 1 s; record longer" in told
    assert Detector.load(tmp_path / "x.asd").machines_["pump"].shortest == 0.5


def test_clips_that_are_all_too_short_are_not_called_silent(tmp_path, capsys):
    for number in range(6):
        write(tmp_path / f"pump/normal/{number}.wav", hum(number)[: RATE // 50])
    assert main(["enrol", str(tmp_path / "pump/normal"), "-o", str(tmp_path / "x.asd"), "--clip-seconds", "0.2"]) == 2
    told = capsys.readouterr().err
    assert "pump: none of its recordings can be used, such as" in told
    assert "0.wav: 0.02 s of sound, and 0.032 s at least tell of a sound; record longer" in told


def test_channels_that_are_not_heard_are_told(tmp_path, caplog, capsys):
    folder = write_normal(tmp_path / "pump/normal", 10)
    assert main(["enrol", str(folder), "-o", str(tmp_path / "x.asd"), "--clip-seconds", "1"]) == 0
    assert not caplog.text
    for number in (3, 4):
        both = np.stack([hum(number), whine(number)], axis=1)
        soundfile.write(folder / f"clip_{number:03}.wav", both, RATE, subtype="FLOAT")
    assert main(["enrol", str(folder), "-o", str(tmp_path / "y.asd"), "--clip-seconds", "1"]) == 0
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "2 of 10 recordings have several channels, such as" in told[0]
    assert "clip_003.wav, and channel 0 alone is heard" in told[0]
    capsys.readouterr()


@pytest.mark.parametrize("given", ["-1", "0.1", "ten", "nan", "3601"])
def test_a_window_that_cannot_be_is_told_by_its_option(pump, tmp_path, capsys, given):
    arguments = ["enrol", str(pump / "pump/normal"), "-o", str(tmp_path / "x.asd"), f"--clip-seconds={given}"]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"asd: --clip-seconds {given}: a number of seconds from 0.2 to 3600")


def test_what_cannot_be_read_is_named_once(pump, tmp_path, capsys):
    (tmp_path / "x.mp3").write_bytes(b"ID3" + bytes(50))
    assert main(["score", str(pump / "pump.asd"), str(tmp_path / "x.mp3")]) == 3
    told = " ".join(capsys.readouterr().out.split())
    assert "x.mp3: not readable as audio" in told
    assert f"x.mp3: {tmp_path}" not in told


@pytest.mark.parametrize("several", [False, True])
def test_recordings_in_other_formats_are_counted(pump, tmp_path, caplog, capsys, several):
    clip = write(tmp_path / "today/a.wav", hum(300))
    (tmp_path / "today/deep").mkdir()
    for name in ("b.mp3", "deep/c.OGG", "notes.txt"):
        (tmp_path / "today" / name).write_bytes(b"x")
    more = [str(write(tmp_path / "b.wav", hum(301)))] * several
    assert main(["score", str(pump / "pump.asd"), str(clip.parent), *more]) == 0
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert told[0].startswith(
        f"2 recordings are not used, since .mp3 (1) and .ogg (1) cannot be read, such as {clip.parent}/b.mp3"
    )
    assert "ffmpeg" in told[0]
    capsys.readouterr()


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("writer", ["tables.write_csv", "detector.timeline.plot_timelines"])
def test_a_full_disk_swallows_no_alarm(pump, tmp_path, monkeypatch, capsys, form, writer):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "full/l")

    anomaly = next((pump / "pump/test/anomaly").iterdir())
    monkeypatch.setattr(f"asd_lightning.{writer}", full)
    place = ["--csv", str(tmp_path / "l.csv")] if "csv" in writer else ["--plot", str(tmp_path / "l.svg")]
    assert main(["score", str(pump / "pump.asd"), str(anomaly), *place, *form]) == 2
    told = capsys.readouterr()
    assert "warning" in told.out or "alarm" in told.out
    assert told.err.startswith("asd: full/l: cannot be written")
