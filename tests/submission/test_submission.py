import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from asd_lightning.errors import UserError
from asd_lightning.evaluation.metrics import evaluate, read_metrics, write_metrics
from asd_lightning.scoring.clip_scores import read_scores, write_scores
from asd_lightning.submission.check import (
    ClipNames,
    check_submission,
    names_in_data,
    names_in_list,
    problem_lines,
)
from asd_lightning.submission.writer import write_submission
from tests.comparison.runs import finished_run
from tests.evaluation.official import EVALUATOR, evaluator_dir
from tests.reference import needs_reference

LABEL = "Huang_XJU_task2_1"
INFO = """
submission:
  name: BEATs and spectrum
  abbreviation: BEATs-FFT
  authors:
    - {lastname: Huang, firstname: Shun, email: a@b.cn, corresponding: true,
       affiliation: {institution: Xinjiang University, department: Computer Science, location: "Urumqi, China"}}
system:
  description:
    data_augmentation: mixup, SpecAugment
    acoustic_features: log-mel energies
    embeddings: BEATs
    machine_learning_method: ArcFace, k-NN
    aggregation_method: null
    domain_adaptation_method: null
    domain_generalization_method: SMOTE
    attribute_usage: class labels
    external_data_usage: pre-trained model
    development_data_usage: fine-tuning
  external_datasets:
    - {name: AudioSet, url: "https://research.google.com/audioset/"}
"""
EXPECTED = {(machine, "00"): [f"section_00_{i:04d}.wav" for i in range(5)] for machine in ("AutoTrash", "Polisher")}
SCORES = "anomaly_score_AutoTrash_section_00_test.csv"
DECISIONS = "decision_result_AutoTrash_section_00_test.csv"
META = f"{LABEL}.meta.yaml"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return finished_run(tmp_path / "run")


@pytest.fixture
def info(tmp_path: Path) -> Path:
    path = tmp_path / "info.yaml"
    path.write_text(INFO)
    return path


@pytest.fixture
def submission(run_dir: Path, info: Path, tmp_path: Path) -> Path:
    write_submission(run_dir, LABEL, tmp_path / "out", info)
    return tmp_path / "out"


def broken(folder: Path, expected: ClipNames | None = None) -> list[str]:
    return [problem.text for problem in check_submission(folder, expected)]


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


def edited(old: str, new: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return edit


def swapped(path: Path) -> None:
    first, second, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([second, first, *rest]))


def with_value(value: str) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        name = path.read_text().split(",")[0]
        rest = path.read_text().splitlines(keepends=True)[1:]
        path.write_text("".join([f"{name},{value}\n", *rest]))

    return edit


@pytest.mark.parametrize(
    ("file", "damage", "message"),
    [
        (SCORES, Path.unlink, f"{SCORES}: missing"),
        (DECISIONS, Path.unlink, f"{DECISIONS}: missing"),
        (SCORES, lambda path: path.write_text(""), f"{SCORES}: empty"),
        (SCORES, edited("section_00_0000", "file,score\nsection_00_0000"), "row 1: 'file' is not a clip name"),
        (SCORES, edited("0000.wav", "0000.mp3"), "row 1: 'section_00_0000.mp3' is not a clip name"),
        (SCORES, edited(",", ",1,"), "row 1: expected a file name and a number"),
        (SCORES, with_value("nan"), "row 1: score 'nan' is not finite"),
        (SCORES, with_value("-inf"), "row 1: score '-inf' is not finite"),
        (SCORES, with_value("high"), "row 1: score 'high' is not a number"),
        (DECISIONS, with_value("2"), "row 1: decision '2' is neither 0 nor 1"),
        (DECISIONS, with_value("1.0"), "row 1: decision '1.0' is neither 0 nor 1"),
        (SCORES, edited("0001.wav", "0000.wav"), "row 2: section_00_0000.wav comes a second time"),
        (SCORES, swapped, "not in the order of the file names"),
        (DECISIONS, swapped, "name different clips, or in different order"),
        (SCORES, edited("0004.wav", "0009.wav"), "1 of 5 clips missing, 1 unknown (missing section_00_0004.wav)"),
        (
            SCORES,
            edited("section_00_0000.wav", "section_00_0000.wav,1\nsection_00_00001.wav"),
            "0 of 5 clips missing, 1",
        ),
        (META, Path.unlink, "0 files named <label>.meta.yaml"),
        (META, lambda path: shutil.copy(path, path.with_name("Li_XJU_task2_1.meta.yaml")), "2 files named"),
        (META, lambda path: path.rename(path.with_name("x.meta.yaml")), "the label 'x' has not the form"),
        (META, edited(f"label: {LABEL}", "label: Li_XJU_task2_1"), "submission.label is 'Li_XJU_task2_1'"),
        (META, lambda path: path.write_text("a: ["), "not YAML"),
        (META, lambda path: path.write_text("a: &a [*a]"), "aliases (*name) are not read"),
        (META, lambda path: path.write_text("[" * 20_000), "deeper than 40 levels"),
        (META, lambda path: path.write_text("a: " + "9" * 5_000), "a number of 5,000 characters"),
        (META, lambda path: path.write_text("system: {complexity: {MACS: 2025-99-99}}"), "got '2025-99-99'"),
        (SCORES, lambda path: path.write_text("," * 2_000_000), f"{SCORES}: line 1 has more than"),
        (DECISIONS, lambda path: path.write_text('"' + "x" * 200_000), "not readable as CSV"),
        (SCORES, with_value("9" * 100_000), "row 1: score '9999"),
        (SCORES, lambda path: path.write_text("abc,def,ghi\n" * 5_000), "and more; mend these first"),
        (SCORES, lambda path: path.write_text("section_00_0000.wav,1\n" * 5_000), "and more; mend these first"),
        (SCORES, lambda path: path.write_text("abc,def,ghi\n" * 50_000), "more than 20,000 rows"),
        (META, lambda path: path.write_text("- 1"), "submission.label is missing"),
        (META, edited("abbreviation: BEATs-FFT", "abbreviation: BEATs-and-FFT"), "has 13 characters"),
        (META, edited("email: a@b.cn", "email: null"), "author 1: email is missing"),
        (META, edited("corresponding: true", "corresponding: false"), "corresponding: true"),
        (META, edited("total_parameters: 90123456", "total_parameters: 90.1M"), "must be a whole number, got '90.1M'"),
        (META, edited("MACS: 25000000000.0", "MACS: many"), "MACS must be a number or null, got 'many'"),
        (META, edited("auc_source: ", "auc_source: 1"), "must be per cent"),
        (META, edited("embeddings: BEATs", "embeddings: TODO"), "system.description.embeddings is still 'TODO'"),
        (META, lambda path: path.with_name("notes.txt").write_text(""), "notes.txt: not a file of a submission"),
        (SCORES, lambda path: (path.unlink(), path.mkdir()), f"{SCORES}: not a file of a submission"),
        (META, lambda path: (path.unlink(), path.mkdir()), "0 files named <label>.meta.yaml"),
    ],
)
def test_every_broken_rule_is_named(submission: Path, file: str, damage: Callable[[Path], Any], message: str) -> None:
    damage(submission / file)
    problems = broken(submission, EXPECTED)
    assert any(message in problem for problem in problems), problems


def test_a_folder_of_anything_is_no_submission(tmp_path: Path) -> None:
    for index in range(600):
        (tmp_path / f"anomaly_score_m{index}_section_00_test.csv").touch()
    with pytest.raises(UserError, match="more than 500 files"):
        check_submission(tmp_path)


def rescored(value: Callable[[str], str]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        rows = [line.split(",") for line in path.read_text().splitlines()]
        path.write_text("".join(f"{name},{value(score)}\n" for name, score in rows))

    return edit


def as_fractions(path: Path) -> None:
    meta = yaml.safe_load(path.read_text())
    for values in meta["results"]["development_dataset"].values():
        values.update({name: value / 100 for name, value in values.items()})
    path.write_text(yaml.safe_dump(meta))


def disagreeing(folder: Path) -> list[str]:
    return [problem.text for problem in check_submission(folder) if problem.rule == "scores and decisions"]


@pytest.fixture
def decided(submission: Path) -> Path:
    names = EXPECTED["AutoTrash", "00"]
    (submission / SCORES).write_text("".join(f"{name},{score}\n" for name, score in zip(names, "24351", strict=True)))
    (submission / DECISIONS).write_text("".join(f"{name},{call}\n" for name, call in zip(names, "01010", strict=True)))
    return submission


def test_alarms_have_the_higher_scores(decided: Path) -> None:
    assert check_submission(decided) == []
    rescored({"0": "1", "1": "0"}.__getitem__)(decided / DECISIONS)
    assert disagreeing(decided) == [
        "AutoTrash section 00: section_00_0004.wav is called anomalous at score 1, section_00_0003.wav normal at 5; "
        "higher scores must be the anomalous ones: are the scores negated, the decisions inverted, or clips mixed up?"
    ]
    rescored(lambda score: f"-{score}")(decided / SCORES)
    assert check_submission(decided) == []


@pytest.mark.parametrize("value", [lambda score: f"-{score}", {"2": "5", "5": "2", "4": "4", "3": "3", "1": "1"}.get])
def test_negated_and_swapped_scores_are_named(decided: Path, value: Callable[[str], str]) -> None:
    rescored(value)(decided / SCORES)
    assert len(disagreeing(decided)) == 1


def test_one_decision_for_all_clips_says_nothing_of_the_scores(decided: Path) -> None:
    for call in "01":
        rescored(lambda _, call=call: call)(decided / DECISIONS)
        assert check_submission(decided) == []


def test_an_equal_score_may_be_called_either_way(decided: Path) -> None:
    rows = [f"section_00_{i:04d}.wav" for i in range(12)]
    (decided / SCORES).write_text("".join(f"{name},{min(i, 9)}\n" for i, name in enumerate(rows)))
    (decided / DECISIONS).write_text("".join(f"{name},{int(i >= 10)}\n" for i, name in enumerate(rows)))
    assert check_submission(decided) == []
    rescored(lambda score: str(min(int(score), 8)))(decided / SCORES)
    assert broken(decided) == [
        f"{SCORES}: 9 different numbers for 12 clips; are these constants, or decisions?",
    ]


@pytest.mark.parametrize(("value", "numbers"), [("0.5", "1 different number"), (None, "2 different numbers")])
def test_constants_and_decisions_are_no_scores(decided: Path, value: str | None, numbers: str) -> None:
    if value is None:
        shutil.copy(decided / DECISIONS, decided / SCORES)
    else:
        rescored(lambda _: value)(decided / SCORES)
    problems = broken(decided)
    assert f"{SCORES}: {numbers} for 5 clips; are these constants, or decisions?" in problems


def test_results_are_per_cent(submission: Path) -> None:
    as_fractions(submission / META)
    fan, valve = broken(submission)
    assert fan.startswith(f"{META}: results.development_dataset.fan must be per cent; these are fractions: auc_source ")
    assert "valve" in valve


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        (LABEL, True),
        ("anywhere", True),
        ("Huang_XJU_task2_2", False),
        ("huang_xju_task2_1", False),
        (f"task2/{LABEL}", True),
        ("task2/mine", False),
    ],
)
def test_a_folder_to_hand_in_has_the_labels_name(submission: Path, tmp_path: Path, name: str, valid: bool) -> None:
    folder = tmp_path / "package" / name
    shutil.copytree(submission, folder)
    expected = f"the folder is named {folder.name}, the description {META}; name it {LABEL}"
    assert broken(folder) == ([] if valid else [expected])


@pytest.mark.parametrize(
    "path",
    [
        "submission.name",
        "submission.abbreviation",
        "submission.authors",
        "system.description.input_sampling_rate",
        "system.description.decision_making",
        "system.description.domain_adaptation_method",
        "system.description.domain_generalization_method",
        "system.description.attribute_usage",
        "system.complexity.total_parameters",
        "system.complexity.MACS",
        "system.external_datasets",
        "system.source_code",
        "results.development_dataset",
    ],
)
def test_a_field_that_lacks_is_the_one_thing_named(submission: Path, path: str) -> None:
    meta = yaml.safe_load((submission / META).read_text())
    *parents, last = path.split(".")
    tree = meta
    for key in parents:
        tree = tree[key]
    del tree[last]
    (submission / META).write_text(yaml.safe_dump(meta))
    assert broken(submission) == [f"{META}: {path} is missing"]


def test_authors_are_a_list(submission: Path) -> None:
    meta = yaml.safe_load((submission / META).read_text())
    meta["submission"]["authors"] = []
    (submission / META).write_text(yaml.safe_dump(meta))
    assert broken(submission) == [f"{META}: submission.authors must be a list of authors"]


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


def test_many_problems_of_one_rule_are_a_few_lines(submission: Path) -> None:
    (submission / "notes.txt").touch()
    for file in (SCORES, DECISIONS):
        swapped_names = (submission / file).read_text().replace("section_", "clip_")
        (submission / file).write_text(swapped_names)
    problems = check_submission(submission)
    assert problem_lines(problems, 2) == [
        "files: 1",
        "  notes.txt: not a file of a submission",
        "clip names: 10",
        f"  {SCORES}, row 1: 'clip_00_0000.wav' is not a clip name like section_00_0000.wav",
        f"  {SCORES}, row 2: 'clip_00_0001.wav' is not a clip name like section_00_0000.wav",
        "  and 8 more",
    ]
    assert len(problem_lines(problems, None)) == len(problems) + 2
    assert problem_lines([], 2) == []


def test_machines_are_those_of_the_data(submission: Path) -> None:
    expected = {("AutoTrash", "00"): EXPECTED["AutoTrash", "00"], ("HomeCamera", "00"): []}
    problems = broken(submission, expected)
    assert problems == [
        "HomeCamera section 00: no score files",
        "Polisher section 00: has score files, but no evaluation clips are known of it",
    ]


def test_an_empty_folder_and_no_folder(tmp_path: Path) -> None:
    assert "no anomaly_score_<machine>" in broken(tmp_path)[0]
    with pytest.raises(UserError, match="no such folder"):
        check_submission(tmp_path / "nothing")


def test_names_in_a_data_folder(tmp_path: Path) -> None:
    for name in ("section_00_0001.wav", "section_00_0000.wav"):
        path = tmp_path / "Polisher" / "test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    labeled = tmp_path / "fan" / "test" / "section_00_source_test_normal_0000_a.wav"
    labeled.parent.mkdir(parents=True)
    labeled.touch()
    assert names_in_data(tmp_path) == {("Polisher", "00"): ["section_00_0000.wav", "section_00_0001.wav"]}
    shutil.rmtree(tmp_path / "Polisher")
    with pytest.raises(UserError, match="no evaluation clips"):
        names_in_data(tmp_path)


@needs_reference(EVALUATOR)
def test_a_submission_the_organizers_evaluator_read_passes_for_its_score_files() -> None:
    problems = broken(evaluator_dir() / "system_a", names_in_list(evaluator_dir()))
    assert problems == ["0 files named <label>.meta.yaml; there must be one"]


def test_another_test_of_the_run_is_submitted_by_its_own_numbers(run_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(run_dir / "results", run_dir / "results_2")
    path = run_dir / "results_2" / "scores.csv"
    write_scores(path, [score._replace(anomaly_score=score.anomaly_score + 100) for score in read_scores(path)])
    written = write_submission(run_dir / "results_2", LABEL, tmp_path / "out")
    assert written.results == run_dir / "results_2"
    submitted = (tmp_path / "out" / SCORES).read_text().splitlines()
    assert submitted
    assert all(float(line.split(",")[1]) > 50 for line in submitted)
