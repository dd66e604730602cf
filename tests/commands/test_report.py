from asd_lightning.cli import main
from tests.scoring.runs import make_run


def test_one_file_is_written(tmp_path, capsys, monkeypatch):
    make_run(tmp_path / "run", tmp_path / "data", machines=("fan",))
    monkeypatch.chdir(tmp_path)
    assert main(["report", "run"]) == 0
    assert "report.html" in capsys.readouterr().out
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert main(["report", "run", "--out", "pages/one.html"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "pages", "report.html", "run"]


def test_a_folder_without_runs_is_an_error(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no run in it" in capsys.readouterr().err
