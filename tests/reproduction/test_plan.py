"""What a reproduction says beforehand: sizes by counting, hours by the committed benchmarks, and what is lacking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning.cli import build_parser, main
from asd_lightning.download.years import YEARS
from asd_lightning.errors import UserError
from asd_lightning.reproduction import costs, plan, reproduction
from asd_lightning.reproduction.targets import find_target

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
    return tmp_path


def planned(name="rdp2603", **how):
    told = {"data": None, "output": None, "seeds": None, "changes": ()} | how
    return plan.make_plan(find_target(name), **told)


@pytest.fixture(scope="module")
def xju(tmp_path_factory):
    """The plan of four systems where nothing is there yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("xju"))
        patch.setenv("ASD_CACHE", "cache")
        patch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)
        return planned("xju2025")


def test_the_hours_are_those_of_the_benchmarks():
    rows = json.loads((BENCHMARKS / "training_gpu.json").read_text())["rows"]
    for name, hours in costs.BFLOAT16_HOURS.items():
        batch = 8 if name.startswith("lora") else 16
        of = {"experiment": name, "batch": batch, "compiled": False}
        (row,) = (row for row in rows if of.items() <= row.items() and row["device"] in costs.DEVICES["gpu"])
        assert hours == row["projected_hours"]
    on_gpu = json.loads((BENCHMARKS / "encoders_gpu.json").read_text())
    on_cores = json.loads((BENCHMARKS / "encoders.json").read_text())
    assert on_gpu["device"] in costs.DEVICES["gpu"]
    for encoder in ("beats", "eat"):
        for what, table in (("training", costs.TRAINED), ("forward", costs.EMBEDDED)):
            (row,) = (
                row
                for row in on_gpu[encoder]["rows"]
                if (row["batch"], row["precision"], row["pass"]) == (16, "float32", what)
            )
            assert table["gpu"][encoder] == row["clips_per_second"]
            clips = 4 if what == "training" else 8
            assert table["processor"][encoder] == clips / on_cores[encoder][what]["seconds_min"]


def test_a_training_is_reckoned_by_the_clips_it_sees(xju):
    of_system1 = {(hours.device, hours.precision): hours for hours in xju.systems[0].hours}
    seen, scored = 10_000 * 8 * 16, 15 * 1200
    assert of_system1["gpu", "float32"].hours == pytest.approx((seen / 107.504 + scored / 346.397) / 3600, rel=1e-4)
    assert of_system1["gpu", "float32"].hedge == "at least "
    assert "    together: at least 54.4 h in float32" in plan.plan_lines(xju)
    assert of_system1["gpu", "bfloat16"].hours == pytest.approx(1.79, abs=0.01)
    assert of_system1["processor", "float32"].hours > 100 * of_system1["gpu", "float32"].hours


def test_sizes_are_counted(xju):
    """2025: 1,000 training, 200 test and 100 supplemental clips of each machine, 2 bytes a sample at 16 kHz."""
    seconds = {"dev": 5 * 10 + 2 * 12, "eval": 6 + 10 + 5 + 6 + 10 + 10 + 10 + 7}
    year = YEARS[2025]
    assert costs.unpacked_bytes(year, ("dev",)) == 1300 * seconds["dev"] * 32_000
    assert costs.unpacked_bytes(year, ("train",)) == 1100 * seconds["eval"] * 32_000
    assert costs.unpacked_bytes(year, ("test", "truth")) == 200 * seconds["eval"] * 32_000
    assert costs.cache_bytes(year, [0, 0]) == 1200 * sum(seconds.values()) * 32_000
    assert costs.cache_bytes(year, [0, "reduced_per_clip"]) == 3 * costs.cache_bytes(year, [0])
    weights = 361_499_833 + 359_905_840
    assert xju.missing_weights == ("beats_iter3", "eat_base")
    assert xju.download_bytes == costs.packed_bytes(year, ("dev", "train")) + weights
    # Of trained encoders weights, two moments and the average; each is in three of the four systems or two.
    checkpoints = 3 * 4 * (3 * 361_499_833 + 3 * 359_905_840)
    sizes = costs.unpacked_bytes(year, ("dev", "train")) + costs.cache_bytes(year, [0]) + weights
    assert xju.disk_bytes == sizes + checkpoints


def fill(folder: Path, clips: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(clips):
        (folder / f"{number}.wav").touch()


def test_what_is_here_is_not_fetched(elsewhere, monkeypatch):
    year = YEARS[2025]
    monkeypatch.setattr(plan, "TRAINING_CLIPS", 2)
    monkeypatch.setattr(plan, "TEST_CLIPS", 1)
    raw = {"dev": elsewhere / "data/dcase2025/dev_data/raw", "eval": elsewhere / "data/dcase2025/eval_data/raw"}
    for machine in year.dev_machines:
        fill(raw["dev"] / machine / "test", 1)
    for machine in year.eval_machines:
        fill(raw["eval"] / machine / "train", 2)
    # Tests alone are no development set, nor is one whose last machine lacks a clip.
    assert planned().missing_parts == ("dev", "test")
    for machine in year.dev_machines:
        fill(raw["dev"] / machine / "train", 2 if machine != year.dev_machines[-1] else 1)
    assert planned().missing_parts == ("dev", "test")
    fill(raw["dev"] / year.dev_machines[-1] / "train", 2)
    assert planned().missing_parts == ("test",)
    weights = elsewhere / "cache/weights/beats_iter3.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert planned().missing_weights == ()


def test_nothing_is_fetched_among_other_machines(elsewhere, capsys):
    for split in ("train", "test"):
        folder = elsewhere / "data/mine/mixer" / split
        folder.mkdir(parents=True)
        (folder / "section_00_source_train_normal_0001.wav").touch()
    assert main(["reproduce", "rdp2603", "--plan", "--data", "data/mine"]) == 2
    assert "data/mine: holds other machines (mixer), among which nothing" in capsys.readouterr().err
    synthetic = elsewhere / "data/demo"
    synthetic.mkdir()
    (synthetic / "synthetic.json").write_text("{}")
    assert main(["reproduce", "rdp2603", "--plan", "--data", "data/demo"]) == 2
    assert "data/demo: holds synthetic machines" in capsys.readouterr().err
    assert main(["reproduce", "rdp2603", "--plan", "--data", "data/typo"]) == 0
    assert "into data/typo, which does not exist yet and is made" in capsys.readouterr().out


def test_the_plan_alone_writes_nothing(elsewhere, capsys):
    assert main(["reproduce", "lora_w1_2026", "--plan", "trainer.precision=bf16-mixed", "--seeds", "4,5"]) == 0
    told = capsys.readouterr().out
    for words in (
        "published 69.53 on development machines, 70.66 on evaluation machines",
        "open: lora_alpha",
        "to fetch: DCASE 2026, dev, train, test, about 7.1 GB, into data/dcase2026",
        "to fetch: weights beats_iter3, 361.5 MB",
        "to fetch: truth of the evaluation machines, into runs/reproduce_lora_w1_2026/truth",
        "lora_w1_2026: 2 x 50 min in bfloat16 (trainer.precision=bf16-mixed); benchmarks/training_gpu.json",
        "lora_w1_2026: 2 x roughly 47 min in float32",
        "classes: once 1 min in float32",
        "together: roughly 1.6 h in float32",
        "together: 1.7 h in bfloat16",
    ):
        assert words in told
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=3"], "seed=3: a reproduction sets seed itself"),
        (["data.truth=x"], "a reproduction sets data.truth itself"),
        (["trainer=ddp"], "a reproduction sets trainer itself"),
        (["precision"], "precision: settings are KEY=VALUE"),
        (["--seeds", "1,1"], "seeds 1,1: give different whole numbers"),
        (["--seeds", "one"], "--seeds one: give whole numbers"),
    ],
)
def test_what_a_reproduction_sets_itself_is_refused(words, message, elsewhere, capsys):
    assert main(["reproduce", "rdp2603", *words, "--plan"]) == 2
    assert message in capsys.readouterr().err


def test_settings_may_stand_among_the_options(capsys):
    parsed = build_parser("reproduce").parse_args(["reproduce", "x", "a=1", "--plan", "b=2", "--yes", "~c"])
    assert (parsed.name, parsed.changes, parsed.plan, parsed.yes) == ("x", ["a=1", "b=2", "~c"], True, True)
    for words, message in ((["--plan"], "required: NAME"), (["x", "--plan", "y"], "unrecognized arguments: y")):
        with pytest.raises(SystemExit):
            build_parser("reproduce").parse_args(["reproduce", *words])
        assert capsys.readouterr().err.splitlines()[-1].endswith(message)


def test_the_run_for_classes_is_computed_like_the_others(elsewhere):
    changed = ("trainer.precision=bf16-mixed", "data.num_workers=1", "model.optimizer.weight_decay=0.1")
    clusters = planned("lora_2026", changes=changed).clusters
    assert (clusters.trainer.precision, clusters.data.num_workers, clusters.trainer.max_steps) == ("bf16-mixed", 1, 0)
    assert clusters.model.optimizer.weight_decay == 0.01
    assert planned().clusters is None


def test_a_rehearsal_shows_the_plan_of_the_reproduction_itself(elsewhere, capsys):
    (elsewhere / "mine/truth/ground_truth_data").mkdir(parents=True)
    made = reproduction.planned("lora_2026", output=Path("mine"), rehearse=True)
    told = capsys.readouterr().out
    assert "3 x " in told
    assert "to fetch: truth of the evaluation machines, into runs/reproduce_lora_2026/truth" in told
    assert told.splitlines()[-1] == "This rehearsal: 2 runs, results in mine"
    assert (made.seeds, made.output) == ((0, 1), Path("mine"))
    assert reproduction.planned("lora_2026", seeds=(0, 1, 2), rehearse=True).seeds == (0, 1, 2)


def test_an_unknown_setting_is_refused(elsewhere):
    with pytest.raises(UserError, match="no such setting"):
        planned(changes=("trainer.precisions=32-true",))
