"""What is handed in."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml

from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import evaluate, read_metrics, write_metrics
from asd_lightning.scoring.clip_scores import read_scores, write_scores
from asd_lightning.submission.check import (
    check_submission,
)
from asd_lightning.submission.writer import write_submission
from tests.submission.described import DECISIONS, EXPECTED, LABEL, META, SCORES, broken, edited


def test_a_described_submission_is_valid(submission: Path) -> None:
    assert check_submission(submission, EXPECTED) == []
    assert check_submission(submission) == []


def test_the_files_are_the_evaluation_scores_sorted_without_header(run_dir: Path, submission: Path) -> None:
    assert sorted(path.name for path in submission.iterdir()) == sorted(
        [
            f"{kind}_{machine}_section_00_test.csv"
            for kind in ("anomaly_score", "decision_result")
            for machine, _ in EXPECTED
        ]
        + [META]
    )
    truth = {clip.file: clip for clip in read_scores(run_dir / "results" / "scores.csv") if clip.machine == "AutoTrash"}
    with (submission / SCORES).open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert [name for name, _ in rows] == EXPECTED["AutoTrash", "00"]
    assert [float(value) for _, value in rows] == [truth[name].anomaly_score for name, _ in rows]
    assert (submission / DECISIONS).read_text() == "".join(f"{name},{truth[name].decision}\n" for name, _ in rows)


def test_the_description_knows_what_the_run_knows(run_dir: Path, submission: Path) -> None:
    meta = yaml.safe_load((submission / META).read_text())
    assert meta["submission"]["label"] == LABEL
    assert meta["submission"]["name"] == "BEATs and spectrum"
    assert meta["system"]["complexity"] == {"total_parameters": 90_123_456, "MACS": 2.5e10}
    results = meta["results"]["development_dataset"]
    for row in read_metrics(run_dir / "results" / "metrics.csv")[:-1]:
        assert results[row.machine]["auc_source"] == pytest.approx(100 * row.auc_source, abs=1e-12)
        assert results[row.machine]["pauc"] == pytest.approx(100 * row.pauc, abs=1e-12)
    assert list(results) == ["fan", "valve"]


def test_a_training_that_was_stopped_is_told(run_dir: Path, info: Path, tmp_path: Path) -> None:
    summary = run_dir / "results" / "summary.json"
    told = json.loads(summary.read_text())
    for updates, notes in ((30, 1), (100, 0)):
        summary.write_text(json.dumps(told | {"updates": updates, "updates_planned": 100}))
        written = write_submission(run_dir, LABEL, tmp_path / str(updates), info)
        assert sum("its training was not finished (30 of 100 updates)" in note for note in written.notes) == notes


def test_what_only_a_person_knows_is_marked_and_refused(run_dir: Path, tmp_path: Path) -> None:
    summary = run_dir / "results" / "summary.json"
    summary.write_text(json.dumps({"name": "eat", "num_parameters": None}))
    write_submission(run_dir, LABEL, tmp_path / "out")
    problems = broken(tmp_path / "out", EXPECTED)
    assert all("is still 'TODO" in problem for problem in problems)
    for field in ("abbreviation", "authors[0].lastname", "embeddings", "total_parameters", "MACS"):
        assert any(field in problem for problem in problems)


def test_a_run_without_evaluation_clips_is_written_whole(run_dir: Path, info: Path, tmp_path: Path) -> None:
    path = run_dir / "results" / "scores.csv"
    write_scores(path, [clip for clip in read_scores(path) if clip.condition != "unknown"])
    written = write_submission(run_dir, LABEL, tmp_path / "out", info)
    assert [note.partition(":")[0] for note in written.notes] == ["a rehearsal, not a submission"]
    rows = (tmp_path / "out" / "anomaly_score_fan_section_00_test.csv").read_text().splitlines()
    assert len(rows) == 48
    assert any("is not a clip name" in problem for problem in broken(tmp_path / "out"))


@pytest.mark.parametrize("label", ["Huang_XJU_task1_1", "Huang_XJU_task2_5", "Huang_task2_1", "", "a/b_c_task2_1"])
def test_a_malformed_label_is_refused(run_dir: Path, tmp_path: Path, label: str) -> None:
    with pytest.raises(UserError, match="a label has the form"):
        write_submission(run_dir, label, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("submission: {nmae: x}", "no field 'nmae' in the description; did you mean name"),
        ("zzz: 1", "no field 'zzz' in the description; known are submission, system, results"),
        ("system: 3", "system must be a mapping"),
        ("- 1", "expected a mapping"),
        ("a: [", "not YAML"),
        ("a: &a [*a]", "aliases"),
        ("[" * 20_000, "deeper than"),
        ("submission: !!python/name:os.system ''", "tags"),
    ],
)
def test_bad_info_is_named(run_dir: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "info.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        write_submission(run_dir, LABEL, tmp_path / "out", path)


def test_a_folder_is_no_file_and_a_file_no_folder(run_dir: Path, info: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--info .*: is not a file"):
        write_submission(run_dir, LABEL, tmp_path / "out", tmp_path)
    with pytest.raises(UserError, match=r"info\.yaml: not a folder"):
        write_submission(run_dir, LABEL, info)


def test_missing_inputs_are_named(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.yaml: no such file"):
        write_submission(run_dir, LABEL, tmp_path / "out", tmp_path / "nothing.yaml")
    (run_dir / "results" / "summary.json").write_text("[1]")
    with pytest.raises(UserError, match="expected a JSON object"):
        write_submission(run_dir, LABEL, tmp_path / "out")
    (run_dir / "results" / "summary.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        write_submission(run_dir, LABEL, tmp_path / "out")
    (run_dir / "results" / "summary.json").unlink()
    with pytest.raises(UserError, match=r"summary\.json: no such file"):
        write_submission(run_dir, LABEL, tmp_path / "out")
    write_scores(run_dir / "results" / "scores.csv", [])
    with pytest.raises(UserError, match="no scores"):
        write_submission(run_dir, LABEL, tmp_path / "out")


def test_a_score_that_is_not_finite_is_not_submitted(run_dir: Path, tmp_path: Path) -> None:
    path = run_dir / "results" / "scores.csv"
    scores = read_scores(path)
    write_scores(path, [*scores[:-1], scores[-1]._replace(anomaly_score=float("nan"))])
    with pytest.raises(UserError, match=r"Polisher/section_00_0000\.wav: anomaly_score is nan"):
        write_submission(run_dir, LABEL, tmp_path / "out")


def test_a_machine_whose_name_leads_elsewhere_is_refused(run_dir: Path, tmp_path: Path) -> None:
    path = run_dir / "results" / "scores.csv"
    write_scores(path, [score._replace(machine="x/../../..") for score in read_scores(path)])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"row 2: machine 'x/\.\./\.\./\.\.' must be a plain name"):
        write_submission(run_dir, LABEL, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_two_submissions_do_not_mix_in_one_folder(run_dir: Path, submission: Path, info: Path) -> None:
    write_submission(run_dir, LABEL, submission, info)
    with pytest.raises(UserError, match="holds another submission"):
        write_submission(run_dir, "Huang_XJU_task2_2", submission, info)


def test_a_description_edited_by_hand_is_not_replaced(run_dir: Path, submission: Path, info: Path) -> None:
    write_submission(run_dir, LABEL, submission, info)
    edited("lastname: Huang", "lastname: Shun")(submission / META)
    with pytest.raises(UserError, match="is there with other content, perhaps edited by hand"):
        write_submission(run_dir, LABEL, submission, info)
    assert "lastname: Shun" in (submission / META).read_text()


def test_the_truth_about_evaluation_clips_is_no_development_result(run_dir: Path, info: Path, tmp_path: Path) -> None:
    path = run_dir / "results" / "scores.csv"
    known = [
        clip._replace(condition="anomaly" if number % 2 else "normal", domain="target" if number % 3 else "source")
        for number, clip in enumerate(read_scores(path))
        if clip.condition == "unknown"
    ]
    write_metrics(evaluate([*read_scores(path)[: -len(known)], *known]), run_dir / "results")
    assert {"AutoTrash", "fan"} <= {row.machine for row in read_metrics(run_dir / "results" / "metrics.csv")}
    write_submission(run_dir, LABEL, tmp_path / "out", info)
    meta = yaml.safe_load((tmp_path / "out" / META).read_text())
    assert list(meta["results"]["development_dataset"]) == ["fan", "valve"]


def test_decisions_without_a_threshold_are_named(run_dir: Path, info: Path, tmp_path: Path) -> None:
    path = run_dir / "results" / "scores.csv"
    assert write_submission(run_dir, LABEL, tmp_path / "out", info).notes == []
    scores = [
        clip._replace(threshold=float("nan"), decision=None) if clip.machine == "Polisher" else clip
        for clip in read_scores(path)
    ]
    write_scores(path, scores)
    notes = write_submission(run_dir, LABEL, tmp_path / "out", info).notes
    assert notes == ["no threshold for Polisher: the decision file is empty there, and the challenge wants one"]


def test_another_test_of_the_run_is_submitted_by_its_own_numbers(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir / "results", run_dir / "results_2")
    path = run_dir / "results_2" / "scores.csv"
    write_scores(path, [score._replace(anomaly_score=score.anomaly_score + 100) for score in read_scores(path)])
    written = write_submission(run_dir / "results_2", LABEL, tmp_path / "out")
    assert written.results == run_dir / "results_2"
    submitted = (tmp_path / "out" / SCORES).read_text().splitlines()
    assert submitted
    assert all(float(line.split(",")[1]) > 50 for line in submitted)


@pytest.mark.parametrize(
    ("branches", "told", "said"),
    [
        ("{beats: {}, fft: {}}", "BEATs", ""),
        ("{beats: {}, fft: {}}", "BEATs and EAT", "the run has beats:"),
        ("{fft: {}}", "BEATs", "the run has no pretrained encoder:"),
        ("{fft: {}}", "spectrum", ""),
    ],
)
def test_embeddings_of_another_run_are_told(
    run_dir: Path, info: Path, tmp_path: Path, branches: str, told: str, said: str
) -> None:
    info.write_text(info.read_text().replace("embeddings: BEATs", f"embeddings: {told}"))
    config = run_dir / "results" / "config.yaml"
    config.write_text(f"model: {{embedder: {{branches: {branches}}}}}")
    assert all(said in note for note in write_submission(run_dir, LABEL, tmp_path / "a", info).notes or [""])
    assert bool(said) == bool(write_submission(run_dir, LABEL, tmp_path / "b", info).notes)
    config.write_text(f"fusion: {{parts: {{one: {{model.embedder.branches.eat.encoder.dim: 1}}}}, x: {branches}}}")
    notes = write_submission(run_dir, LABEL, tmp_path / "c", info).notes
    assert [note for note in notes if "the run has eat:" in note]
