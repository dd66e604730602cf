"""Every file of the configuration composes, and every system builds what its name says."""

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate

from asd_lightning.configuration import CONF_DIR, as_yaml, compose_train, for_hydra, plain, recorded
from asd_lightning.data.labels import ClassLabel
from asd_lightning.encoders.beats import BEATs
from asd_lightning.encoders.eat import EAT
from asd_lightning.encoders.spectrum_cnn import SpectrumCNN
from asd_lightning.losses.arcface import SubCenterArcFace
from asd_lightning.training.build import build_module

CLASSES = [ClassLabel("fan/a", True), ClassLabel("fan/b", True), ClassLabel("pump/noAttribute", False)]


def names(group):
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def build(tmp_path, *overrides):
    config = compose_train(["encoders=tiny", "name=x", *overrides], tmp_path)
    return build_module(plain(config.model), CLASSES)


@pytest.mark.parametrize(
    ("experiment", "encoders", "dims"),
    [
        ("system1", {"beats": BEATs, "fft": SpectrumCNN}, 256),
        ("system2", {"eat": EAT, "fft": SpectrumCNN}, 256),
        ("system3", {"eat": EAT, "beats": BEATs}, 256),
        ("system4", {"eat": EAT, "beats": BEATs, "fft": SpectrumCNN}, 384),
    ],
)
def test_systems_are_lists_of_branches(tmp_path, experiment, encoders, dims):
    embedder = build(tmp_path, f"experiment={experiment}").embedder
    assert {name: type(branch.encoder) for name, branch in embedder.branches.items()} == encoders
    assert sum(embedder.embed_dims.values()) == dims
    fft_is_normalized = {"fft": torch.nn.Identity} if experiment != "system4" else {}
    for name, branch in embedder.branches.items():
        assert isinstance(branch.normalization, fft_is_normalized.get(name, torch.nn.Module))
    if experiment == "system4":
        norms = embedder.branches["fft"].eval()(torch.randn(2, 160_000)).norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(2))


@pytest.mark.parametrize("experiment", names("experiment"))
def test_every_experiment_composes_and_builds(tmp_path, experiment):
    build(tmp_path, f"experiment={experiment}")


@pytest.mark.parametrize("scorer", names("model/scorer"))
def test_every_back_end_builds(tmp_path, scorer):
    config = compose_train([f"model/scorer={scorer}", "name=x"], tmp_path)
    assert hasattr(instantiate(config.model.scorer)(), "leave_one_out_scores")


@pytest.mark.parametrize("threshold", names("model/threshold"))
def test_every_threshold_builds(tmp_path, threshold):
    config = compose_train([f"model/threshold={threshold}", "name=x"], tmp_path)
    assert instantiate(config.model.threshold).fit(np.linspace(0.1, 1, 100), np.zeros(100, dtype=bool)) > 0


def test_the_presets_of_the_sub_centers(tmp_path):
    def centers(*overrides):
        loss = build(tmp_path, "experiment=fft", *overrides).loss
        (arcface,) = [module for module in loss.modules() if isinstance(module, SubCenterArcFace)]
        return len(arcface.weight)

    assert centers() == 3 * 114
    assert centers("model/loss=aithu_subcenters") == 1 + 1 + 16


def test_the_defaults_are_the_reports(tmp_path):
    config = plain(compose_train(["name=x"], tmp_path))
    assert config["trainer"]["max_steps"] == 10_000
    assert config["accumulate"] == 8
    assert config["data"]["batch_size"] == 16
    assert config["model"]["optimizer"] == {
        "_target_": "torch.optim.AdamW",
        "_partial_": True,
        "lr": 1e-4,
        "weight_decay": 0.01,
    }
    assert config["model"]["scheduler"]["warmup"] == 960
    assert config["callbacks"]["ema"]["decay"] == 0.9995
    assert config["model"]["loss"]["margin"] == 0.2
    assert config["model"]["loss"]["temperature"] == 0.04
    assert config["model"]["scorer"]["smote"]["ratio"] == 0.2
    assert config["model"]["scorer"]["smote"]["neighbors"] == 3


@pytest.mark.parametrize(
    "path", ["pump", "my pump", "a=b", "Prüfstand 2", "a #1; b & c!", "~/pump", "a:b", "50%", "C:\\a", "^<a>", "x.y"]
)
def test_paths_need_no_quotes_for_hydra(tmp_path, path):
    assert compose_train([for_hydra(f"data.root={path}")], tmp_path).data.root == path


@pytest.mark.parametrize(
    "override",
    [
        "seed=0,1",
        "data.machines=[a,b]",
        "data.root='a b'",
        "~callbacks.ema",
        "+data.x=ü",
        "seed=range(1,3)",
        "x=[a",
        "-m",
    ],
)
def test_what_hydra_gives_a_meaning_stays(override):
    assert for_hydra(override) == override


@pytest.mark.parametrize("words", ["logger=null", "logger=none", "~logger"])
def test_no_logger_can_be_said_in_several_ways(tmp_path, words):
    assert not compose_train([for_hydra(words)], tmp_path).get("logger")


def test_options_of_an_encoder_need_no_plus(tmp_path):
    overrides = [for_hydra("encoders.beats.config.encoder_layerdrop=0.0"), "experiment=system1"]
    config = plain(compose_train(overrides, tmp_path))
    assert config["model"]["embedder"]["branches"]["beats"]["encoder"]["config"] == {"encoder_layerdrop": 0.0}


def test_secrets_are_not_written_down(tmp_path, monkeypatch):
    """The environment stays unread outside of what a test needs, and addresses lose what opens their doors."""
    monkeypatch.setenv("TOKEN", "s3cret")
    config = compose_train(
        [
            "+logger.wandb.key=${oc.env:TOKEN}",
            "+logger.wandb.header=${logger.wandb.key}-x",
            "+logger.wandb.url='https://me:s3cret@host/x?key=s3cret'",
            "+logger.wandb.other=${oc.env:ABSENT,default}",
            "+logger.comet={api_key: s3cret, API_TOKEN: s3cret, http: {password: 53}}",
            "+logger.wandb.token=${oc.env:TOKEN}",
            "+logger.wandb.max_tokens=5",
            "+logger.wandb.secret=null",
            "data.root=${oc.env:TOKEN}",
        ],
        tmp_path,
    )
    written = yaml.safe_load(as_yaml(config))
    assert written["logger"]["wandb"] == {
        "key": "${oc.env:TOKEN}",
        "header": "${oc.env:TOKEN}-x",
        "url": "https://host/x",
        "other": "${oc.env:ABSENT,default}",
        "token": "${oc.env:TOKEN}",
        "max_tokens": 5,
        "secret": None,
    }
    assert written["logger"]["comet"] == {"api_key": "***", "API_TOKEN": "***", "http": {"password": "***"}}
    assert written["data"]["root"] == "s3cret"
    assert written == recorded(config)
    # What is built still has them.
    assert config.logger.wandb.key == "s3cret"
    assert config.logger.wandb.url.endswith("?key=s3cret")
