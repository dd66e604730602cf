import ast
import math
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from asd_lightning.data.file_names import Condition, Split
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.evaluation.ground_truth import (
    ClipTruth,
    join_ground_truth,
    label_clips,
    label_scores,
    read_ground_truth,
)
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.scoring.clip_scores import ClipScore
from tests.evaluation.official import EVALUATOR, evaluator_dir, labeled_scores
from tests.reference import REPOSITORY, needs_reference

# Rows in the forms of the published lists of 2023, 2024 and 2025.
LIST = """bandsaw
section_00_0005.wav,section_00_source_test_anomaly_0005_vel_15.wav
section_00_0000.wav,section_00_target_test_normal_0000_vel_12.wav
AirCompressor
section_00_0001.wav,section_00_source_test_normal_0001_noAttribute.wav
RoboticArm,
section_00_0000.wav,section_00_source_normal_0035_weight15_BckgF.wav
section_00_0003.wav,section_00_target_anomaly_0059_weight25_BckgE
gearbox
eval_data/gearbox/test/section_00_0007,section_00_target_test_anomaly_0007_volt_1.0_pro_y.wav
3DPrinter
section_00_0001.WAV,section_00_target_test_anomaly_0001_mdl_B_spd_2.WAV
"""


def score(machine: str, file: str, **other: str) -> ClipScore:
    clip = ClipScore(machine, "00", file, "unknown", "unknown", "", 1.0, math.nan, 0)
    return clip._replace(**other)


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_years_list_with_all_its_quirks(tmp_path: Path) -> None:
    assert read_ground_truth(written(tmp_path / "eval_data_list.csv", LIST)) == {
        ("bandsaw", "00", 5): ClipTruth("source", "anomaly", "vel_15"),
        ("bandsaw", "00", 0): ClipTruth("target", "normal", "vel_12"),
        ("AirCompressor", "00", 1): ClipTruth("source", "normal", ""),
        ("RoboticArm", "00", 0): ClipTruth("source", "normal", "weight15_BckgF"),
        ("RoboticArm", "00", 3): ClipTruth("target", "anomaly", "weight25_BckgE"),
        ("gearbox", "00", 7): ClipTruth("target", "anomaly", "volt_1.0_pro_y"),
        ("3DPrinter", "00", 1): ClipTruth("target", "anomaly", "mdl_B_spd_2"),
    }


def test_lines_of_windows_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"\xef\xbb\xbf" + LIST.replace("\n", "\r\n").encode())
    assert read_ground_truth(path) == read_ground_truth(written(tmp_path / "plain.csv", LIST))


@needs_reference(EVALUATOR)
def test_the_evaluators_folders_joined_by_name_give_the_official_result() -> None:
    expected = labeled_scores("system_a")
    unlabeled = [clip._replace(domain="unknown", condition="unknown") for clip in expected]
    joined, notes = join_ground_truth(unlabeled[::-1], read_ground_truth(evaluator_dir()))
    assert notes == ()
    assert evaluate(joined).machines == evaluate(expected).machines
    assert [clip[:6] for clip in joined[::-1]] == [clip[:6] for clip in expected]


@needs_reference(EVALUATOR)
def test_without_the_domain_folder_the_domain_stays_what_it_was(tmp_path: Path) -> None:
    shutil.copytree(evaluator_dir() / "ground_truth_data", tmp_path / "ground_truth_data")
    truth = read_ground_truth(tmp_path)
    assert {clip.domain for clip in truth.values()} == {"unknown"}
    (clip,), _ = join_ground_truth([score("Scanner", "section_00_0003.wav", domain="target")], truth)
    assert clip.domain == "target"
    assert clip.condition != "unknown"


def test_attributes_come_from_their_folder(tmp_path: Path) -> None:
    name = "ground_truth_fan_section_00_test.csv"
    written(tmp_path / "ground_truth_data" / name, "section_00_0000.wav,1\n")
    written(tmp_path / "ground_truth_domain" / name, "section_00_0000.wav,1\n")
    written(tmp_path / "ground_truth_attributes" / name, "section_00_0000.wav,section_00_target_anomaly_0007_m_W\n")
    assert read_ground_truth(tmp_path) == {("fan", "00", 0): ClipTruth("target", "anomaly", "m_W")}


@pytest.mark.parametrize("file", ["section_00_0005.wav", "section_00_test_0005.wav"])
def test_both_forms_of_an_evaluation_name_are_the_same_clip(tmp_path: Path, file: str) -> None:
    truth = read_ground_truth(written(tmp_path / "list.csv", LIST))
    (clip,), _ = join_ground_truth([score("bandsaw", file)], truth)
    assert clip == score("bandsaw", file, domain="source", condition="anomaly", attribute="vel_15")


def test_what_has_no_partner_is_said(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path / "list.csv", LIST))
    stranger = score("pump", "any_name.wav")
    joined, notes = join_ground_truth([score("bandsaw", "section_00_0005.wav"), stranger], truth)
    assert joined[1] is stranger
    text = "\n".join(notes)
    assert "does not know pump" in text
    assert "No scores for 3DPrinter, AirCompressor, RoboticArm, gearbox" in text
    assert "bandsaw: 1 clips of the ground truth have no score (section_00_0000)" in text


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (
            score("bandsaw", "section_00_0999.wav"),
            r"1 scored clips are not in the ground truth: bandsaw/section_00_0999",
        ),
        (score("bandsaw", "odd.wav"), r"bandsaw/odd\.wav: an evaluation clip is named"),
        (score("pump", "section_00_0005.wav"), r"the scores have pump: this truth belongs to other data"),
        (
            score("bandsaw", "section_00_0005.wav", condition="normal"),
            "condition is normal, the ground truth says anomaly",
        ),
        (score("bandsaw", "section_00_0005.wav", domain="target"), "domain is target, the ground truth says source"),
    ],
)
def test_truth_that_does_not_fit_is_refused(tmp_path: Path, clip: ClipScore, message: str) -> None:
    truth = read_ground_truth(written(tmp_path / "list.csv", LIST))
    with pytest.raises(UserError, match=message):
        join_ground_truth([clip], truth)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("section_00_0000.wav,section_00_source_test_normal_0000_a.wav\n", "row 1: a line with the machine's name"),
        ("fan\nsection_00_0000.wav,section_00_middle_test_normal_0000_a.wav\n", "row 2: expected"),
        ("fan\nsection_00_0000.wav,section_00_source_test_normal_0000_a.wav,1\n", "row 2: expected"),
        ("fan\nclip.wav,section_00_source_test_normal_0000_a.wav\n", "row 2: 'clip.wav' is not a clip name"),
        ("fan\n" + "section_00_0000.wav,section_00_source_test_normal_0000_a.wav\n" * 2, "row 3: fan .* second time"),
        ("", "no clip in it"),
        ("\n", "no clip in it"),
        ("<html>\n<p>x,y</p>", "row 2: expected"),
    ],
)
def test_a_bad_list_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_ground_truth(written(tmp_path / "list.csv", text))


@pytest.mark.parametrize(
    ("data", "domain", "message"),
    [
        ("section_00_0000.wav,2\n", "section_00_0000.wav,1\n", r"ground_truth_data.*row 1: expected"),
        ("section_00_0000.wav,1\n", "section_00_0000.wav\n", r"ground_truth_domain.*row 1: expected"),
        ("section_00_0000.wav,1\n", "section_00_0001.wav,1\n", "section_00_0000 is in one alone"),
        ("section_00_0000.wav,1\n" * 2, "section_00_0000.wav,1\n", "row 2: fan .* second time"),
    ],
)
def test_bad_folders_are_named(tmp_path: Path, data: str, domain: str, message: str) -> None:
    written(tmp_path / "ground_truth_data" / "ground_truth_fan_section_00_test.csv", data)
    written(tmp_path / "ground_truth_domain" / "ground_truth_fan_section_00_test.csv", domain)
    with pytest.raises(UserError, match=message):
        read_ground_truth(tmp_path)


def test_a_path_without_truth_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such ground truth"):
        read_ground_truth(tmp_path / "nothing")
    with pytest.raises(UserError, match="no ground_truth_data/"):
        read_ground_truth(tmp_path)
    written(tmp_path / "ground_truth_data" / "ground_truth_fan_test.csv", "")
    with pytest.raises(UserError, match=r"ground_truth_fan_test\.csv: the name must be"):
        read_ground_truth(tmp_path)


@pytest.mark.parametrize("content", [b"fan\xff\n", b"fan\n\x00\n" + b"x" * 200_000])
def test_what_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"list\.csv: not readable as CSV .*; fetch the truth file again"):
        read_ground_truth(tmp_path / "list.csv")


def test_clips_with_labeled_names_need_no_truth(tmp_path: Path) -> None:
    path = written(tmp_path / "list.csv", LIST)
    labeled = score("bandsaw", "section_00_source_test_normal_0001.wav", domain="source", condition="normal")
    assert label_scores([labeled], tmp_path / "never read") == [labeled]
    blind = score("bandsaw", "section_00_0005.WAV")
    first, second = label_scores([labeled, blind], path)
    assert first is labeled
    assert second.condition == "anomaly"
    with pytest.raises(UserError, match=r"list\.csv: does not fit what was scored.*asd test RUN data\.truth=FILE"):
        label_scores([score("pump", "section_00_0005.wav")], path)


def clip(root: Path, name: str, split: Split = "test", condition: Condition = "unknown") -> Clip:
    return Clip(
        path=root / name, machine="bandsaw", name=name, split=split, domain="unknown", condition=condition, attribute=""
    )


def test_only_anonymous_test_clips_are_labeled(tmp_path: Path) -> None:
    anonymous = clip(tmp_path, "section_00_0005.wav")
    others = [
        clip(tmp_path, "section_00_0099.wav"),
        clip(tmp_path, "monday.wav"),
        clip(tmp_path, "section_00_0005.wav", condition="normal"),
        clip(tmp_path, "section_00_0005.wav", split="supplemental"),
    ]
    assert label_clips(tmp_path, [anonymous, *others]) == [anonymous, *others]
    written(tmp_path / "eval_data" / "eval_data_list_2023.csv", LIST)
    expected = replace(anonymous, domain="source", condition="anomaly", attribute="vel_15")
    assert label_clips(tmp_path, [anonymous, *others]) == [expected, *others]


ROOMS = ("data", "encoders", "features", "losses", "scoring")
READER = "asd_lightning.evaluation.ground_truth"


def imported_by(source: Path) -> set[str]:
    """Modules that a file imports, wherever in it; ``from a import b`` may mean the module ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def reachable(sources: Iterable[Path]) -> set[str]:
    """All modules of the package that importing ``sources`` brings in, through however many others."""
    seen: set[str] = set()
    pending = {name for source in sources for name in imported_by(source)}
    while pending:
        seen.add(name := pending.pop())
        path = REPOSITORY.joinpath(*name.split("."))
        for source in (path.with_suffix(".py"), path / "__init__.py"):
            # The package itself names its public functions for type checkers, and imports them when they are asked for.
            if name.startswith("asd_lightning.") and source.is_file():
                pending |= imported_by(source) - seen
    return seen


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_that_makes_scores_reaches_the_truth(room: str) -> None:
    sources = list((REPOSITORY / "asd_lightning" / room).rglob("*.py"))
    assert sources
    assert READER not in reachable(sources)


def test_the_guard_would_notice() -> None:
    assert READER in reachable([REPOSITORY / "asd_lightning/experiment/train.py"])


def test_there_is_one_reader() -> None:
    """Nothing else in the package opens a truth file: their names stand with reader, finder, addresses and writer."""
    names = {
        source.relative_to(REPOSITORY / "asd_lightning").as_posix()
        for source in (REPOSITORY / "asd_lightning").rglob("*.py")
        if "ground_truth_data" in source.read_text()
    }
    assert names == {"evaluation/ground_truth.py", "data/truth_place.py", "download/years.py", "synthetic/released.py"}
