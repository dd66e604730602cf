"""Which clips were cut from one recording."""

import dataclasses
from pathlib import Path

import pytest

from asd_lightning.data.layout import Clip
from asd_lightning.data.recordings import RecordingsTable, find_table
from asd_lightning.errors import UserError


def clip(path: str, machine: str = "pump") -> Clip:
    return Clip(
        path=Path(path), machine=machine, name=Path(path).name, split="train", domain="source", condition="normal"
    )


def table(tmp_path, *rows, head="file,recording"):
    path = tmp_path / "recordings.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_a_row_is_of_the_clip_whose_path_ends_with_it(tmp_path):
    clips = [
        clip("/d/pump/train/a.wav"),
        clip("/d/fan/train/a.wav", "fan"),
        clip("/d/pump/train/b.wav"),
        clip("/d/c.wav"),
    ]
    path = table(tmp_path, "pump/train/a.wav,monday,0.0", "fan/train/a.wav,tuesday,2.5", "b.wav,monday,",
                 head="file,recording,start_seconds")  # fmt: skip
    assert [one.recording for one in RecordingsTable(path).named(clips)] == ["monday", "tuesday", "monday", "c.wav"]


def test_the_longest_ending_counts(tmp_path):
    clips = [clip("/d/pump/train/a.wav"), clip("/d/fan/train/a.wav", "fan")]
    path = table(tmp_path, "a.wav,general", "fan/train/a.wav,special")
    assert [one.recording for one in RecordingsTable(path).named(clips)] == ["general", "special"]


def test_windows_of_one_file_share_its_row(tmp_path):
    whole = clip("/d/a.wav")
    windows = [dataclasses.replace(whole, name=f"a.wav#t={start}", start=start, seconds=1.0) for start in (0.0, 1.0)]
    assert {one.recording for one in RecordingsTable(table(tmp_path, "a.wav,monday")).named(windows)} == {"monday"}


def test_names_composed_in_two_ways_and_backslashes_match(tmp_path):
    path = table(tmp_path, "Pru\u0308fstand\\a.wav,monday")
    assert RecordingsTable(path).named([clip("/d/Pr\u00fcfstand/a.wav")])[0].recording == "monday"


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        (["a.wav,monday"], "file,recording", "a.wav may be .*/pump/a.wav or .*/fan/a.wav; write more of its path"),
        (["pump/a.wav,x", "pump/a.wav,y"], "file,recording", "row 3: pump/a.wav is said to be of two recordings"),
        (["a.wav"], "file,recording", "row 2: a file and its recording are needed"),
        ([], "file,recording", "has no rows below its first line; write one for each clip, or remove the table"),
        (["", ""], "file,recording", "has no rows"),
        (["a.wav,x"], "name,recording", "must name the columns file,recording"),
    ],
)
def test_what_is_ambiguous_or_missing_is_an_error(tmp_path, rows, head, message):
    with pytest.raises(UserError, match=f"recordings.csv.*{message}"):
        RecordingsTable(table(tmp_path, *rows, head=head)).named([clip("/d/pump/a.wav"), clip("/d/fan/a.wav", "fan")])


def test_a_table_that_is_asked_for_must_be_there(tmp_path):
    with pytest.raises(UserError, match=r"t\.csv: no such table of recordings"):
        RecordingsTable(tmp_path / "t.csv").named([])
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe,\n")
    with pytest.raises(UserError, match=r"t\.csv: is not UTF-8 text"):
        RecordingsTable(tmp_path / "t.csv").named([])


def test_beside_the_machines_there_is_one_or_none(tmp_path):
    assert find_table([tmp_path]) is None
    assert find_table([tmp_path, tmp_path]) is None
    path = table(tmp_path, "a.wav,x")
    assert find_table([tmp_path, tmp_path]) == path
    (tmp_path / "dev").mkdir()
    table(tmp_path / "dev", "a.wav,x")
    with pytest.raises(UserError, match="several tables of recordings"):
        find_table([tmp_path, tmp_path / "dev"])


def test_rows_that_fit_nothing_are_told(tmp_path, caplog):
    """They were meant for something, and without them every threshold is another one."""
    path = table(tmp_path, "F/normal/a.wav,monday", "b.wav,monday", "c.wav,tuesday")
    clips = [clip("/d/pump/normal/a.wav"), clip("/d/pump/normal/b.wav"), clip("/d/pump/normal/c.wav")]
    with caplog.at_level("INFO"):
        RecordingsTable(path).named(clips)
    assert "1 of 3 rows fit no clip, such as F/normal/a.wav" in caplog.text
    assert "3 clips are of 3 recordings" in caplog.text
    caplog.clear()
    # Of a part of the machines the others' rows are no mistake, unless nothing fits.
    RecordingsTable(path).named(clips[1:], whole=False)
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    RecordingsTable(path).named([clip("/d/pump/normal/x.wav")], whole=False)
    assert "3 of 3 rows fit no clip" in caplog.text
