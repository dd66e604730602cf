"""Checking data folders: each thing that can be wrong is made wrong once, and nothing else is reported."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from asd_lightning.data import check as check_module
from asd_lightning.data.attribute_table import read_attribute_table
from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.check import Report, check, guess_year, print_report
from asd_lightning.data.measurement import measure
from asd_lightning.download.years import YEARS, Year
from asd_lightning.errors import UserError
from asd_lightning.evaluation.ground_truth import label_clips

RATE = 16_000
QUIET = Console(file=io.StringIO())


@pytest.fixture
def root(tiny_data: Path, tmp_path: Path) -> Path:
    """One machine with nothing wrong, to be spoilt."""
    shutil.copytree(tiny_data / "fan", tmp_path / "data" / "fan")
    return tmp_path / "data"


@pytest.fixture
def small_year(monkeypatch: pytest.MonkeyPatch) -> Year:
    """A year whose machines have as many clips as the small synthetic ones."""
    year = Year(2025, YEARS[2025].records, ("fan", "gearbox"), ("bearing",), (), seconds={"fan": 1.0})
    monkeypatch.setitem(check_module.YEARS, 2025, year)
    monkeypatch.setattr(check_module, "SOURCE_TRAINING_CLIPS", 20)
    monkeypatch.setattr(check_module, "TARGET_TRAINING_CLIPS", 4)
    monkeypatch.setattr(check_module, "TEST_CLIPS_PER_DOMAIN_AND_CONDITION", 6)
    return year


def messages(report: Report) -> list[str]:
    return [f"{finding.level} {finding.machine}: {finding.message}" for finding in report.findings]


def clips(root: Path, pattern: str) -> list[Path]:
    return sorted((root / "fan").rglob(pattern))


def sine(amplitude: float, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    wave = amplitude * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)
    return np.repeat(wave[:, None], channels, axis=1)


def test_nothing_wrong(tiny_data: Path) -> None:
    report = check(tiny_data, console=QUIET)
    assert report.ok
    assert messages(report) == []
    assert [summary.machine for summary in report.machines] == ["bearing", "fan", "gearbox"]
    fan = report.machines[1]
    assert fan.clips == {
        ("test", "source", "anomaly"): 6,
        ("test", "source", "normal"): 6,
        ("test", "target", "anomaly"): 6,
        ("test", "target", "normal"): 6,
        ("train", "source", "normal"): 20,
        ("train", "target", "normal"): 4,
    }
    kinds = {path.stem.split("_", 6)[-1] for path in (tiny_data / "fan" / "train").iterdir()}
    assert fan.attributes.keys() == kinds
    assert sum(fan.attributes["id_A_spd_1"].values()) == len(clips(tiny_data, "*_id_A_spd_1.wav"))
    assert fan.attributes["id_A_spd_1"]["train/source"] == len(clips(tiny_data, "*_source_train_*_id_A_spd_1.wav"))
    assert (fan.seconds, fan.sample_rates, fan.channels) == ((1.0,), (16_000,), (1,))


def test_nothing_wrong_against_a_year(tiny_data: Path, small_year: Year) -> None:
    report = check(tiny_data, 2025, QUIET)
    assert messages(report) == []
    assert report.year == small_year.year


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ("*source_train*_0000_*", "error fan: train source normal: 19 clips instead of 20"),
        ("*target_train*_0000_*", "error fan: train target normal: 3 clips instead of 4"),
        ("*source_test_anomaly_0000_*", "error fan: test source anomaly: 5 clips instead of 6"),
        ("*target_test_normal_0000_*", "error fan: test target normal: 5 clips instead of 6"),
    ],
)
def test_a_missing_clip(root: Path, small_year: Year, lost: str, found: str) -> None:
    (path,) = clips(root, lost)
    path.unlink()
    report = check(root, small_year.year, QUIET)
    assert not report.ok
    assert [text for text in messages(report) if text.startswith(found)]
    (listed,) = [finding for finding in report.findings if "listed in attributes_00.csv" in finding.message]
    assert listed.files == (path.stem,)


def test_missing_machines_come_with_the_command(root: Path, small_year: Year) -> None:
    report = check(root, small_year.year, QUIET)
    assert messages(report) == [
        f"warning bearing: not there: asd download dcase2025 -o {root} --machines bearing --parts train,test",
        f"warning gearbox: not there: asd download dcase2025 -o {root} --machines gearbox --parts dev",
    ]
    assert report.ok  # a partial selection is no error


def test_a_machine_of_another_year(root: Path, small_year: Year) -> None:
    (root / "fan").rename(root / "pump")
    assert "warning pump: is no machine of 2025" in messages(check(root, small_year.year, QUIET))


def test_supplemental_clips_are_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    year = Year(2025, {}, ("fan",), (), (), supplemental_clips=2)
    monkeypatch.setitem(check_module.YEARS, 2025, year)
    folder = root / "fan" / "supplemental"
    folder.mkdir()
    soundfile.write(folder / "section_00_machine_0000.wav", sine(0.1), RATE)
    report = check(root, 2025, QUIET)
    expected = "error fan: supplemental unknown unknown: 1 clips instead of 2: fetch the archive again"
    assert expected in messages(report)
    assert report.machines[0].clips["supplemental", "unknown", "unknown"] == 1


def spoil(change: Callable[[Path], None], pattern: str = "*source_train*_0003_*") -> Callable[[Path], Path]:
    def apply(root: Path) -> Path:
        (path,) = clips(root, pattern)
        change(path)
        return path

    return apply


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


SPOILT = {
    "silent": (lambda path: soundfile.write(path, np.zeros(RATE), RATE), "warning", "silent"),
    "offset": (lambda path: soundfile.write(path, np.full(RATE, 0.25), RATE), "warning", "silent"),
    "clipped": (lambda path: soundfile.write(path, np.clip(sine(4.0), -1, 1), RATE), "warning", "clipped in more than"),
    "rate": (
        lambda path: soundfile.write(path, sine(0.1)[::2], RATE // 2),
        "warning",
        "recorded at different rates (1 at 8000 Hz, 47 at 16000 Hz)",
    ),
    "stereo": (lambda path: soundfile.write(path, sine(0.1, channels=2), RATE), "warning", "of 2 channels, where 1"),
    "short": (lambda path: soundfile.write(path, sine(0.1, 0.5), RATE), "warning", "of 0.5 s, where 1"),
    "empty": (lambda path: path.write_bytes(b""), "error", "the file is empty"),
    "cut": (truncate, "error", "truncated"),
    "text": (lambda path: path.write_text("hello"), "error", "not readable as audio"),
    "nan": (lambda path: soundfile.write(path, np.full(RATE, np.nan), RATE, subtype="FLOAT"), "error", "NaN"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_clip_is_found_alone(root: Path, kind: str) -> None:
    change, level, message = SPOILT[kind]
    path = spoil(change)(root)
    (finding,) = check(root, console=QUIET).findings
    assert (finding.level, finding.files) == (level, (str(path),))
    assert message in finding.message


def test_the_same_sound_in_training_and_test_is_an_error_whatever_the_header(root: Path) -> None:
    (train,) = clips(root, "*source_train*_0003_*")
    (test,) = clips(root, "*source_test_normal_0003_*")
    samples, rate = soundfile.read(train, dtype="int16")
    soundfile.write(test, samples, rate, format="WAVEX", subtype="PCM_16")
    assert test.read_bytes() != train.read_bytes()
    (finding,) = check(root, console=QUIET).findings
    assert (finding.level, set(finding.files)) == ("error", {str(train), str(test)})
    assert "training and test" in finding.message


def test_the_same_sound_twice_in_training_is_a_warning(root: Path) -> None:
    first, second = clips(root, "*source_train*_000[34]_*")
    shutil.copy(first, second)
    (finding,) = check(root, console=QUIET).findings
    assert finding.level == "warning"
    assert "more than once" in finding.message


def test_two_silent_clips_are_no_duplicates(root: Path) -> None:
    for pattern in ("*source_train*_0003_*", "*source_test_normal_0003_*"):
        soundfile.write(clips(root, pattern)[0], np.zeros(RATE), RATE)
    (finding,) = check(root, console=QUIET).findings
    assert "silent" in finding.message
    assert len(finding.files) == 2


def test_names_outside_the_grammar_are_told(root: Path) -> None:
    (path,) = clips(root, "*source_train*_0003_*")
    stray = path.rename(path.with_name("machine hall.wav"))
    (root / "fan" / "attributes_00.csv").unlink()
    (finding,) = check(root, console=QUIET).findings
    assert finding.files == (str(stray),)
    assert "names do not follow" in finding.message


def test_pro_y_and_pro_upper_y_are_told(root: Path) -> None:
    (root / "fan" / "attributes_00.csv").unlink()
    for pattern, suffix in (("*source_test_normal_0001_*", "pro_Y"), ("*source_test_normal_0002_*", "pro_y")):
        (path,) = clips(root, pattern)
        path.rename(path.with_name(f"{path.name.split('normal_')[0]}normal_{pattern[-6:-2]}_{suffix}.wav"))
    assert messages(check(root, console=QUIET)) == ["warning fan: attributes that differ only in case: pro_Y, pro_y"]


def test_no_training_clips(root: Path) -> None:
    shutil.rmtree(root / "fan" / "train")
    (root / "fan" / "attributes_00.csv").unlink()
    assert "has no training clips" in messages(check(root, console=QUIET))[0]


def test_no_test_clips(root: Path) -> None:
    shutil.rmtree(root / "fan" / "test")
    report = check(root, console=QUIET)
    assert messages(report) == ["warning fan: has no test clips: it can be trained on, not evaluated"]


def evaluation_layout(root: Path, tmp_path: Path) -> Path:
    """The machine as an evaluation machine: anonymous test names, and the truth file that tells them."""
    machine = tmp_path / "released" / "eval_data" / "raw" / "fan"
    shutil.copytree(root / "fan", machine)
    rows = ["fan"]
    for index, path in enumerate(sorted((machine / "test").iterdir())):
        rows.append(f"section_00_{index:04d}.wav,{path.name}")
        path.rename(path.with_name(f"section_00_{index:04d}.wav"))
    (machine.parents[1] / "eval_data_list_2025.csv").write_text("\n".join(rows))
    return machine.parents[2]


def test_truth_gives_the_test_clips_their_labels(root: Path, tmp_path: Path, small_year: Year) -> None:
    released = evaluation_layout(root, tmp_path)
    report = check(released, small_year.year, QUIET, label_clips)
    assert [text for text in messages(report) if "fan" in text] == []
    assert report.machines[0].clips["test", "target", "anomaly"] == 6


def test_without_truth_the_test_clips_are_blind(root: Path, tmp_path: Path, small_year: Year) -> None:
    released = evaluation_layout(root, tmp_path)
    (released / "eval_data" / "eval_data_list_2025.csv").unlink()
    report = check(released, small_year.year, QUIET, label_clips)
    blind = "warning fan: has test clips without labels: they are scored, not evaluated"
    assert [text for text in messages(report) if "fan" in text] == [blind]
    assert report.machines[0].clips["test", "unknown", "unknown"] == 24


ROWS = {
    "with folder and suffix": "fan/train/section_00_source_train_normal_0000_spd_1.wav,spd,1",
    "with folder": "fan/train/section_00_source_train_normal_0000_spd_1,spd,1",
    "with suffix": "section_00_source_train_normal_0000_spd_1.wav,spd,1",
    "bare": "section_00_source_train_normal_0000_spd_1,spd,1",
    "padded": "section_00_source_train_normal_0000_spd_1.wav,spd,1,,",
}


@pytest.mark.parametrize("kind", ROWS)
def test_attribute_rows_in_every_form(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "attributes_00.csv"
    path.write_text(f"file_name,d1p,d1v,d2p,d2v\n{ROWS[kind]}\n")
    assert read_attribute_table(path) == {"section_00_source_train_normal_0000_spd_1": "spd_1"}


def test_attribute_rows_without_attributes(tmp_path: Path) -> None:
    path = tmp_path / "attributes_00.csv"
    path.write_text("file_name,d1p,d1v\na.wav,noAttribute\nb.wav,,\nc.wav\n")
    assert read_attribute_table(path) == {"a": "", "b": "", "c": ""}


@pytest.mark.parametrize("text", ["", "name,d1p\n", "file_name,d1p,d1v\na.wav,spd,1\ntrain/a,spd,2\n", "\xff\xfe"])
def test_what_is_no_attribute_table(root: Path, text: str) -> None:
    path = root / "fan" / "attributes_00.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"attributes_00.csv.*unpack its archive again"):
        read_attribute_table(path)
    (finding,) = check(root, console=QUIET).findings
    assert finding.level == "error"


def test_a_table_that_contradicts_the_names(root: Path) -> None:
    path = root / "fan" / "attributes_00.csv"
    lines = path.read_text().splitlines()
    lines[1] = f"{lines[1].split(',')[0]},spd,99"
    path.write_text("\n".join(lines))
    (finding,) = check(root, console=QUIET).findings
    assert "other attributes than their names" in finding.message
    assert len(finding.files) == 1


def test_year_from_the_folder_and_from_the_download(tmp_path: Path) -> None:
    assert guess_year(tmp_path / "dcase2024") == 2024
    assert guess_year(tmp_path / "dcase2031") is None
    other = tmp_path / "mine"
    (other / ".download").mkdir(parents=True)
    assert guess_year(other) is None
    (other / ".download" / "dcase2026.json").write_text("[]")
    assert guess_year(other) == 2026


def test_an_unknown_year_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match="2023, 2024, 2025, 2026"):
        check(root, 2019, QUIET)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        check(tmp_path / "absent", console=QUIET)


def test_report_as_json_and_as_text(root: Path) -> None:
    path = spoil(truncate)(root)
    report = check(root, console=QUIET)
    data = json.loads(json.dumps(report.as_json()))
    assert data["ok"] is False
    assert data["machines"][0]["clips"]["train/source/normal"] == 20
    by_attribute = data["machines"][0]["attributes"].values()
    assert sum(counts.get("train/source", 0) for counts in by_attribute) == 20
    assert data["findings"][0]["files"] == [str(path)]
    console = Console(file=io.StringIO(), width=100)
    print_report(report, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "20/4" in text
    assert "blind: unlabelled test clips" in " ".join(text.split())
    assert "error: fan:" in text
    assert path.name in text
    assert "--year" in text


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_levels_of_a_sine(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "sine.wav"
    soundfile.write(path, sine(0.5), RATE, subtype=subtype)
    found = measure(path)
    assert found.peak_db == pytest.approx(-6.02, abs=0.01)
    assert found.level_db == pytest.approx(-9.03, abs=0.01)
    assert (found.sample_rate, found.channels, found.subtype, found.seconds) == (RATE, 1, subtype, 1.0)
    assert (found.clipped, found.silent) == (0.0, False)


def test_one_sample_at_full_scale_is_not_clipping(tmp_path: Path) -> None:
    wave = sine(0.5)
    wave[100] = 1.0
    soundfile.write(tmp_path / "peak.wav", wave, RATE)
    assert measure(tmp_path / "peak.wav").clipped == 0.0


def test_clipped_share_is_that_of_the_flat_tops(tmp_path: Path) -> None:
    wave = np.clip(sine(2.0), -1, 1)
    soundfile.write(tmp_path / "clipped.wav", wave, RATE)
    # A sine of amplitude 2 stays beyond 1 for two thirds of the time.
    assert measure(tmp_path / "clipped.wav").clipped == pytest.approx(2 / 3, abs=0.06)


def test_one_dead_channel_is_silence(tmp_path: Path) -> None:
    stereo = sine(0.5, channels=2)
    stereo[:, 1] = 0
    soundfile.write(tmp_path / "stereo.wav", stereo, RATE)
    assert measure(tmp_path / "stereo.wav").silent


def test_a_missing_recording(tmp_path: Path) -> None:
    with pytest.raises(BadAudioError, match="no such file"):
        measure(tmp_path / "absent.wav")
