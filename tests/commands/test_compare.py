from pathlib import Path

import pytest

from asd_lightning.cli import main
from tests.comparison.test_systems import failed_job, sweep

TABLES = (
    "comparison.csv",
    "comparison.md",
    "comparison.tex",
    "comparison_choice.csv",
    "comparison_differences.csv",
    "comparison_of.json",
    "comparison_seeds.csv",
)


def test_the_table_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "runs")
    out = tmp_path / "out"
    assert main(["compare", str(tmp_path / "runs"), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("system1", "system2", "official score", "system2/1", "XJU 4 EAT-BEATs-FFT"))
    assert sorted(path.name for path in out.iterdir()) == sorted([*TABLES, "comparison.png", "comparison.svg"])


def test_other_runs_replace_no_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = sweep(tmp_path / "runs")
    one, other, out = str(runs / "system1"), str(runs / "system2"), tmp_path / "out"
    assert main(["compare", one, "-o", str(out)]) == 0
    before = (out / "comparison.csv").read_bytes()
    capsys.readouterr()
    for command in ([other], [one, other]):
        assert main(["compare", *command, "-o", str(out)]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err) == (
            "",
            f"asd: {out}: holds a comparison of other runs; give another folder with -o\n",
        )
    assert (out / "comparison.csv").read_bytes() == before
    assert main(["compare", one, "-o", str(out)]) == 0
    (out / "comparison_of.json").unlink()  # as an earlier version has left it
    assert main(["compare", one, "-o", str(out)]) == 2
    # A sweep's own table is made anew whatever is there.
    for command in ([one], [str(runs)]):
        assert main(["compare", str(runs), "-o", str(runs)]) == 0
        assert main(["compare", *command, "-o", str(runs)]) == (2 if command == [one] else 0)


def test_without_out_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "runs/system1", "runs/system2"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_failed_jobs_alone_have_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed_job(tmp_path / "runs" / "0", "name: system1")
    assert main(["compare", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert "comparison.png" not in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(TABLES)


def test_a_folder_without_runs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path)]) == 2
    assert "no run in it" in capsys.readouterr().err
