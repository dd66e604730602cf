"""The table of ``asd score --csv``, which several may write to."""

import csv
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from asd_lightning.commands.score import _write_csv
from asd_lightning.detector.judging import Judgment

COUNT = 8


def judgment(number):
    return Judgment(f"{number}.wav", "pump", 1.5, 2.5, "normal", 0.5, (), (), ("a.wav", 0.0), "slow")


def paths(table):
    with table.open(newline="") as file:
        return [row["path"] for row in csv.DictReader(file)]


def test_of_several_that_begin_a_table_none_loses_its_rows(tmp_path):
    start = threading.Barrier(COUNT)

    def add(number):
        start.wait()
        _write_csv(tmp_path / "scores.csv", [judgment(number)], append=True)

    with ThreadPoolExecutor(COUNT) as pool:
        list(pool.map(add, range(COUNT)))
    assert sorted(paths(tmp_path / "scores.csv")) == [f"{number}.wav" for number in range(COUNT)]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize("cut", [1, 5])
def test_a_row_that_a_kill_has_cut_spoils_no_other(tmp_path, cut):
    table = tmp_path / "scores.csv"
    for number in range(2):
        _write_csv(table, [judgment(number)], append=True)
    table.write_bytes(table.read_bytes()[:-cut])
    _write_csv(table, [judgment(2)], append=True)
    assert paths(table) == ["0.wav", "1.wav", "2.wav"]
