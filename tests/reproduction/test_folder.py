"""A folder holds the runs of one reproduction, with the settings that it was begun with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning import configuration
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import claimed
from asd_lightning.reproduction.folder import MARKER, output_of
from asd_lightning.reproduction.plan import Plan, make_plan
from asd_lightning.reproduction.targets import find_target


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)


def plan_of(name: str = "rdp2603", *changes: str) -> Plan:
    return make_plan(find_target(name), None, Path("runs/one"), None, changes)


def begin(plan: Plan) -> None:
    """As after the first run."""
    with output_of(plan, rehearsed=False):
        (plan.output / "rdp2603_seed0").mkdir(exist_ok=True)


def edited(monkeypatch, file: str, old: str, new: str) -> None:
    """The package has another setting from here on."""
    conf = Path("conf").absolute()
    shutil.copytree(configuration.CONF_DIR, conf)
    text = (conf / file).read_text()
    assert old in text
    (conf / file).write_text(text.replace(old, new))
    monkeypatch.setattr(configuration, "CONF_DIR", conf)


def test_settings_that_have_come_to_be_others_are_refused(monkeypatch):
    begin(plan_of())
    begin(plan_of())
    edited(monkeypatch, "model/threshold/gamma.yaml", "90", "80")
    words = r"was begun with model\.threshold\.percentile=90.0 of rdp2603 \(now 80"
    with pytest.raises(UserError, match=words), output_of(plan_of(), rehearsed=False):
        pass


def test_the_average_and_the_run_for_classes_count_as_well():
    plan = plan_of("lora_2026")
    begin(plan)
    clusters = plan.clusters.copy()
    clusters.model.embedder.branches.beats.pooling.bands = "merge"
    words = r"pooling\.bands=keep of clusters \(now merge\)"
    with pytest.raises(UserError, match=words), output_of(replace(plan, clusters=clusters), rehearsed=False):
        pass
    (one,) = plan.systems
    config = one.config.copy()
    config.callbacks.ema = {"decay": 0.9}
    averaged = replace(plan, systems=(replace(one, config=config),))
    with pytest.raises(UserError, match=r"callbacks\.ema"), output_of(averaged, rehearsed=False):
        pass


def test_another_version_is_told(caplog):
    begin(plan_of())
    marker = Path("runs/one") / MARKER
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"version": "0.0.1"}))
    begin(plan_of())
    assert "was begun by asd_lightning 0.0.1, now" in caplog.text


def test_a_folder_is_kept_once_something_has_run():
    with output_of(plan_of(), rehearsed=False):
        pass
    begin(plan_of("rdp2603", "data.num_workers=1"))
    with pytest.raises(UserError, match="holds another reproduction"), output_of(plan_of(), rehearsed=False):
        pass


def test_one_at_a_time():
    begin(plan_of())
    words = "another reproduction is going on in it; wait for its end, or give another folder with -o"
    with claimed(Path("runs/one")), pytest.raises(UserError, match=words), output_of(plan_of(), rehearsed=False):
        pass
