"""The table of ``asd score --csv``, which several may write to."""

import csv
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asd_lightning.commands.score import _write_csv
from asd_lightning.detector.judging import Judgment
from tests.data.test_cache import as_nobody

COUNT = 8


def judgment(path):
    return Judgment(path, "pump", 1.5, 2.5, "normal", 0.5, (), (), ("a.wav", 0.0), "slow")


def paths(table):
    with table.open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]


def test_of_several_that_begin_a_table_none_loses_its_rows(tmp_path):
    start = threading.Barrier(COUNT)

    def add(number):
        start.wait()
        _write_csv(tmp_path / "scores.csv", [judgment(f"{number}.wav")], append=True)

    with ThreadPoolExecutor(COUNT) as pool:
        list(pool.map(add, range(COUNT)))
    assert sorted(paths(tmp_path / "scores.csv")) == [f"{number}.wav" for number in range(COUNT)]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.skipif(not hasattr(os, "fork") or os.getuid() != 0, reason="to be another user needs root")
def test_rows_are_added_where_nothing_but_the_table_may_be_written():
    # Not below pytest's own folder, into which nobody else may look.
    with tempfile.TemporaryDirectory() as name:
        table = Path(name, "scores.csv")
        _write_csv(table, [judgment("0.wav")], append=True)
        table.chmod(0o666)
        table.parent.chmod(0o755)
        assert as_nobody(lambda: _write_csv(table, [judgment("1.wav")], append=True)) == "None"
        assert paths(table) == ["0.wav", "1.wav"]


@pytest.mark.parametrize("path", ["1.wav", "day 1, noon.wav", 'the "loud" one.wav', "two\nlines.wav"])
@pytest.mark.parametrize("kept", [0.2, 0.9, 1.0])
def test_a_row_that_a_kill_has_cut_spoils_no_other(tmp_path, path, kept):
    """Also where it was cut within a path that stands in quotes; all but the line's end may be there."""
    table = tmp_path / "scores.csv"
    _write_csv(table, [judgment("0.wav")], append=True)
    before = table.stat().st_size
    _write_csv(table, [judgment(path)], append=True)
    table.write_bytes(table.read_bytes()[: before + int(kept * (table.stat().st_size - before - 1))])
    _write_csv(table, [judgment("2.wav"), judgment("3.wav")], append=True)
    first, cut, *others = paths(table)
    assert (first, others) == ("0.wav", ["2.wav", "3.wav"])
    assert path.startswith(cut.rstrip("\n")) if kept < 0.5 else cut == path
