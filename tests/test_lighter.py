"""What tests compose is what Hydra composes, to the types, flags and order of every value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl, config_repository
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, Node, OmegaConf

from asd_lightning.configuration import CONF_DIR, compose_train

LOADER = config_loader_impl.ConfigLoaderImpl
MERGE = "_compose_config_from_defaults_list"


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=[*overrides], return_hydra_config=True)


def composed_by_hydra(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> DictConfig:
    with monkeypatch.context() as patch:
        patch.setattr(config_loader_impl, "create_defaults_list", config_loader_impl.create_defaults_list.__wrapped__)
        for made, name in (
            (LOADER, MERGE),
            (config_repository.ConfigRepository, "load_config"),
            (config_repository.CachingConfigRepository, "__init__"),
        ):
            patch.setattr(made, name, getattr(made, name).__wrapped__)
        return composed(*overrides)


def whole(node: Any) -> Any:
    """All that a configuration's node holds, below it too."""
    if not isinstance(node, Node):
        return node
    content = node._content if isinstance(node, DictConfig | ListConfig) else node._value()
    if isinstance(content, dict):
        content = [(key, whole(value)) for key, value in content.items()]
    elif isinstance(content, list):
        content = [whole(value) for value in content]
    known = {
        name: value for name, value in vars(node._metadata).items() if name not in ("flags_cache", "resolver_cache")
    }
    return type(node), known, content


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=fft", "name=x", "seed=7"],
        ["scale=demo", "experiment=system1", "data.root=/x", "~callbacks.progress", "+model.more=3"],
        ["model/scorer=gmm", "model.scorer.components=5", "logger=[csv,wandb]"],
        ["trainer=ddp", "devices=4", "hydra.run.dir=x"],
    ],
)
def test_the_same_is_composed_each_time(monkeypatch: pytest.MonkeyPatch, overrides: list[str]) -> None:
    expected = composed_by_hydra(monkeypatch, *overrides)
    first, second = composed(*overrides), composed(*overrides)
    assert whole(first) == whole(second) == whole(expected)


def test_what_is_done_to_one_is_not_done_to_the_next() -> None:
    OmegaConf.set_struct(one := composed(), False)
    one.model.scorer.k = 12345
    one.data.clear()
    assert whole(composed()) != whole(one)
    assert composed().data.root


def test_the_time_is_the_time_of_each() -> None:
    composed()
    assert not composed()._metadata.resolver_cache


@pytest.mark.parametrize("override", ["experiment=nope", "data.rot=x", "+experiment=fft", "~nothing", "data={a:1}"])
def test_the_same_is_refused_each_time(monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    composed()
    with pytest.raises(HydraException) as expected:
        composed_by_hydra(monkeypatch, override)
    for _ in range(2):
        with pytest.raises(HydraException) as refused:
            composed(override)
        assert str(refused.value) == str(expected.value)


def test_ones_own_files_are_read_each_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ASD_CONFIG_DIR", str(tmp_path))
    (tmp_path / "experiment").mkdir()
    for rate in (0.25, 0.5):
        (tmp_path / "experiment/mine.yaml").write_text(f"# @package _global_\nmodel: {{optimizer: {{lr: {rate}}}}}\n")
        assert compose_train(["experiment=mine"]).model.optimizer.lr == rate
