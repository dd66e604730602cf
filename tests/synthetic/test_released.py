"""A data set in the released layout: anonymous clips are the labelled ones renamed, and nothing tells which."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from asd_lightning.errors import UserError
from asd_lightning.evaluation.ground_truth import read_ground_truth
from asd_lightning.synthetic import PRESETS, SESSION_PRESETS, Preset, SessionPreset, synthesize
from asd_lightning.synthetic.machines import MachineClass
from asd_lightning.synthetic.sessions import Sessions

ROWS = (MachineClass("source", (("spd", "1"),), 2), MachineClass("target", (("spd", "2"),), 1))
SMALL = Preset("small", tuple(replace(one, seconds=0.1, classes=ROWS) for one in PRESETS["tiny"].machines[:2]), 3)
TRUE_NAME = re.compile(r"section_00_(source|target)_test_(normal|anomaly)_\d{4}_spd_[12]")


def session_preset() -> SessionPreset:
    machines = tuple(
        replace(one, seconds=0.1, classes=ROWS, sessions=Sessions(2, 1, 2))
        for one in SESSION_PRESETS["sessions_far"].machines[:2]
    )
    return SessionPreset("small_far", machines, microphones=2)


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("released") / "set"
    made = synthesize(root, SMALL, progress=False, evaluation=["gearbox"])
    assert (made.clips, made.written, made.truth) == (30, 30, root.with_name("set_truth"))
    return root


def test_anonymous_clips_are_the_labelled_ones(released, tmp_path):
    synthesize(tmp_path / "labelled", SMALL, progress=False)
    names = (released.with_name("set_truth") / "ground_truth_attributes").glob("*.csv")
    rows = [line.split(",") for path in names for line in path.read_text().splitlines()]
    assert [name for name, _ in rows] == [f"section_00_{number:04d}.wav" for number in range(12)]
    folder = tmp_path / "labelled/gearbox/test"
    assert {f"{true}.wav" for _, true in rows} == {path.name for path in folder.iterdir()}
    for name, true in rows:
        clip = released / "eval_data/raw/gearbox/test" / name
        assert clip.read_bytes() == (folder / f"{true}.wav").read_bytes()
    for split in ("train", "test"):
        for path in (tmp_path / "labelled/fan" / split).iterdir():
            assert (released / "dev_data/raw/fan" / split / path.name).read_bytes() == path.read_bytes()


def test_the_three_tables_of_truth_agree(released):
    truth = read_ground_truth(released.with_name("set_truth"))
    names = released.with_name("set_truth") / "ground_truth_attributes/ground_truth_gearbox_section_00_test.csv"
    for line in names.read_text().splitlines():
        name, true = line.split(",")
        domain, condition = TRUE_NAME.fullmatch(true).groups()
        told = truth["gearbox", "00", int(name[11:15])]
        assert (told.domain, told.condition) == (domain, condition)
    # The order tells nothing: it is not that of the true names.
    ordered = [line.split(",")[1] for line in names.read_text().splitlines()]
    assert ordered not in (sorted(ordered), sorted(ordered, reverse=True))


@pytest.mark.parametrize("preset", [SMALL, session_preset()], ids=["clips", "recordings"])
def test_nothing_in_the_data_tells_of_the_truth(preset, tmp_path):
    root = tmp_path / "set"
    machine = preset.machines[1].name
    synthesize(root, preset, progress=False, evaluation=[machine], truth=tmp_path / "apart")
    names = [str(path.relative_to(root)) for path in root.rglob("*")]
    assert any("eval_data" in name and name.endswith("section_00_0000.wav") for name in names)
    texts = names + [path.read_text() for path in root.rglob("*") if path.suffix in (".csv", ".json")]
    told = [line for text in texts for line in text.splitlines() if machine in line and "_test_" in line]
    assert told == []


def test_an_interrupted_set_is_finished(released, tmp_path):
    root = tmp_path / "set"
    synthesize(root, SMALL, progress=False, evaluation=["gearbox"])
    gone = root / "eval_data/raw/gearbox/test/section_00_0003.wav"
    gone.unlink()
    (root / "synthetic.json").rename(root / ".synthetic-unfinished.json")
    assert synthesize(root, SMALL, progress=False, evaluation=["gearbox"]).written == 1
    assert gone.read_bytes() == (released / gone.relative_to(root)).read_bytes()
    with pytest.raises(UserError, match=r"another synthetic data set \(made with(out)? --evaluation[\w ,]*\): choose"):
        synthesize(root, SMALL, progress=False, evaluation=["fan"], truth=tmp_path / "other")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"evaluation": ["fan", "gearbox"]}, "all there are; leave one for development"),
        ({"evaluation": ["valve"]}, "evaluation machine valve: not among the machines, which are fan, gearbox"),
        ({"evaluation": []}, r"evaluation machine \(none named\)"),
        ({"evaluation": ["fan"], "truth": "set/eval_data"}, "the truth would lie in the data folder"),
        ({"truth": "truth"}, "only an evaluation set has a truth"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, how, words):
    if "truth" in how:
        how = how | {"truth": tmp_path / how["truth"]}
    with pytest.raises(UserError, match=words):
        synthesize(tmp_path / "set", SMALL, progress=False, **how)
    assert not any(tmp_path.iterdir())


def test_another_truth_is_not_replaced(released, tmp_path):
    with pytest.raises(UserError, match="holds the truth of another data set"):
        synthesize(
            tmp_path / "set",
            SMALL,
            seed=1,
            progress=False,
            evaluation=["gearbox"],
            truth=released.with_name("set_truth"),
        )
    assert not (tmp_path / "set").exists()


def test_a_truth_that_cannot_be_written_is_told_before_anything_is_made(tmp_path):
    (tmp_path / "truth").write_text("mine")
    with pytest.raises(UserError, match="is no folder"):
        synthesize(tmp_path / "set", SMALL, progress=False, evaluation=["gearbox"], truth=tmp_path / "truth")
    assert [path.name for path in tmp_path.iterdir()] == ["truth"]


def test_the_times_of_anonymous_clips_tell_nothing(released):
    clips = (released / "eval_data/raw/gearbox/test").iterdir()
    assert len({clip.stat().st_mtime_ns for clip in clips}) == 1
