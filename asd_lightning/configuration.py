"""Where the Hydra configuration lies, and how it becomes objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

_PACKAGE = Path(__file__).resolve().parent
# Inside the wheel, or beside the package in a checkout.
CONF_DIR = next(folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir())


def compose_train(overrides: Sequence[str], output_dir: Path) -> DictConfig:
    """The training configuration with ``overrides``, outside a Hydra run; outputs go to ``output_dir``.

    It becomes Hydra's current configuration, for the ``${hydra:...}`` values in it.
    """
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config: DictConfig = compose("train", overrides=[*overrides], return_hydra_config=True)
    config.hydra.runtime.output_dir = str(output_dir)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
    return config


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as dictionaries, lists and scalars, interpolations resolved."""
    container: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return container


def instantiate_all(group: DictConfig | None) -> list[Any]:
    """Objects of a group of named entries, in order; entries set to null are left out."""
    return [instantiate(entry) for entry in (group or {}).values() if entry]
