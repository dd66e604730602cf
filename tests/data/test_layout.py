"""The three layouts, and what is refused."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning.data.audio import Header
from asd_lightning.data.layout import find_clips
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.data.recordings import cut_recordings, mixed_lengths, mixed_rates
from asd_lightning.data.truth_place import find_truth
from asd_lightning.errors import UserError


def record(path: Path, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(size=round(16_000 * seconds))
    soundfile.write(path, 0.1 * noise, 16_000)
    return path


def test_machine_folders_below_the_root(tmp_path):
    record(tmp_path / "fan/train/section_00_source_train_normal_0000_m-n_X.wav")
    record(tmp_path / "fan/test/section_00_target_test_anomaly_0000_m-n_X.wav")
    record(tmp_path / "fan/supplemental/section_00_noise_0000.wav")
    (tmp_path / "fan/attributes_00.csv").write_text("file_name,d1p,d1v\n")
    clips = find_clips(tmp_path)
    assert [(clip.split, clip.domain, clip.condition, clip.attribute) for clip in clips] == [
        ("supplemental", "unknown", "unknown", "noise"),
        ("test", "target", "anomaly", "m-n_X"),
        ("train", "source", "normal", "m-n_X"),
    ]


def test_released_archives_unpacked(tmp_path):
    record(tmp_path / "dev_data/raw/fan/train/section_00_source_train_normal_0000.wav")
    record(tmp_path / "eval_data/raw/Polisher/train/section_00_source_train_normal_0000.wav")
    record(tmp_path / "eval_data/raw/Polisher/test/section_00_0000.wav")
    clips = find_clips(tmp_path)
    assert Counter((clip.machine, clip.split, clip.condition) for clip in clips) == {
        ("fan", "train", "normal"): 1,
        ("Polisher", "train", "normal"): 1,
        ("Polisher", "test", "unknown"): 1,
    }
    assert {clip.machine for clip in find_clips(tmp_path, machines=["fan"])} == {"fan"}


@pytest.mark.parametrize("reference", ["train", "normal"])
def test_plain_folder_with_a_test_set(tmp_path, reference):
    record(tmp_path / f"pump/{reference}/monday.wav")
    record(tmp_path / "pump/test/normal/tuesday.flac")
    record(tmp_path / "pump/test/anomaly/wednesday.WAV")
    clips = find_clips(tmp_path / "pump")
    assert [(clip.machine, clip.name, clip.split, clip.domain, clip.condition) for clip in clips] == [
        ("pump", "test/anomaly/wednesday.WAV", "test", "source", "anomaly"),
        ("pump", "test/normal/tuesday.flac", "test", "source", "normal"),
        ("pump", f"{reference}/monday.wav", "train", "source", "normal"),
    ]
    assert find_clips(tmp_path) == clips


def test_a_fifth_of_the_normal_recordings_is_held_out_and_logged(tmp_path, caplog):
    for number in range(20):
        record(tmp_path / f"pump/normal/{number:02d}.wav", seconds=0.5)
    clips = find_clips(tmp_path, seed=1)
    assert Counter(clip.split for clip in clips) == {"train": 16, "test": 4}
    held_out = {clip.path.name for clip in clips if clip.split == "test"}
    assert all(name in caplog.text for name in held_out)
    assert find_clips(tmp_path, seed=1) == clips
    assert {c.path.name for c in find_clips(tmp_path, seed=2) if c.split == "test"} != held_out


def test_what_cannot_be_read_is_not_held_out(tmp_path):
    for number in range(20):
        record(tmp_path / f"pump/normal/{number:02d}.wav", seconds=0.5)
    bad = [tmp_path / f"pump/normal/{number:02d}.wav" for number in range(0, 20, 2)]
    for path in bad:
        path.write_bytes(b"")
    for seed in range(5):
        clips = find_clips(tmp_path, seed=seed)
        assert Counter(clip.split for clip in clips if clip.path not in bad) == {"train": 8, "test": 2}
        assert {clip.split for clip in clips if clip.path in bad} == {"train"}


def test_too_few_that_can_be_read_come_with_what_is_wrong_with_the_others(tmp_path):
    record(tmp_path / "pump/normal/a.wav")
    (tmp_path / "pump/normal/b.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds 1 normal recording.*put what is to be .*; \S+b.wav: the file is empty"):
        find_clips(tmp_path)


def test_recordings_in_other_formats_are_counted_and_told_once(tmp_path, caplog):
    for machine in ("fan", "pump"):
        record(tmp_path / machine / "normal/a.wav")
        record(tmp_path / machine / "test/b.wav")
    for name in ("fan/normal/c.mp3", "pump/normal/deep/d.M4A", "pump/test/anomaly/e.mp3", "pump/normal/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert len(find_clips(tmp_path)) == 4
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == (
        f"3 recordings are not used, since .m4a (1) and .mp3 (2) cannot be read, such as {tmp_path}/fan/normal/c.mp3; "
        "convert them, as with: ffmpeg -i c.mp3 c.wav"
    )
    caplog.clear()
    find_clips(tmp_path, machines=["fan"])
    assert "1 recordings are not used" in caplog.text


def test_pieces_of_one_recording_stay_on_one_side(tmp_path):
    for number in range(10):
        record(tmp_path / f"pump/normal/{number}.wav", seconds=1.0)
    clips = cut_recordings(find_clips(tmp_path), Preprocessing(clip_seconds=0.3))
    assert Counter(clip.split for clip in clips) == {"train": 32, "test": 8}
    assert [clip.name for clip in clips[:4]] == [
        f"{clips[0].path.parent.name}/{clips[0].path.name}#t={t}" for t in ("0", "0.3", "0.6", "0.7")
    ]
    assert {clip.recording for clip in clips[:4]} == {clip.file for clip in clips[:4]} == {clips[0].name[:-4]}
    of_train, of_test = ({c.path for c in clips if c.split == split} for split in ("train", "test"))
    assert not of_train & of_test


@pytest.mark.parametrize(("seconds", "starts"), [(0.25, None), (0.3, None), (0.31, [0, 0.01]), (0.9, [0, 0.3, 0.6])])
def test_windows_cover_a_recording_to_its_end(tmp_path, seconds, starts):
    record(tmp_path / "pump/train/a.wav", seconds=seconds)
    record(tmp_path / "pump/test/b.wav", seconds=seconds)
    clips = [clip for clip in cut_recordings(find_clips(tmp_path), Preprocessing(clip_seconds=0.3)) if clip.cut]
    assert [clip.start for clip in clips] == pytest.approx(2 * (starts or []))
    assert {clip.seconds for clip in clips} == ({0.3} if starts else set())


def test_anomalies_beside_normal_recordings_are_queries(tmp_path):
    for number in range(5):
        record(tmp_path / f"pump/normal/{number}.wav")
    record(tmp_path / "pump/anomaly/broken.wav")
    clips = find_clips(tmp_path)
    assert Counter((clip.split, clip.condition) for clip in clips) == {
        ("train", "normal"): 4,
        ("test", "normal"): 1,
        ("test", "anomaly"): 1,
    }


def test_refusals(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        find_clips(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no recordings found; expected <machine>/train"):
        find_clips(tmp_path)
    record(tmp_path / "fan/train/section_00_source_train_normal_0000.wav")
    with pytest.raises(UserError, match="no machine named pump; found: fan"):
        find_clips(tmp_path, machines=["pump"])
    record(tmp_path / "dev_data/raw/fan/train/section_00_source_train_normal_0000.wav")
    with pytest.raises(UserError, match=r"share a name.*section_00_source_train_normal_0000"):
        find_clips(tmp_path)
    single = tmp_path / "single"
    record(single / "pump/normal/only.wav")
    with pytest.raises(UserError, match=r"pump/normal: holds 1 normal recording\(s\) of pump, so none can"):
        find_clips(single)


def test_the_truth_is_found_where_a_download_leaves_it(tmp_path):
    assert find_truth(tmp_path) is None
    evaluation = tmp_path / "eval_data"
    evaluation.mkdir()
    (evaluation / "eval_data_list_2025.csv").write_text("")
    assert find_truth(tmp_path) == find_truth(evaluation) == evaluation / "eval_data_list_2025.csv"
    (tmp_path / "ground_truth_data").mkdir()
    with pytest.raises(
        UserError, match=r"several truths .*eval_data_list_2025\.csv, .*name the right one with data\.truth"
    ):
        find_truth(tmp_path)
    (evaluation / "eval_data_list_2025.csv").unlink()
    assert find_truth(tmp_path) == tmp_path


TRAINING_CLIP = "section_00_source_train_normal_0000.wav"


def test_hidden_files_and_folders_are_no_clips(tmp_path, caplog):
    record(tmp_path / "fan/train" / TRAINING_CLIP)
    (tmp_path / "fan/train" / f"._{TRAINING_CLIP}").write_bytes(b"what macOS leaves")
    record(tmp_path / "fan/train/.Trash" / TRAINING_CLIP)
    record(tmp_path / ".old/train" / TRAINING_CLIP)
    assert [clip.path for clip in find_clips(tmp_path)] == [tmp_path / "fan/train" / TRAINING_CLIP]
    assert not caplog.records


def test_links_to_files_and_folders_are_followed_but_not_in_circles(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    record(elsewhere / "clips" / TRAINING_CLIP)
    record(elsewhere / "monday" / "section_00_target_train_normal_0001.wav")
    root = tmp_path / "data"
    (root / "fan").mkdir(parents=True)
    (root / "fan/train").symlink_to(elsewhere / "clips")
    (elsewhere / "clips/more").symlink_to(elsewhere / "monday")
    (elsewhere / "monday/circle").symlink_to(elsewhere / "clips")
    (elsewhere / "clips/section_00_source_train_normal_0002.wav").symlink_to(elsewhere / "clips" / TRAINING_CLIP)
    names = [clip.path.relative_to(root).as_posix() for clip in find_clips(root)]
    assert names == [
        f"fan/train/{TRAINING_CLIP}",
        "fan/train/section_00_source_train_normal_0002.wav",
        "fan/train/more/section_00_target_train_normal_0001.wav",
    ]
    (root / "valve").symlink_to(root / "fan")
    assert {clip.machine for clip in find_clips(root)} == {"fan", "valve"}


def test_upper_case_suffixes(tmp_path):
    record(tmp_path / "fan/train/section_00_source_train_normal_0000_spd_1.WAV")
    (clip,) = find_clips(tmp_path)
    assert clip.attribute == "spd_1"
    record(tmp_path / "fan/train/section_00_source_train_normal_0000_spd_1.wav")
    with pytest.raises(UserError, match="share a name"):
        find_clips(tmp_path)


@pytest.mark.parametrize("where", ["fan/train", os.fsdecode(b"f\xe4n/train")])
def test_names_that_cannot_be_written_into_a_table_are_refused(tmp_path, where):
    odd = os.fsdecode(b"section_00_source_train_normal_0000_g\xfcte.wav")
    record(tmp_path / TRAINING_CLIP)
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / TRAINING_CLIP).rename(tmp_path / where / odd)
    with pytest.raises(
        UserError, match=r"1 recordings have names that are not UTF-8, such as b'.*g\\xfcte\.wav'; rename"
    ):
        find_clips(tmp_path)


def test_the_order_is_that_of_the_names_on_every_file_system(tmp_path, monkeypatch):
    """Also the hold-out's, which is drawn by place in the order."""
    for folder in ("a", "b", "c"):
        for number in range(5):
            record(tmp_path / f"pump/normal/{folder}/{number}.wav")
    expected = find_clips(tmp_path)
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), reverse=True)))
    assert find_clips(tmp_path) == expected
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(sorted(iterdir(self), key=lambda path: hash(str(path)))))
    assert find_clips(tmp_path) == expected


def test_names_outside_the_grammar_of_the_others_are_told(tmp_path, caplog):
    record(tmp_path / "fan/train" / TRAINING_CLIP)
    record(tmp_path / "fan/train/monday.wav")
    assert len(find_clips(tmp_path)) == 1
    assert "fan: 1 recordings are not used" in caplog.text
    assert "monday.wav" in caplog.text


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    record(tmp_path / "fan/train" / TRAINING_CLIP)
    iterdir = Path.iterdir

    def refuse(self):
        if self.name == "train":
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UserError, match=r"fan/train: cannot be listed \(Permission denied\)"):
        find_clips(tmp_path)


def test_pieces_of_a_day_have_names_of_their_own(monkeypatch, tmp_path):
    record(tmp_path / "pump/train/a.wav")
    record(tmp_path / "pump/test/b.wav")
    monkeypatch.setattr("asd_lightning.data.recordings.read_header", lambda _: Header(200_000.0, 16_000))
    names = [clip.name for clip in cut_recordings(find_clips(tmp_path), Preprocessing(clip_seconds=1.5))]
    assert len(set(names)) == len(names) == 2 * 133_334
    assert names[-1] == "train/a.wav#t=199998.5"
    assert names[-3] == "train/a.wav#t=199996.5"


def test_ones_own_recordings_may_differ_in_the_suffix_alone(tmp_path):
    for name in ("normal/a.wav", "normal/a.flac", "test/b.wav"):
        record(tmp_path / name)
    assert len(find_clips(tmp_path)) == 3


def test_rates_that_differ_are_counted():
    assert mixed_rates([16_000] * 5) == mixed_rates([]) == ""
    told = mixed_rates([44_100, 16_000, 44_100])
    assert "(1 at 16000 Hz, 2 at 44100 Hz)" in told
    assert told.endswith("resample all to 16000 Hz")


def test_lengths_far_from_the_usual_one_are_counted():
    assert mixed_lengths([]) == mixed_lengths([10.0] * 3) == mixed_lengths([5.0, 10.0, 10.0, 20.0]) == ""
    told = mixed_lengths([10.0] * 7 + [4.9, 1.0, 20.1])
    assert "(2 of 10 are shorter than half the usual 10 s, 1 of 10 are longer than twice the usual 10 s)" in told


@pytest.mark.parametrize("name", ["a\x1b[2J.wav", "a\nb.wav", "a\u2028b.wav"])
def test_names_that_would_break_a_table_are_refused_before_anything_is_done(tmp_path, name):
    for path in (tmp_path / "normal" / name, tmp_path / "test" / "b.wav"):
        path.parent.mkdir()
        soundfile.write(path, np.full(100, 0.1), 16_000)
    with pytest.raises(UserError, match="control characters"):
        find_clips(tmp_path)


def test_names_of_supplemental_clips_count_in_their_folder_alone(tmp_path, caplog):
    for folder in ("train", "test", "supplemental"):
        record(tmp_path / "fan" / folder / "section_00_noise_0000.wav")
    record(tmp_path / "fan/train" / TRAINING_CLIP)
    clips = find_clips(tmp_path)
    assert [(clip.split, clip.path.parent.name) for clip in clips] == [
        ("supplemental", "supplemental"),
        ("train", "train"),
    ]
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "2 recordings are not used" in told
    assert f"such as {tmp_path}/fan/train/section_00_noise_0000.wav, where others are as" in told
    assert TRAINING_CLIP in told


def test_folders_of_2021(tmp_path):
    record(tmp_path / "fan/train" / TRAINING_CLIP)
    for domain in ("source", "target"):
        record(tmp_path / f"fan/{domain}_test/section_00_{domain}_test_anomaly_0000.wav")
        record(tmp_path / f"fan/{domain}_test/section_03_{domain}_test_0001.wav")
    found = {(clip.section, clip.domain, clip.condition) for clip in find_clips(tmp_path) if clip.split == "test"}
    assert found == {
        (section, domain, condition)
        for section, condition in (("00", "anomaly"), ("03", "unknown"))
        for domain in ("source", "target")
    }


def test_ones_own_recordings_in_folders_of_2021(tmp_path):
    record(tmp_path / "fan/normal/a.wav")
    record(tmp_path / "fan/target_test/normal/b.wav")
    assert [(clip.split, clip.domain) for clip in find_clips(tmp_path)] == [("test", "target"), ("train", "source")]


@pytest.mark.parametrize("place", ["", "dev_data", "dev_data/raw", "eval_data"])
def test_names_of_2020(tmp_path, place):
    machine = tmp_path / place / "ToyCar"
    for name in ("train/normal_id_01_00000000", "test/normal_id_01_00000000", "test/anomaly_id_01_00000000"):
        record(machine / f"{name}.wav")
    record(machine / "test/id_05_00000000.wav")
    record(machine / "train/normal_id_05_00000000.wav")
    clips = find_clips(tmp_path)
    assert [(clip.split, clip.section, clip.condition) for clip in clips] == [
        ("test", "01", "anomaly"),
        ("test", "05", "unknown"),
        ("test", "01", "normal"),
        ("train", "01", "normal"),
        ("train", "05", "normal"),
    ]
    assert {clip.machine for clip in clips} == {"ToyCar"}
    # A clip of the challenge is one clip, however short the clips asked for.
    assert cut_recordings(clips, Preprocessing(clip_seconds=0.2)) == clips


@pytest.mark.parametrize(
    ("files", "offer"),
    [
        (["a.wav", "b.flac"], r"It holds 2 recordings itself: if they are normal sound of one machine, .*ROOT/normal"),
        (["normal_1.wav", "abnormal_1.wav"], r"their names tell normal from anomalous, .*ROOT/test/anomaly"),
        ([TRAINING_CLIP], r"their names are the challenge's, .*<machine>/train"),
        (["fan/a.wav", "pump/b.wav"], r"ROOT/fan, ROOT/pump hold recordings themselves\. In ROOT/fan, if .*fan/normal"),
        (["2024/fan/train/a.wav"], r"Machines are one folder further down: give ROOT/2024"),
    ],
)
def test_what_a_folder_without_machines_probably_is(tmp_path, files, offer):
    for file in files:
        record(tmp_path / file)
    with pytest.raises(UserError, match="no recordings found; expected") as caught:
        find_clips(tmp_path)
    assert re.search(offer, str(caught.value).replace(str(tmp_path), "ROOT"))


@pytest.mark.parametrize(("letter", "most"), [("x", 180), ("ü", 90), ("機", 60)])
def test_machines_whose_results_could_not_be_written_are_refused(tmp_path, letter, most):
    for folder in ("normal", "test"):
        record(tmp_path / "data" / (letter * most) / folder / f"{folder}.wav")
    assert {clip.machine for clip in find_clips(tmp_path / "data")} == {letter * most}
    (tmp_path / "data" / (letter * most)).rename(tmp_path / "data" / (letter * (most + 1)))
    with pytest.raises(
        UserError, match=r"a machine's name of 18[1-3] bytes, .*; rename its folder to at most 180 bytes"
    ):
        find_clips(tmp_path / "data")


@pytest.mark.parametrize("more", [False, True])
def test_the_name_that_makes_a_folder_the_challenges_is_told(tmp_path, caplog, more):
    """Own recordings in normal/, and one below test/ that happens to be called as the challenge's are."""
    for number in range(3):
        record(tmp_path / f"pump/normal/{number}.wav")
    odd = record(tmp_path / "pump/test/section_00_0001.wav")
    if more:
        record(tmp_path / "pump/test/section_00_0002.wav")
    find_clips(tmp_path)
    told = "names of 2 recordings are the challenge's, such as" if more else "name of"
    assert f"3 recordings in {tmp_path}/pump/normal are not used, since the {told} {odd}" in caplog.text
    assert "rename those (any other name will do)" in caplog.text
