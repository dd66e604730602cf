"""The three layouts, and what is refused."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asd_lightning.data.layout import find_clips, find_truth
from asd_lightning.data.recordings import cut_recordings
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


def test_pieces_of_one_recording_stay_on_one_side(tmp_path):
    for number in range(10):
        record(tmp_path / f"pump/normal/{number}.wav", seconds=1.0)
    clips = cut_recordings(find_clips(tmp_path), clip_seconds=0.3)
    assert Counter(clip.split for clip in clips) == {"train": 24, "test": 6}
    assert [clip.name for clip in clips[:3]] == [
        f"{clips[0].path.parent.name}/{clips[0].path.name}#t={t}" for t in ("0", "0.3", "0.6")
    ]
    of_train, of_test = ({c.path for c in clips if c.split == split} for split in ("train", "test"))
    assert not of_train & of_test


def test_a_recording_under_twice_the_clip_length_stays_whole(tmp_path):
    record(tmp_path / "pump/train/a.wav", seconds=0.55)
    record(tmp_path / "pump/test/b.wav", seconds=0.55)
    assert [clip.seconds for clip in cut_recordings(find_clips(tmp_path), clip_seconds=0.3)] == [None, None]


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
    with pytest.raises(UserError, match=r"only\.wav: the only normal recording of pump"):
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
