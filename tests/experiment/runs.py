"""Small runs for the tests of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from asd_lightning.configuration import compose_train


def tiny_overrides(data: Path, system: str = "system1", updates: int = 6) -> list[str]:
    """A run of tiny encoders on the tiny machines."""
    return [
        "scale=demo",
        f"experiment={system}",
        f"data.root={data}",
        f"data.cache_dir={data.parent / 'cache'}",
        "data.clip_seconds=1.0",
        "data.batch_size=8",
        "name=tiny",
        f"trainer.max_steps={updates}",
        "trainer.accelerator=cpu",
        "callbacks.checkpoint.every_n_train_steps=2",
        "~callbacks.progress",
        "~callbacks.model_summary",
    ]


def tiny_config(
    output: Path, data: Path, system: str = "system1", changes: Sequence[str] = (), **how: Any
) -> DictConfig:
    return compose_train([*tiny_overrides(data, system, **how), *changes], output)


def last_checkpoint(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(output / "checkpoints/last.ckpt", weights_only=True)
    return content


def assert_identical(one: Any, other: Any, where: str = "") -> None:
    """The same nested content, tensors to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_identical(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_identical(a, b, f"{where}/{index}")
    else:
        assert one == other, where
