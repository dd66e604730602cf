"""From plain configuration to a module, and back from a checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch import Tensor

from asd_lightning.data.labels import ClassLabel
from asd_lightning.embedder import Embedder
from asd_lightning.encoders.weights.checkpoints import architecture_only, encoder_arguments
from asd_lightning.encoders.weights.unpickling import read_pickled
from asd_lightning.errors import UserError
from asd_lightning.older_names import of_today
from asd_lightning.own_code import why_not_built
from asd_lightning.plain_text import printable
from asd_lightning.training.module import AnomalousSoundModule, rename_head
from asd_lightning.trust import refuse_foreign_targets

_LONGEST = 400


def build_module(config: dict[str, Any], classes: Sequence[ClassLabel]) -> AnomalousSoundModule:
    """Instantiate the ``model`` part of a configuration for these classes.

    Args:
        config: plain data: keys ``embedder``, ``loss``, ``scorer``, ``threshold``, ``optimizer``, ``scheduler`` hold
            Hydra targets, the others are arguments of the module.
        classes: position = label.
    """
    # The files in conf/model/loss give the head beside the loss that it feeds.
    loss = dict(config["loss"])
    head = loss.pop("head", "joint")
    parts = instantiate(config | {"loss": loss}, _convert_="all")
    # An option that the back-end refuses is told now, not when training has ended.
    try:
        parts["scorer"]()
    except (TypeError, ValueError) as error:
        raise UserError(f"model.scorer: {error}") from error
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
    changed = frozenset(name for name in changes or {} if config[name] != stored.get(name))
    labels = [ClassLabel(*label) for label in content["asd_classes"]]
    with architecture_only(), _named(checkpoint, changed):
        _refuse_other_shapes(config, labels, content["state_dict"])
        module = build_module(config, labels)
        module.load_state_dict(content["state_dict"])
    module.updates = content["global_step"]
    module.training_clips = content.get("asd_training_clips", {})
    return module.eval()


@contextmanager
def _named(checkpoint: Path, changed: Set[str]) -> Iterator[None]:
    """Turn any error in building from a checkpoint, whose configuration may be anything, into a UserError.

    The message blames what was ``changed`` where the error lies there, and else the checkpoint.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        where = str(error).rpartition("full_key: ")[2] if isinstance(error, InstantiationException) else "its weights"
        reason = printable(" ".join(f"{where}: {why_not_built(error) or cause}".split()))[:_LONGEST]
        if isinstance(cause, UserError) and where.partition(".")[0] not in changed:
            # It says what to do, and the checkpoint is as it was.
            raise UserError(f"{checkpoint}: {reason}") from error
        if where.partition(".")[0] in changed:
            raise UserError(f"model.{reason}; correct what was given for model.{where} in this command") from error
        raise UserError(f"{checkpoint}: cannot be built ({reason}); copy the run again") from error


def _refuse_other_shapes(config: dict[str, Any], labels: Sequence[ClassLabel], state: dict[str, Tensor]) -> None:
    """Compare shapes before memory is allocated: a short text in a checkpoint can describe a model of any size."""
    with torch.device("meta"):
        wanted = {name: list(tensor.shape) for name, tensor in build_module(config, labels).state_dict().items()}
    found = {name: list(tensor.shape) for name, tensor in state.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if found.get(name) != wanted.get(name):
            raise ValueError(f"{name} has the shape {found.get(name)}, and the configuration says {wanted.get(name)}")


def _is_ours(content: dict[str, Any]) -> bool:
    """Whether what every test needs is there, and of its kind."""
    config, labels, state = (content.get(name) for name in ("asd_config", "asd_classes", "state_dict"))
    clips, updates = content.get("asd_training_clips", {}), content.get("global_step")
    return (
        isinstance(config, dict)
        and isinstance(labels, list)
        and all(isinstance(x, tuple | list) and list(map(type, x)) == [str, bool] for x in labels)
        and isinstance(state, dict)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items())
        and isinstance(clips, dict)
        and all(isinstance(text, str) for pair in clips.items() for text in pair)
        and type(updates) is int
        and updates >= 0
    )


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
    if not isinstance(content, dict) or "asd_config" not in content:
        raise UserError(f"{checkpoint}: not a checkpoint of asd train")
    if not _is_ours(content):
        raise UserError(f"{checkpoint}: not a checkpoint as asd train writes it; train again or copy it again")
    rename_head(content)
    return content
