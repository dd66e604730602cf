import csv
import re
import shutil
from pathlib import Path

import pytest

from asd_lightning.cli import main
from asd_lightning.commands.written_page import tell_page
from tests.scoring.runs import make_run


def test_one_file_is_written(tmp_path, capsys, monkeypatch):
    make_run(tmp_path / "run", tmp_path / "data", machines=("fan",))
    monkeypatch.chdir(tmp_path)
    assert main(["report", "run"]) == 0
    assert "report.html" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert main(["report", "run", "--out", "pages/one.html"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "pages", "report.html", "run"]


def test_nothing_is_replaced_but_a_page(tmp_path, capsys):
    run, text, page = tmp_path / "run", tmp_path / "my.txt", tmp_path / "page.html"
    make_run(run, tmp_path / "data", machines=("fan",))
    text.write_text("mine")
    folder = f"is a folder; name a file in it, such as -o {run}/report.html"
    for place, told in ((text, "is there already, and no page"), (run, folder)):
        assert main(["report", str(run), "-o", str(place)]) == 2
        assert capsys.readouterr().err.startswith(f"asd: {place}: {told}")
    assert text.read_text() == "mine"
    assert [main(["report", str(run), "-o", str(page)]) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_person_is_told_how_to_look_at_a_page_and_a_script_is_not(terminal, tmp_path, capsys, monkeypatch):
    page = tmp_path / "a page.html"
    page.write_bytes(b"x" * 100_000)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    tell_page(page)
    first, *more = capsys.readouterr().out.splitlines()
    assert first == f"{page}: 0.1 MB, loads nothing from the network"
    assert more == [f"Look at it in a browser: file://{tmp_path}/a%20page.html"] * terminal


def test_the_numbers_are_those_of_the_set_that_is_named(tmp_path, capsys, monkeypatch):
    """A run, its second test, and results that lie outside of any run."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("run", "second", "third")):
        make_run(tmp_path / name, tmp_path / "data", machines=("fan",), seed=number)
    shutil.copytree("second/results", "run/results_2")
    shutil.copytree("third/results", "outside")
    scores = {}
    for place in ("run/results", "run/results_2", "outside"):
        with Path(place, "metrics.csv").open() as file:
            scores[place] = next(float(row["hmean"]) for row in csv.DictReader(file) if row["machine"] == "all")
    assert len(set(scores.values())) == 3
    for place, score in scores.items():
        assert main(["report", place, "--out", "page.html"]) == 0
        page = Path("page.html").read_text()
        Path("page.html").unlink()
        assert float(re.search(r'class="score">([\d.]+)<', page)[1]) == pytest.approx(100 * score, abs=0.051)


def test_a_folder_without_runs_is_an_error(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no run in it" in capsys.readouterr().err
