"""From synthetic machines in the challenge's layout to valid submissions; the truth has no part in any of it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from asd_lightning import fuse, submit, train
from asd_lightning.cli import main
from asd_lightning.synthetic import PRESETS, Preset, synthesize
from asd_lightning.synthetic.machines import MachineClass
from tests.submission.described import INFO

SYSTEMS = ("system1", "system2", "system3", "system4")
# Of a run, what a later stage reads or a person hands in.
OUTPUTS = ("scores.csv", "metrics.csv", "summary.json", "fitted.safetensors", "embeddings.npz", "challenge")


def small(root: Path, name: str, experiment: str) -> list[str]:
    return [
        *(f"experiment={experiment}", f"name={name}", f"data.root={root}", "encoders=tiny", "trainer.max_steps=2"),
        *(
            "accumulate=1",
            "data.batch_size=4",
            "data.clip_seconds=0.5",
            "data.num_workers=0",
            "trainer.accelerator=cpu",
        ),
        *(f"data.cache_dir={root.parent / 'cache'}", "logger=[]", "~callbacks.progress", "~callbacks.model_summary"),
    ]


def entered(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, systems: tuple[str, ...] = SYSTEMS) -> Path:
    """Train, fuse, and submit each and the whole, in ``folder``."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "me.yaml").write_text(INFO)
    for experiment in systems:
        train(*small(root, experiment, experiment), *([] if experiment in SYSTEMS else ["trainer.max_steps=0"]))
    runs = [f"runs/{experiment}" for experiment in systems]
    fuse(*runs, output="runs/fused")
    for number, run in enumerate(runs, start=1):
        submit(run, f"Me_Lab_task2_{number}", info="me.yaml")
    submit("runs/fused", "Me_Lab_task2_1", output="fused/Me_Lab_task2_1", info="me.yaml")
    return folder


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    files = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """Two machines to be developed with, of which one has attributes, and one for evaluation; the truth is beside."""
    root = tmp_path_factory.mktemp("challenge") / "set"
    rows = (MachineClass("source", (("spd", "1"),), 8), MachineClass("target", (("spd", "2"),), 3))
    bare = tuple(row._replace(attributes=()) for row in rows)
    few = tuple(
        replace(one, seconds=0.5, classes=bare if one.name == "bearing" else rows) for one in PRESETS["tiny"].machines
    )
    synthesize(root, Preset("few", few, 3), progress=False, evaluation=["gearbox"])
    return root


@pytest.fixture(autouse=True)
def hydra(monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)


@pytest.mark.slow
def test_four_systems_are_entered_and_the_truth_changes_nothing(machines, tmp_path, monkeypatch, capsys):
    with_truth = entered(machines, tmp_path / "with", monkeypatch)
    capsys.readouterr()
    for place in [*(f"task2/Me_Lab_task2_{number}" for number in range(1, 5)), "fused/Me_Lab_task2_1"]:
        assert main(["submit", "--check", place, "--data", str(machines)]) == 0
        assert capsys.readouterr().out == f"{place}: valid\n"
    described = yaml.safe_load(Path("fused/Me_Lab_task2_1/Me_Lab_task2_1.meta.yaml").read_text())
    assert described["system"]["description"]["ensemble_method_subsystem_count"] == 4
    assert set(described["results"]["development_dataset"]) == {"bearing", "fan"}
    truth = machines.with_name("set_truth")
    hidden = truth.rename(tmp_path / "hidden")
    try:
        without = entered(machines, tmp_path / "without", monkeypatch)
    finally:
        hidden.rename(truth)
    patterns = [f"runs/*/results/{name}" for name in OUTPUTS if name != "summary.json"]
    patterns += ["runs/fused/*.csv", "runs/*/results/challenge/*", "task2/*/*", "fused/*/*"]
    ours = contents(with_truth, *patterns)
    assert len(ours) > 4 * 5 + 5 * 3
    assert ours == contents(without, *patterns)


def test_a_truth_in_the_data_folder_is_in_no_submission(machines, tmp_path, monkeypatch):
    """As a download leaves it: metrics are made of it, and nothing that is handed in."""
    systems = ("statistics", "log_mel")
    without = entered(machines, tmp_path / "without", monkeypatch, systems)
    root = tmp_path / "set"
    shutil.copytree(machines, root)
    shutil.copytree(machines.with_name("set_truth"), root / "eval_data", dirs_exist_ok=True)
    told = entered(root, tmp_path / "told", monkeypatch, systems)
    assert b"gearbox" in (told / "runs/fused/metrics.csv").read_bytes()
    assert b"gearbox" not in (without / "runs/fused/metrics.csv").read_bytes()
    ours = contents(told, "task2/*/*", "fused/*/*", "runs/*/results/challenge/*")
    assert ours
    assert ours == contents(without, "task2/*/*", "fused/*/*", "runs/*/results/challenge/*")
