"""Tables by other people's readers."""

from __future__ import annotations

import csv
import io
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from asd_lightning.tables import (
    Row,
    Table,
    as_latex,
    as_markdown,
    as_terminal,
    csv_text,
    parts_of,
    percent,
    percent_interval,
    print_in_parts,
    print_table,
)

TABLE = Table(
    "Scores of 50 % & more",
    ("machine", "system_1", "published"),
    (Row(("fan_#1", "61.20 ± 0.50", "60.00")), Row(("all", "-", ""), "total")),
    ("Per cent.",),
    muted=frozenset({2}),
)


@given(st.lists(st.lists(st.floats() | st.integers() | st.text(), min_size=2, max_size=2), max_size=5))
@settings(max_examples=100, deadline=None)
def test_csv_is_read_back(rows: list[list[object]]) -> None:
    text = csv_text(rows)
    found = list(csv.reader(io.StringIO(text, newline="")))
    for own, read in zip(rows, found, strict=True):
        for cell, word in zip(own, read, strict=True):
            if isinstance(cell, float):
                assert (math.isnan(cell) and word == "nan") or float(word) == cell
            else:
                assert word == str(cell)


@pytest.mark.parametrize("kind", [np.float64, np.float32, float])
def test_numbers_of_numpy_are_numbers(kind: type) -> None:
    assert csv_text([[kind(0.5), np.nan, None, 3]]) == "0.5,nan,,3\n"


def test_latex_compiles_in_form() -> None:
    text = as_latex(TABLE)
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{lrr}"
    rows = [line for line in body if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", row)) for row in rows] == [2, 2, 2]
    assert r"fan\_\#1 & 61.20 $\pm$ 0.50 & 60.00 \\" in body
    assert body.index(r"\midrule", body.index(r"\midrule") + 1) == body.index(r"all & - &  \\") - 1


@given(st.text(st.sampled_from("ab\\&%$#_{}~^<>| "), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_no_name_means_anything_in_latex(name: str) -> None:
    row = as_latex(Table("t", ("machine",), (Row((name,)),))).splitlines()[-3].removesuffix(r" \\")
    for command, char in (
        ("textbackslash", "\\"),
        ("textasciitilde", "~"),
        ("textasciicircum", "^"),
        ("textless", "<"),
        ("textgreater", ">"),
        ("textbar", "|"),
    ):
        row = row.replace(rf"\{command}{{}}", f"\0{ord(char)}\0")
    row = re.sub(r"\\([&%$#_{}])", lambda found: f"\0{ord(found[1])}\0", row)
    assert not set(row) & set("\\&%$#_{}~^<>|")
    assert re.sub("\0(\\d+)\0", lambda found: chr(int(found[1])), row) == name


def test_markdown_and_terminal_hold_the_same_cells() -> None:
    lines = as_markdown(TABLE).splitlines()
    assert lines[0] == "# Scores of 50 % \\& more"
    assert len({len(line) for line in lines if line.startswith("|")}) == 1
    assert lines[-1] == "- Per cent."
    shown = as_terminal(TABLE)
    assert [str(column.header) for column in shown.columns] == list(TABLE.heading)
    assert [[str(cell) for cell in column.cells] for column in shown.columns] == [
        [row.cells[index] for row in TABLE.rows] for index in range(3)
    ]


def test_percent() -> None:
    assert (percent(0.12345), percent(math.nan)) == ("12.35", "-")
    assert percent_interval(0.1, 0.2) == "10.00 to 20.00"
    assert percent_interval(math.nan, 0.2) == "-"


@pytest.mark.parametrize("name", ["x" * 200, "my pump " * 20, "ü" * 21])
def test_a_long_name_leaves_the_numbers_whole(name: str) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(as_terminal(Table("T", ("machine", *"abcdefg"), (Row((name, *["100.00"] * 7)),))))
    assert console.export_text().count("100.00") == 7


def test_in_a_narrow_terminal_a_name_goes_on_below_and_headings_stay_whole(monkeypatch, capsys) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    heading = ("recording", "machine", "decision", "score", "threshold")
    rows = (Row(("today/clip_00411.wav", "pump", "normal", "22.28", "26.11")),)
    print_table(Table("T", heading, rows, words=3))
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, text.splitlines())) <= 60
    assert all(word in text for word in (*heading, "pump", "normal", "22.28", "26.11"))


@pytest.mark.parametrize("shown", [print_table, print_in_parts])
def test_in_a_very_narrow_terminal_a_name_goes_on_below_and_a_number_is_whole(shown, monkeypatch, capsys) -> None:
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setenv("COLUMNS", "32")
    shown(Table("T", ("system", "auc"), (Row(("system_of_20_letters", "12.34 ± 0.1")),)))
    text = capsys.readouterr().out
    assert "12.34 ± 0.1" in text
    assert "system_of" in text


@pytest.fixture
def wide() -> Table:
    systems = [f"system {number} margin={number}" for number in range(12)]
    rows = (
        Row((name, *(f"{10 * place + column}.00" for column in range(12)))) for place, name in enumerate(("a", "b"))
    )
    return Table("Scores", ("machine", *systems), (*rows, Row(("all", *["1.00"] * 12), "total")), ("A note. " * 30,))


@pytest.mark.parametrize(("columns", "width"), [(None, 120), ("80", 80), ("60", 60)])
def test_a_wide_table_fits_a_log(wide, columns, width, monkeypatch, capsys) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    print_in_parts(wide)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    parts = text.count("machine")
    assert 1 < parts == text.count(f" of {parts})") == text.count("│ all ")
    # Each number below its own heading.
    shown = []
    for block in text.split("machine")[1:]:
        headings = [int(number) for number in re.findall(r"system (\d+) ", block)]
        for place, name in enumerate(("a", "b")):
            (line,) = (line for line in block.splitlines() if line.startswith(f"│ {name} "))
            assert [cell.strip() for cell in line.split("│")[2:-1]] == [f"{10 * place + one}.00" for one in headings]
        shown += headings
    assert shown == list(range(12))
    assert " ".join(text.rpartition("┘")[2].split()) == " ".join(["A note."] * 30)


def test_a_column_is_muted_in_its_part_too() -> None:
    table = Table("T", ("machine", "a", "b"), (Row(("fan", "1.00", "2.00")),), muted=frozenset({2}))
    assert [part.muted for part in parts_of(table, 10)] == [frozenset(), frozenset({1})]


def test_one_column_wider_than_a_log_is_whole(monkeypatch, capsys) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "x" * 150
    print_in_parts(Table("T", ("machine", "a", name), (Row(("fan", "1.00", "2.00")),)))
    assert name in capsys.readouterr().out


def test_a_long_heading_of_numbers_stands_in_several_lines() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    heading = ("machine", "system1 margin=0.10 scorer=knn_whitened", "x" * 30)
    console.print(as_terminal(Table("T", heading, (Row(("fan", "1.00", "2.00 ± 0.10")),))))
    lines = console.export_text().splitlines()
    assert any("system1 margin=0.10 " in line for line in lines)
    assert any("scorer=knn_whitened " in line and f" {'x' * 30} " in line for line in lines)
    assert max(map(len, lines)) == sum(len(word) + 3 for word in ("machine", "scorer=knn_whitened ", "x" * 30)) + 1
