"""What is refused before it is handed in."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from asd_lightning.errors import UserError
from asd_lightning.submission.check import (
    check_submission,
    names_in_data,
    names_in_list,
    problem_lines,
)
from tests.evaluation.official import EVALUATOR, evaluator_dir
from tests.reference import needs_reference
from tests.submission.described import DECISIONS, EXPECTED, LABEL, META, SCORES, broken, edited


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
        (META, edited("email: someone@example.org", "email: null"), "author 1: email is missing"),
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
