"""What makes a run the run that it is: classes and clips it is trained on, and the settings that matter."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from asd_lightning.data.labels import ClassLabel
from asd_lightning.data.truth_place import NO_TRUTH
from asd_lightning.errors import UserError

logger = logging.getLogger(__name__)

_NAMED_AT_MOST = 3
_PATHS = ("root", "truth", "recordings", "pseudo_classes")


def with_absolute_paths(config: DictConfig) -> DictConfig:
    """Make the data paths absolute, in place: a run may be tested from another folder than it was trained from."""
    for name in _PATHS:
        if (value := config.data.get(name)) and (name, value) != ("truth", NO_TRUTH):
            config.data[name] = str(Path(str(value)).expanduser().absolute())
    return config


def digest_of(content: Mapping[str, str]) -> str:
    """One digest of names and what belongs to them, in whatever order."""
    return hashlib.blake2b(json.dumps(sorted(content.items())).encode(), digest_size=8).hexdigest()


def refuse_other_training(
    checkpoint: Path, content: Mapping[str, Any], classes: Sequence[ClassLabel], clips: Mapping[str, str]
) -> None:
    """Refuse to go on with a run whose classes or clips are not those that it has trained on so far.

    Args:
        checkpoint: for the message.
        content: of the checkpoint.
        classes: of today's data.
        clips: name -> digest of today's training clips.

    Raises:
        UserError: names what differs.
    """
    before = {str(name): str(has_attribute) for name, has_attribute in content["asd_classes"]}
    now = {label.name: str(label.has_attribute) for label in classes}
    if differences := _differences(before, now):
        raise UserError(f"{checkpoint}: trained on other classes ({differences}); {_WAYS_OUT}")
    known = content.get("asd_training_clips")
    if not known:
        logger.warning("%s: of an older version, which does not tell what clips it was trained on", checkpoint)
    elif differences := _differences(known, clips):
        raise UserError(f"{checkpoint}: trained on other clips ({differences}); {_WAYS_OUT}")


def warn_of_other_training(run: Path, known: Mapping[str, str], clips: Mapping[str, str]) -> None:
    """Warn where a test uses other normal recordings than the run was trained on: its bank then differs."""
    if known and (differences := _differences(known, clips)):
        logger.warning("%s: its training clips are not those that it was trained on (%s)", run, differences)


_WAYS_OUT = "put the recordings back as they were, or train another run with name="


def _differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs in a few words; "" where nothing does."""
    kinds = (
        ("gone", sorted(before.keys() - now.keys())),
        ("new", sorted(now.keys() - before.keys())),
        ("changed", sorted(name for name in before.keys() & now.keys() if before[name] != now[name])),
    )
    return "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds if names)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_AT_MOST]) + (", ..." if len(names) > _NAMED_AT_MOST else "")
