"""A word that is a label in one place is a label everywhere, in any case and form."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning.data.conditions import ANOMALY_WORDS, NORMAL_WORDS, condition_of_file, condition_of_folder
from asd_lightning.data.layout import find_clips, survey

CASES = {
    "lower": str.lower,
    "upper": str.upper,
    "title": str.title,
    "mixed": lambda word: "".join(random.Random(word).choice([c.lower(), c.upper()]) for c in word),
}
FORMS = ("{}", "{}_01", "pump-{}", "2024 {} 3", "{}2")


def record(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(str(path))).normal(size=1_600)
    soundfile.write(path, 0.1 * noise, 16_000)
    return path


def placed(root: Path) -> Counter[tuple[str, str, str]]:
    """Folder of each clip, its split and condition."""
    clips = find_clips(root)
    return Counter((clip.path.parent.relative_to(root).as_posix(), clip.split, clip.condition) for clip in clips)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_every_word_in_every_form(case, form):
    for words, expected in ((NORMAL_WORDS, "normal"), (ANOMALY_WORDS, "anomaly")):
        for word in sorted(words):
            assert condition_of_folder(form.format(CASES[case](word))) == expected, (word, case, form)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AnomalousSound_IND", "anomaly"),
        ("NormalSound_CNT", "normal"),
        ("not_ok", "anomaly"),
        ("NotOK", "anomaly"),
        ("no fault", "normal"),
        ("fault-free", "normal"),
        ("normal_load_bearing_fault", "anomaly"),
        ("monday", "unknown"),
        ("normally", "unknown"),
        ("abNormal", "anomaly"),
        ("", "unknown"),
    ],
)
def test_names_of_folders(name, expected):
    assert condition_of_folder(name) == expected


def test_of_files_only_the_words_that_speak_of_machines():
    assert condition_of_file("pump_anomaly_003") == "anomaly"
    assert condition_of_file("normal_1") == "normal"
    assert {condition_of_file(stem) for stem in ("bad", "take 2 ok", "broken", "NG_1", "recording good")} == {"unknown"}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("place", ["train", "Train", "normal", "NORMAL", "train/normal", "normal/monday", "train/a/b"])
def test_faults_below_normal_recordings_are_never_trained_on(tmp_path, caplog, place, case):
    for number in range(3):
        record(tmp_path / place / f"{number}.wav")
        record(tmp_path / "test/normal" / f"{number}.wav")
    words = sorted(ANOMALY_WORDS)
    for word in words:
        record(tmp_path / place / CASES[case](word) / "x.wav")
    record(tmp_path / place / "anomaly_7.wav")
    assert placed(tmp_path) == {(place, "train", "normal"): 3, ("test/normal", "test", "normal"): 3}
    (told,) = [record.getMessage() for record in caplog.records if "not trained on" in record.getMessage()]
    assert f"{len(words) + 1} recordings are not trained on" in told
    assert "move them below test/" in told


def test_faults_in_the_folder_of_a_challenges_training_clips(tmp_path):
    name = "section_00_source_train_normal_{:04d}.wav"
    record(tmp_path / "fan/train" / name.format(0))
    for number, folder in enumerate(("NG", "anomaly", "deep/faulty"), 1):
        record(tmp_path / "fan/train" / folder / name.format(number))
    record(tmp_path / "fan/train" / "section_00_source_train_anomaly_0009.wav")
    clips, notes = survey(tmp_path)
    assert [clip.name for clip in clips] == [name.format(0)]
    assert [(note.level, len(note.files)) for note in notes] == [("warning", 4)]


@pytest.mark.parametrize("good", sorted(NORMAL_WORDS))
def test_beside_a_folder_with_a_normal_word_any_other_is_a_kind_of_fault(tmp_path, caplog, good):
    caplog.set_level("INFO")
    for folder in ("train/" + good, f"test/{good.title()}", "test/scratch", "test/belt slip", "train/crack"):
        record(tmp_path / folder / "a.wav")
    assert placed(tmp_path) == {
        (f"train/{good}", "train", "normal"): 1,
        (f"test/{good.title()}", "test", "normal"): 1,
        ("test/scratch", "test", "anomaly"): 1,
        ("test/belt slip", "test", "anomaly"): 1,
    }
    told = [record.getMessage() for record in caplog.records]
    assert sum("2 anomalous (test/belt slip, test/scratch)" in message for message in told) == 1
    assert sum("1 recordings are not trained on" in message and "train/crack" in message for message in told) == 1


def test_without_a_normal_word_other_folders_tell_nothing(tmp_path):
    for folder in ("train/monday", "train/tuesday", "test/monday", "test/tuesday"):
        record(tmp_path / folder / "a.wav")
    assert {condition for _, split, condition in placed(tmp_path) if split == "test"} == {"unknown"}
    assert sum(split == "train" for _, split, _ in placed(tmp_path)) == 2


def test_names_of_test_files_tell_where_folders_do_not(tmp_path):
    record(tmp_path / "normal/a.wav")
    for name in ("normal_1.wav", "abnormal_1.wav", "pump 7.wav"):
        record(tmp_path / "test" / name)
    told = {clip.path.name: clip.condition for clip in find_clips(tmp_path) if clip.split == "test"}
    assert told == {"normal_1.wav": "normal", "abnormal_1.wav": "anomaly", "pump 7.wav": "unknown"}


@pytest.mark.parametrize(("good", "bad"), [("good", "defect"), ("OK", "NG"), ("NormalSound", "AnomalousSound")])
def test_folders_of_other_data_sets_beside_one_another(tmp_path, good, bad):
    for number in range(5):
        record(tmp_path / "pump" / good / f"{number}.wav")
    record(tmp_path / "pump" / bad / "x.wav")
    clips = find_clips(tmp_path)
    assert Counter((clip.machine, clip.split, clip.condition) for clip in clips) == {
        ("pump", "train", "normal"): 4,
        ("pump", "test", "normal"): 1,
        ("pump", "test", "anomaly"): 1,
    }


def test_a_machine_may_have_a_label_in_its_name(tmp_path):
    for machine in ("good_pump", "ok", "faulty_fan"):
        record(tmp_path / machine / "train/a.wav")
        record(tmp_path / machine / "test/b.wav")
    assert {clip.machine for clip in find_clips(tmp_path)} == {"good_pump", "ok", "faulty_fan"}


@pytest.mark.parametrize("inner", ["train", "normal", "Test"])
def test_a_machine_in_another_machines_folder_is_told(tmp_path, caplog, inner):
    for folder in ("train", "test/normal", f"pump/{inner}", "pump/test/bad"):
        record(tmp_path / folder / "a.wav")
    assert len(find_clips(tmp_path)) == 2
    assert f"2 recordings in {tmp_path}/pump are not used" in caplog.text


def test_what_lies_beside_the_folders_that_are_used_is_told(tmp_path, caplog):
    for folder in ("pump/normal", "pump/test/normal", "pump/crack", "pump"):
        record(tmp_path / folder / "a.wav")
    assert len(find_clips(tmp_path)) == 2
    assert f"1 recordings in {tmp_path}/pump/crack are not used" in caplog.text
    assert f"1 recordings in {tmp_path}/pump are not used" in caplog.text


def test_the_documented_words_are_the_words():
    page = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")
    for kind, words in (("normal", NORMAL_WORDS), ("fault", ANOMALY_WORDS)):
        told = page.split(f"\n- {kind}: ")[1].split("\n-")[0].split("\n\n")[0]
        assert set(told.replace("\n", " ").replace(",", " ").split()) == words
