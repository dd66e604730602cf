"""What is run is what was published: settings by the experiments' files, and by what a user changes."""

from __future__ import annotations

import re
import shutil

import pytest
from hydra.core.hydra_config import HydraConfig

from asd_lightning import configuration
from asd_lightning.comparison.published import TABLE_2, TABLE_2_AVERAGES
from asd_lightning.download.years import YEARS
from asd_lightning.encoders.weights.catalog import CATALOG
from asd_lightning.errors import UserError
from asd_lightning.reproduction.targets import TARGETS, composed, find_target


@pytest.fixture(autouse=True)
def hydra(monkeypatch):
    monkeypatch.setattr(HydraConfig.instance(), "cfg", HydraConfig.instance().cfg)


@pytest.mark.parametrize("name", TARGETS)
def test_the_experiments_are_what_was_published(name):
    """Every setting that a target states is compared; a wrong one raises."""
    target = find_target(name)
    for system in target.systems:
        config = composed(target, system, ())
        weights = {branch.encoder.get("weights") for branch in config.model.embedder.branches.values()} - {None}
        assert weights <= set(CATALOG)
    assert target.year in YEARS
    assert target.evaluated == ("test" in target.parts)


def test_an_experiment_that_has_changed_is_noticed(tmp_path, monkeypatch):
    """The file says another number than the report: it is refused before anything is run."""
    conf = tmp_path / "conf"
    shutil.copytree(configuration.CONF_DIR, conf)
    with (conf / "experiment/system1.yaml").open("a") as file:
        file.write("model:\n  loss:\n    margin: 0.3\n")
    monkeypatch.setattr(configuration, "CONF_DIR", conf)
    target = find_target("xju2025")
    with pytest.raises(UserError, match=r"xju2025, system1: model\.loss\.margin=0\.3, and published is 0\.2"):
        composed(target, target.systems[0], ())
    composed(target, target.systems[1], ())


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("xju2025", "model.loss.contrastive_weight=0", "model.loss.contrastive_weight"),
        ("xju2025", "data.labels=machine", "data.labels"),
        ("xju2025", "model/scorer=varmin_log", "model.scorer._target_"),
        ("rdp2603", "model.embedder.branches.beats.pooling.over_time.gamma=9", "pooling.over_time.gamma"),
        ("rdp2603", "model.scorer.rescale=identity", "model.scorer.rescale"),
        ("beam_2026", "+model.scorer.rescale=log", "model.scorer.rescale"),
        ("beam_w1_2026", "model.scorer.alpha=0", "model.scorer.alpha"),
        ("lora_2026", "model.optimizer._target_=torch.optim.SGD", "model.optimizer._target_"),
        ("lora_w1_2026", "data.clip_seconds=2", "data.clip_seconds"),
    ],
)
def test_each_part_of_the_method_is_held(name, change, key):
    target = find_target(name)
    with pytest.raises(UserError, match=f"{re.escape(key)}=.*, and published is"):
        composed(target, target.systems[0], (change,))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("xju2025", "model.score_after_head=false", "whether what follows it is scored"),
        ("xju2025", "data.clip_seconds=2", "clip length"),
        ("rdp2603", "model.embedder.branches.beats.pooling.merge_over=frames", "merge_over"),
        ("lora_2026", "trainer.precision=bf16-mixed", "trainer.precision may be another"),
    ],
)
def test_what_may_be_changed_is_told_to_be_open(name, change, words):
    target = find_target(name)
    composed(target, target.systems[0], (change,))
    assert words in "; ".join(target.left_open)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("model/embedder/branches=[beats]", "branches beats, and published are beats, fft"),
        ("~callbacks.ema", r"callbacks\.ema\.decay=\(absent\), and published is 0\.9995"),
    ],
)
def test_a_change_of_what_is_published_is_refused(change, words):
    target = find_target("xju2025")
    with pytest.raises(UserError, match=words):
        composed(target, target.systems[0], (change,))


def test_the_numbers_are_those_of_the_report():
    for system, (name, rows) in zip(find_target("xju2025").systems, TABLE_2.items(), strict=True):
        assert system.rows is rows
        assert (system.official.development, system.averages) == (TABLE_2_AVERAGES[name].hmean, TABLE_2_AVERAGES[name])
    official = {name: target.systems[0].official[1:] for name, target in TARGETS.items() if name != "xju2025"}
    assert official == {
        "rdp2603": (64.0, 62.4),
        "beam_2026": (61.32, 62.84),
        "beam_w1_2026": (67.48, 66.83),
        "lora_2026": (63.05, 67.92),
        "lora_w1_2026": (69.53, 70.66),
    }


def test_an_unknown_name_is_told_what_there_is():
    with pytest.raises(UserError, match="'xju2026'; there are xju2025, rdp2603, beam_2026"):
        find_target("xju2026")
