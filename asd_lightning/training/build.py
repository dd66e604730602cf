"""From plain configuration to a module, and back from a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from asd_lightning.configuration import of_today
from asd_lightning.data.labels import ClassLabel
from asd_lightning.embedder import Embedder
from asd_lightning.encoders.weights.checkpoints import architecture_only, encoder_arguments
from asd_lightning.encoders.weights.unpickling import read_pickled
from asd_lightning.errors import UserError
from asd_lightning.training.module import AnomalousSoundModule, rename_head
from asd_lightning.trust import refuse_foreign_targets


def build_module(config: dict[str, Any], classes: Sequence[ClassLabel]) -> AnomalousSoundModule:
    """Instantiate the ``model`` part of a configuration for these classes.

    Args:
        config: plain data: keys ``embedder``, ``loss``, ``scorer``, ``threshold``, ``optimizer``, ``scheduler`` hold
            Hydra targets, the others are arguments of the module.
        classes: position = label.
    """
    # A recipe's file names the head beside the loss that it feeds.
    loss = dict(config["loss"])
    head = loss.pop("head", "joint")
    parts = instantiate(config | {"loss": loss}, _convert_="all")
    # An option that the back-end refuses is told now, not when training has ended.
    parts["scorer"]()
    complete = _with_encoder_configs(config, parts["embedder"])
    return AnomalousSoundModule(classes=classes, config=complete, head=head, **parts)


def load_module(checkpoint: Path, changes: dict[str, Any] | None = None) -> AnomalousSoundModule:
    """The module of a training checkpoint, with the averaged weights where the run averaged.

    Args:
        checkpoint: written by training.
        changes: parts of the configuration to replace, such as another ``scorer``.

    Raises:
        UserError: there is no such file, it is not a checkpoint of this package, or its configuration would call what
            is not this package's and not trusted, see `asd_lightning.trust`.
    """
    content = read_checkpoint(checkpoint)
    stored = of_today(content["asd_config"])
    refuse_foreign_targets(stored, str(checkpoint), "model")
    config = stored | (changes or {})
    with architecture_only():
        module = build_module(config, [ClassLabel(*label) for label in content["asd_classes"]])
    module.load_state_dict(content["state_dict"])
    module.updates = content["global_step"]
    module.training_clips = content.get("asd_training_clips", {})
    return module.eval()


def _with_encoder_configs(config: dict[str, Any], embedder: Embedder) -> dict[str, Any]:
    """``config`` with what the encoders took from their weights' files: those need not be there to build them again."""
    complete = copy.deepcopy(config)
    for name, branch in embedder.branches.named_children():
        complete["embedder"]["branches"][name]["encoder"] |= encoder_arguments(branch.get_submodule("encoder"))
    return complete


def read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain data alone, nothing else is unpickled.

    Raises:
        UserError: there is no such file, or it is not a checkpoint of this package.
    """
    if not checkpoint.is_file():
        raise UserError(f"{checkpoint}: no such checkpoint; give the folder of a run that has trained")
    try:
        # torch's own reader calls nothing foreign, but makes views, lists and buffers of any size.
        read_pickled(checkpoint)
        content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(
            f"{checkpoint}: not readable as a checkpoint ({error}); train again or copy it again"
        ) from error
    if "asd_config" not in content:
        raise UserError(f"{checkpoint}: not a checkpoint of asd train")
    rename_head(content)
    return content
