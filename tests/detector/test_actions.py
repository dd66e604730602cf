"""The commands of a detector, and the functions of their names: they do the same."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import asd_lightning
from asd_lightning.cli import main
from asd_lightning.detector.actions import enrol
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.evaluation import share
from asd_lightning.detector.hearing import Hearing
from asd_lightning.errors import UserError
from tests.detector.sounds import hum, whine, write, write_normal


def judged(capsys, *arguments):
    status = main(["score", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_enrol_says_what_it_has_learnt(pump, tmp_path, capsys):
    arguments = ["enrol", str(pump / "pump/normal"), "--clip-seconds", "1", "--sounds", "3"]
    assert main([*arguments, "-o", str(tmp_path / "pump.asd")]) == 0
    told = capsys.readouterr().out
    for words in (
        "pump: 30 clips of 30 independent recordings",
        "warnings on at most 3.23 % of normal sound",
        "the smallest rate that they allow",
        "10 % takes 9, 5 % takes 19, 1 % takes 99; there are 30",
        "learning curve",
        "with 3 excerpts of sound",
    ):
        assert words in told
    by_function = asd_lightning.Detector.load(pump / "pump.asd")
    by_command = asd_lightning.Detector.load(tmp_path / "pump.asd")
    clips = pump / "pump/test"
    assert repr(by_function.judge(clips)) == repr(by_command.judge(clips))
    assert main([*arguments, "-o", str(tmp_path / "pump.asd")]) == 2
    told = capsys.readouterr().err
    assert "knows pump already" in told
    assert "to enrol it anew, remove the file first, or give another one with -o" in told
    assert main([*arguments, "-o", str(tmp_path / "other.asd"), "--false-alarms", "0.01"]) == 2
    assert "lowest possible is 1 / 31" in capsys.readouterr().err
    assert not (tmp_path / "other.asd").exists()


def test_many_machines_are_in_one_file(pump, own, tmp_path):
    write_normal(tmp_path / "fan/train", 12)
    asd_lightning.enrol(tmp_path / "fan/train", own, clip_seconds=1.0)
    clip = write(tmp_path / "clip.wav", hum(5))
    with pytest.raises(UserError, match="of which machine"):
        asd_lightning.score(own, clip)
    before = asd_lightning.score(pump / "pump.asd", clip)
    assert [one._replace(path="") for one in asd_lightning.score(own, clip, "pump")] == [
        one._replace(path="") for one in before
    ]
    fan = write(tmp_path / "fan/test/clip.wav", hum(5))
    assert [one.machine for one in asd_lightning.score(own, [fan, pump / "pump/test/normal/clip_100.wav"])] == [
        *("fan", "pump")
    ]
    with pytest.raises(UserError, match="hears otherwise"):
        asd_lightning.enrol(tmp_path / "fan/train", own, machine="other", clip_seconds=0.5)


def test_score_prints_one_array_and_the_status_says_what_was_found(pump, capsys, tmp_path):
    detector, test = pump / "pump.asd", pump / "pump/test"
    status, rows = judged(capsys, detector, test / "normal")
    assert (status, len(rows), {row["decision"] for row in rows}) == (0, 4, {"normal"})
    assert list(rows[0]) == [
        *("path", "machine", "score", "threshold", "decision", "p_value", "health", "windows", "nearest", "state")
    ]
    assert rows[0]["path"] == str(test / "normal/clip_100.wav")
    assert list(rows[0]["windows"][0]) == ["start", "end", "score", "decision", "state"]
    assert list(rows[0]["nearest"]) == ["recording", "start"]
    bad = write(tmp_path / "dead.wav", np.zeros(16_000))
    status, rows = judged(capsys, detector, bad, test / "normal/clip_100.wav")
    assert (status, [row["decision"] for row in rows]) == (3, ["cannot judge", "normal"])
    (tmp_path / "text.wav").write_text("no sound")
    status, rows = judged(capsys, detector, tmp_path / "text.wav")
    assert (status, rows[0]["score"], rows[0]["p_value"], rows[0]["nearest"]) == (3, None, None, None)
    status, rows = judged(capsys, detector, test, bad)
    assert status == 1
    by_function = asd_lightning.score(detector, test)
    assert [row["score"] for row in rows[:-1]] == [one.score for one in by_function]
    assert main(["score", str(tmp_path / "absent.asd"), str(test)]) == 2


@pytest.mark.parametrize("words", [["score"], ["score", "--json"], ["score", "--events"], ["explain"]])
def test_a_name_that_is_not_there_is_an_error_and_no_recording(words, pump, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [str(pump / "pump/test/anomaly/fault_0.wav")] if words[0] == "score" else []
    assert main([words[0], str(pump / "pump.asd"), *given, str(tmp_path / "absent"), *words[1:]]) == 2
    told = capsys.readouterr()
    assert told.err == f"asd: {tmp_path}/absent: no such file or folder; give recordings, or folders of them\n"
    assert not told.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["file/x", "file/deeper/x", "/proc/x", "/proc/deeper/x"])
@pytest.mark.parametrize("option", ["enrol -o", "score --csv", "score --plot", "explain -o"])
def test_a_place_that_cannot_be_written_is_one_line_before_anything_is_heard(
    option, place, pump, tmp_path, capsys, monkeypatch
):
    if place.startswith("/proc") and not sys.platform.startswith("linux"):
        pytest.skip("there is no /proc")
    (tmp_path / "file").touch()
    monkeypatch.setattr(Hearing, "embed", lambda *_: pytest.fail("heard"))
    out = f"{place if place.startswith('/') else tmp_path / place}.svg"
    recording = str(pump / "pump/test/normal/clip_100.wav")
    command, flag = option.split()
    given = [str(pump / "pump/normal")] if command == "enrol" else [str(pump / "pump.asd"), recording]
    assert main([command, *given, flag, out]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"asd: {out}: cannot be written, ")
    assert len(told.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_waveform_is_no_recording_to_explain(pump, unchecked):
    with pytest.raises(UserError, match="takes the path of a recording"):
        asd_lightning.explain(pump / "pump.asd", hum(0), None)


def test_fewer_than_no_excerpts_are_refused(pump, tmp_path, capsys):
    assert main(["enrol", str(pump / "pump/normal"), "-o", str(tmp_path / "x.asd"), "--sounds", "-1"]) == 2
    assert capsys.readouterr().err == "asd: sounds=-1: must be at least 0\n"
    with pytest.raises(UserError, match="sounds=-1"):
        Detector(sounds=-1).fit([hum(0), hum(1)])


def test_sound_far_shorter_than_what_was_enrolled_cannot_be_judged(pump, own, caplog):
    detector = Detector.load(own)
    short, long = detector.judge([hum(300)[:7900], hum(300)[:8100]])
    assert (short.decision, long.decision != "cannot judge") == ("cannot judge", True)
    assert short.health == ("too short: 0.49 s of sound, and the detector compares windows of 1 s",)
    assert detector.judge([hum(300)[:800]])[0].health[0].startswith("too short: 0.05 s of sound, ")
    # Taken into the bank, it changes nothing of that, as with all that the microphone is known by.
    accepted = write(own.parent / "short.wav", hum(301)[:4000])
    asd_lightning.accept(own, accepted)
    assert "still cannot be judged (too short: 0.25 s" in caplog.text
    assert asd_lightning.score(own, accepted)[0].decision == "cannot judge"
    # Where shorter sound than a window was enrolled, that is the measure.
    halves = Detector(clip_seconds=1.0, sounds=0).fit([hum(number, 0.4) for number in range(5)])
    assert [one.decision == "cannot judge" for one in halves.judge([hum(9, 0.21), hum(9, 0.19)])] == [False, True]


def test_a_table_is_written_and_added_to(pump, tmp_path, capsys):
    table, detector = tmp_path / "scores.csv", str(pump / "pump.asd")
    anomaly = pump / "pump/test/anomaly"
    for _ in range(2):
        assert main(["score", detector, str(anomaly), "--csv", str(table), "--append"]) == 1
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert rows[:4] == rows[4:]
    assert float(rows[0]["score"]) == asd_lightning.score(detector, anomaly)[0].score
    assert main(["score", detector, str(anomaly), "--csv", str(table)]) == 1
    assert len(table.read_text().splitlines()) == 5
    # Of earlier recordings nothing is lost.
    before, one = table.read_text(), str(next(anomaly.iterdir()))
    capsys.readouterr()
    assert main(["score", detector, one, "--csv", str(table)]) == 2
    assert capsys.readouterr().err == (
        f"asd: {table}: holds scores of 3 recordings that are not judged now, which would be lost; add to it with "
        "--append, or give another file\n"
    )
    assert table.read_text() == before
    table.write_text("other,columns\n")
    assert main(["score", detector, str(anomaly), "--csv", str(table), "--append"]) == 2
    assert "no table of scores" in capsys.readouterr().err
    assert main(["score", detector, str(anomaly), "--append"]) == 2


class Standard:
    def __init__(self, content):
        self.buffer = self
        self.content = content

    def read(self):
        return self.content


def test_raw_samples_are_what_a_file_of_them_is(pump, tmp_path, capsys, monkeypatch):
    clip = pump / "pump/test/normal/clip_100.wav"
    samples, _ = soundfile.read(clip, dtype="int16")
    wanted = asd_lightning.score(pump / "pump.asd", clip)[0]

    def piped(content, *options):
        monkeypatch.setattr(sys, "stdin", Standard(content))
        return judged(capsys, pump / "pump.asd", "-", *options)[1][0]

    assert piped(samples.astype("<i2").tobytes())["score"] == wanted.score
    stereo = np.stack([samples, np.zeros_like(samples)], axis=1)
    assert piped(stereo.astype("<i2").tobytes(), "--channels", 2)["score"] == wanted.score
    single = (samples / 2**15).astype("<f4").tobytes()
    assert piped(single, "--format", "f32le") == {**piped(samples.tobytes()), "path": "-"}
    twice = write(tmp_path / "twice.wav", np.repeat(samples / 2**15, 2))
    soundfile.write(twice, np.repeat(samples, 2), 32_000)
    assert piped(np.repeat(samples, 2).tobytes(), "--rate", 32_000)["score"] == pytest.approx(
        asd_lightning.score(pump / "pump.asd", twice)[0].score, rel=1e-6
    )
    monkeypatch.setattr(sys, "stdin", Standard(b"abc"))
    assert main(["score", str(pump / "pump.asd"), "-"]) == 2
    assert "no whole number of s16le samples" in capsys.readouterr().err


def test_info_checks_everything_and_gives_the_sound_back(pump, tmp_path, capsys):
    assert main(["info", str(pump / "pump.asd")]) == 0
    told = capsys.readouterr().out
    for words in (
        "whole and unaltered",
        "windows of 1 s",
        "embedder statistics, in",
        "pump: 30 clips in the bank, back-end residual",
        "3 excerpts",
    ):
        assert words in told
    assert main(["info", str(pump / "pump.asd"), "--json", "--extract", str(tmp_path / "sound")]) == 0
    about = json.loads(capsys.readouterr().out)
    assert about["machines"][0]["excerpts"] == 3
    assert about == json.loads(json.dumps(asd_lightning.info(pump / "pump.asd")))
    heard, rate = soundfile.read(tmp_path / "sound/pump_0.flac", dtype="int16")
    wanted, _ = soundfile.read(pump / "pump/normal/clip_000.wav", dtype="int16")
    assert rate == 16_000
    np.testing.assert_array_equal(heard, wanted)


def test_evaluate_counts_hits_and_false_alarms(pump, capsys):
    found = asd_lightning.evaluate(pump / "pump.asd", pump / "pump")
    assert found.hits[:2] == (4, 4)
    assert found.false_alarms[:2] == (0, 4)
    assert found.decisions["normal"] == {"normal": 4}
    assert main(["evaluate", str(pump / "pump.asd"), str(pump / "pump/test")]) == 0
    assert "4 of 4" in capsys.readouterr().out
    with pytest.raises(UserError, match="normal or anomaly"):
        asd_lightning.evaluate(pump / "pump.asd", pump / "pump/test/absent")


def test_the_interval_is_wilsons():
    """By its formula."""
    part, total, z = 3, 40, 1.959963984540054
    p = part / total
    middle = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2))
    assert share(part, total)[2:] == pytest.approx((middle - half, middle + half))


COLD = """
import json, sys
from asd_lightning.cli import main
status = main(["score", *sys.argv[1:], "--json"])
print(json.dumps([status, sorted(sys.modules)]))
"""


def test_a_cold_score_needs_the_file_alone_and_imports_nothing_heavy(pump, tmp_path):
    """Neither Lightning nor scikit-learn; the recordings that it was enrolled with are not there."""
    shutil.copy(pump / "pump.asd", tmp_path / "pump.asd")
    clip = shutil.copy(pump / "pump/test/anomaly/fault_0.wav", tmp_path / "clip.wav")
    command = [sys.executable, "-c", COLD, "pump.asd", "clip.wav"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    array, _, last = output.rstrip().rpartition("\n")
    status, modules = json.loads(last)
    assert status == 1
    assert json.loads(array)[0]["score"] == asd_lightning.score(pump / "pump.asd", clip)[0].score
    assert {"torch", "soundfile"} <= {*modules}
    heavy = {
        "pytorch_lightning",
        "lightning_fabric",
        "sklearn",
        "imblearn",
        "hydra",
        "omegaconf",
        "matplotlib",
        "wandb",
    }
    # None of them is heavy, and together they take as long as the rest of the command.
    heavy |= {"scipy", "torchaudio", "yaml", "rich", "fractions", "numpy.ma", "asd_lightning.scoring.knn"}
    assert heavy.isdisjoint(modules)


def test_a_folder_of_several_machines_is_no_machine(tmp_path):
    for name in ("fan", "pump"):
        write_normal(tmp_path / "all" / name / "normal", 3)
    with pytest.raises(UserError, match=r"holds several machines \(fan, pump\); enrol them one by one"):
        enrol(tmp_path / "all", tmp_path / "x.asd")


def test_a_table_of_scores_takes_the_place_of_nothing_else(pump, tmp_path, capsys):
    copy = tmp_path / "pump.asd"
    copy.write_bytes((pump / "pump.asd").read_bytes())
    for target in (copy, tmp_path):
        assert main(["score", str(copy), str(pump / "pump/test/normal"), "--csv", str(target)]) == 2
        assert "no table of scores" in capsys.readouterr().err
    assert copy.read_bytes() == (pump / "pump.asd").read_bytes()


def test_what_a_recording_has_is_told_below_the_table(pump, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    dead, fine = write(tmp_path / "dead.wav", np.zeros(16000, np.float32)), write(tmp_path / "fine.wav", hum(500))
    assert main(["score", str(pump / "pump.asd"), str(dead), str(fine)]) == 3
    table, below = capsys.readouterr().out.split("└")
    assert "silent" not in table
    notes = [line.strip() for line in below.splitlines()[2:]]
    assert " ".join(notes) == f"{dead}: silent: all samples are the same, so the sensor is unplugged or muted"


def test_what_cannot_be_enrolled_or_kept_is_one_line(pump, tmp_path, capsys):
    same = tmp_path / "same"
    for number in range(3):
        write(same / f"{number}.wav", hum(1))
    assert main(["enrol", str(same), "-o", str(tmp_path / "x.asd")]) == 2
    assert "its 3 pieces of sound are all the same" in capsys.readouterr().err
    for name in ("a/b", "a\nb", ""):
        assert main(["enrol", str(pump / "pump/normal"), "-o", str(tmp_path / "x.asd"), "--machine", name]) == 2
        told = capsys.readouterr().err
        assert "neither a slash" in told
        assert len(told.splitlines()) == 1
    with pytest.raises(UserError, match="is a folder"):
        Detector.load(pump / "pump.asd").save(tmp_path)


def test_blocks_are_not_called_recordings(tmp_path, capsys):
    write(tmp_path / "pump/normal/long.wav", hum(0, 30.0))
    assert main(["enrol", str(tmp_path / "pump/normal"), "-o", str(tmp_path / "x.asd"), "--clip-seconds", "1"]) == 0
    told = capsys.readouterr().out
    assert "it rests on 10 blocks of one recording" in told
    assert "blocks needed for a rate" in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--false-alarms", "10"], "--false-alarms 10: a share above 0 and below 1 is needed, such as 0.1 for 10 %"),
        (["--false-alarms", "10%"], "--false-alarms 10%: a share above 0 and below 1 is needed, such as 0.1 for 10 %"),
        (["--false-alarms", "nan"], "--false-alarms nan: a share above 0 and below 1 is needed, such as 0.1 for 10 %"),
        (["--recordings", "absent.csv"], "absent.csv: no such table of recordings; correct --recordings "),
        (
            ["--embedder", "mn04"],
            "by name, such as mn04_as (`asd weights list`; those of a file at hand by `asd weights ",
        ),
        (["--embedder", "mn04.pt"], "`asd weights import mn04.pt --as NAME`"),
    ],
)
def test_what_is_given_wrongly_is_named_as_it_was_given(options, words, pump, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Hearing, "embed", lambda *_: pytest.fail("heard"))
    assert main(["enrol", str(pump / "pump/normal"), "-o", str(tmp_path / "x.asd"), *options]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert len(told.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file_to_enrol_into(pump, tmp_path, capsys):
    assert main(["enrol", str(pump / "pump/normal"), "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"asd: {tmp_path}: is a folder; name a file in it, such as -o {tmp_path}/pump.asd\n"
    )


def test_a_rate_that_is_none_is_refused_by_its_name_before_anything_is_heard():
    with pytest.raises(UserError, match=r"false_alarms=10\.0: must be above 0 and below 1"):
        Detector(clip_seconds=1.0, false_alarms=10.0).fit([hum(0), hum(1)])


@pytest.mark.parametrize(("seconds", "told"), [(1, False), (1.1, False), (4, True)])
def test_clips_shorter_than_the_window_are_told(seconds, told, pump, tmp_path, capsys):
    arguments = ["enrol", str(pump / "pump/normal"), "-o", str(tmp_path / "x.asd"), "--clip-seconds", str(seconds)]
    assert main(arguments) == 0
    words = (
        "clips are shorter than a window, usually 1 s of 4 s, and are repeated to fill it: --clip-seconds 1 compares "
        "them as they are\n"
    )
    assert (words in capsys.readouterr().out) == told


def test_evaluating_normal_sound_alone_claims_nothing_of_faults(pump, tmp_path, capsys):
    write_normal(tmp_path / "normal", 3, first=300)
    assert main(["evaluate", str(pump / "pump.asd"), str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "0 of 0" not in told
    assert "100.00" not in told.replace("3 of 3", "")
    assert "no recording's folder or name says anomaly: nothing is known of hits" in told


def test_enrolling_leaves_out_what_a_folder_or_name_calls_an_anomaly(tmp_path, caplog, capsys):
    write_normal(tmp_path / "pump", 10)
    write(tmp_path / "pump/pump_fault.wav", whine(1))
    write(tmp_path / "pump/broken/1.wav", whine(2))
    made = Detector(clip_seconds=1.0, sounds=0).fit(tmp_path / "pump")
    assert len(made.machines_["pump"].bank.files()) == 10
    assert main(["enrol", str(tmp_path / "pump/broken"), "-o", str(tmp_path / "x.asd")]) == 2
    assert "put them into a folder called normal" in capsys.readouterr().err
