"""Checkpoints of trainings, with odd values in the places of good ones: each is built, or refused in one line.

Damaged bytes of such files are those of weights (`fuzz.foreign`); here the file is whole, and what it says is wrong.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch

from asd_lightning.configuration import compose_train, plain
from asd_lightning.data.labels import ClassLabel
from asd_lightning.errors import UserError
from asd_lightning.training.build import build_module, load_module

_EXPERIMENTS = ("fft", "statistics", "system4")
_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2, 17, 10**6, 10**12, 2**63, -(2**70), 0.5, -1.5, 1e300, float("nan"), float("inf")),
    *("", "x", "../../x", "os.system", "${oc.env:HOME}", "a" * 10_000, "\x1b[31m", "asd_lightning.embedder.Embedder"),
    *([], {}, [1, "x"], {"_target_": "os.getcwd"}, {"_target_": "asd_lightning.embedder.Embedder"}, [[[[[]]]]]),
)


def make(number: int) -> bytes:
    """Which system, and the changes: keys from the outside in, and an odd value for the last of them."""
    draw = random.Random(number)
    experiment = draw.choice(_EXPERIMENTS)
    places = list(_places(_content(experiment)))
    changes = [(draw.choice(places), draw.randrange(len(_ODD) + 2)) for _ in range(draw.choice((1, 1, 2, 4)))]
    return json.dumps([experiment, changes]).encode()


def check(data: bytes) -> None:
    """Load the checkpoint.

    Raises:
        Exception: anything else than an error for users, in one line.
    """
    experiment, changes = json.loads(data)
    content = copy.deepcopy(_content(experiment))
    for keys, value in changes:
        _change(content, keys, value)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        path = Path(folder, "last.ckpt")
        torch.save(content, path)
        try:
            load_module(path)
        except UserError as error:
            if len(str(error).splitlines()) != 1 or len(str(error)) > 20_000:
                raise AssertionError(f"{error!s:.300}") from None


def _change(content: Any, keys: list[Any], value: int) -> None:
    for key in keys[:-1]:
        content = content[key] if isinstance(content, dict | list) and _has(content, key) else None
    if not isinstance(content, dict | list) or not _has(content, keys[-1]):
        return  # an earlier change took it away
    if value == len(_ODD):
        del content[keys[-1]]
    elif value == len(_ODD) + 1 and isinstance(content[keys[-1]], torch.Tensor):
        # As large as one likes, of one stored number.
        content[keys[-1]] = torch.zeros(1).expand(1 << 40)
    else:
        content[keys[-1]] = _ODD[value % len(_ODD)]


def _has(content: dict[Any, Any] | list[Any], key: Any) -> bool:
    return key in content if isinstance(content, dict) else isinstance(key, int) and key < len(content)


def _places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[list[Any]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield [*above, key]
        yield from _places(value, (*above, key))


@cache
def _content(experiment: str) -> dict[str, Any]:
    overrides = [f"experiment={experiment}", "encoders=tiny", "name=x", "model.loss.sub_centers=2"]
    labels = [ClassLabel("fan/a", True), ClassLabel("pump/x", False)]
    with contextlib.redirect_stderr(io.StringIO()):
        module = build_module(plain(compose_train(overrides, Path("out")).model), labels)
    content: dict[str, Any] = {"state_dict": dict(module.state_dict()), "global_step": 3}
    module.on_save_checkpoint(content)
    content["asd_classes"] = [list(label) for label in labels]
    return content
