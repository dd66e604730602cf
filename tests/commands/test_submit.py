from pathlib import Path

import pytest

from asd_lightning.cli import main
from asd_lightning.scoring.clip_scores import read_scores, write_scores
from tests.comparison.runs import finished_run
from tests.submission.described import INFO, LABEL


def test_write_then_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path / "run")
    (tmp_path / "info.yaml").write_text(INFO)
    names = tmp_path / "list.csv"
    rows = [f"section_00_{i:04d}.wav,section_00_source_test_normal_{i:04d}_a.wav" for i in range(5)]
    names.write_text("\n".join(["AutoTrash", *rows, "Polisher", *rows]))
    out = tmp_path / "out"
    info = str(tmp_path / "info.yaml")
    assert main(["submit", str(run), "--label", LABEL, "--out", str(out), "--info", info]) == 0
    results = tmp_path / "run" / "results"
    assert f"5 files written to {out}, of the scores in {results}\n" == capsys.readouterr().out
    assert main(["submit", "--check", str(out), "--names", str(names)]) == 0
    assert capsys.readouterr().out == f"{out}: valid\n"
    names.write_text(names.read_text() + "\nsection_00_0005.wav,section_00_source_test_normal_0005_a.wav\n")
    assert main(["submit", "--check", str(out), "--names", str(names)]) == 1
    shown = capsys.readouterr().out
    assert "anomaly_score_Polisher_section_00_test.csv: 1 of 6 clips missing" in shown
    assert "2 problems" in shown
    assert shown.startswith("clips: 2\n  anomaly_score_Polisher")


def test_a_folder_of_several_is_checked_one_by_one(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    finished_run(tmp_path / "run")
    Path("one.yaml").write_text(INFO)
    Path("two.yaml").write_text(INFO.replace("BEATs and spectrum", "Another"))
    for number, info in enumerate(("one", "two"), start=1):
        label = f"Me_Lab_task2_{number}"
        assert main(["submit", "run", "--label", label, "--info", f"{info}.yaml"]) == 0
    shared = "Me_Lab_task2_2: submission.abbreviation 'BEATs-FFT' is the same as of Me_Lab_task2_1"
    assert caplog.messages == [shared]
    capsys.readouterr()
    assert main(["submit", "--check", "task2"]) == 0
    shown = capsys.readouterr()
    unchecked = "(clip names unchecked: give --data or --names)"
    assert shown.out == "".join(f"task2/Me_Lab_task2_{number}: valid {unchecked}\n" for number in (1, 2))
    assert caplog.messages == [shared, shared]
    next(Path("task2/Me_Lab_task2_2").glob("decision_*")).unlink()
    assert main(["submit", "--check", "task2"]) == 1
    shown = capsys.readouterr()
    assert f"task2/Me_Lab_task2_1: valid {unchecked}\n" in shown.out
    assert f"task2/Me_Lab_task2_2: 1 problem {unchecked}\n" in shown.out


def test_without_info_the_rest_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path / "run")
    assert main(["submit", str(run), "--label", LABEL, "--out", str(tmp_path / "out")]) == 0
    written = capsys.readouterr().out
    assert "left to do before it is valid" in written
    assert "description, still to do: 19" in written
    assert "and 16 more" in written
    assert main(["submit", "--check", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr().out
    assert "authors[0].email is still 'TODO'" not in shown
    assert "clip names unchecked" in shown
    assert main(["submit", "--check", str(tmp_path / "out"), "--all"]) == 1
    assert "authors[0].email is still 'TODO'" in capsys.readouterr().out


def test_a_run_of_labeled_clips_is_a_rehearsal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = finished_run(tmp_path / "run") / "results" / "scores.csv"
    write_scores(path, [score for score in read_scores(path) if score.condition != "unknown"])
    assert main(["submit", "run", "--label", LABEL]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("a rehearsal, not a submission")
    assert f"5 files written to task2/{LABEL}" in shown
    assert "clip names: 192\n" in shown
    assert shown.count("is not a clip name") == 3


def test_check_against_a_data_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path / "run")
    main(["submit", str(run), "--label", LABEL, "--out", str(tmp_path / "out")])
    clip = tmp_path / "data" / "AutoTrash" / "test" / "section_00_0000.wav"
    clip.parent.mkdir(parents=True)
    clip.touch()
    assert main(["submit", "--check", str(tmp_path / "out"), "--data", str(tmp_path / "data")]) == 1
    assert "AutoTrash_section_00_test.csv: 0 of 1 clips missing, 4 unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit"], "give a run with --label"),
        (["submit", "run"], "give a run with --label"),
        (["submit", "run", "--label", LABEL, "--all"], "run and --all do not go together"),
        (["submit", "run", "--label", "../x"], "a label has the form"),
        (["submit", "run", "--check", "out"], "do not go together"),
        (["submit", "run", "--label", LABEL, "--out", "out", "--data", "data"], "do not go together"),
        (["submit", "--data", "data"], "give a run"),
        (
            ["submit", "no_run", "--label", LABEL, "--out", "out"],
            "no_run: no such folder; give the folder of a run, or of one of its tests",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
