"""What each setting may be, of a training and of a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, ListConfig, OmegaConf

from asd_lightning.configuration import (
    NO_PARTIAL,
    as_typed,
    of_another_kind,
)
from asd_lightning.encoders.family import chosen_poolings
from asd_lightning.errors import UserError
from asd_lightning.precision import PRECISIONS

# Smallest value of each whole number.
_LEAST = {
    "trainer.max_steps": 0,
    "accumulate": 1,
    "seed": 0,
    "data.seed": 0,
    "data.hold_out_seed": 0,
    "data.batch_size": 2,  # batch normalisation has no statistics of one clip
    "data.test_batch_size": 1,
    "data.test_windows": 1,
    "data.num_workers": 0,
}
# Of the model, what every system has.
_PARTS = ("embedder", "loss", "scorer", "threshold", "optimizer", "scheduler")
# More than the type that stands there is taken.
_OF_SEVERAL_TYPES = frozenset(
    {"devices", "trainer.devices", "trainer.deterministic", "trainer.precision", "data.channel", "store_features"}
)
# What each text is.
_TEXTS = {
    "system": "the system's name in comparisons",
    "model.recording_score": "max or mean",
    "data.cache_dir": "a folder in which decoded clips are kept, by default cache/clips,",
    "data.truth": "a list or folder, none, or null for what a download has left,",
    "data.recordings": "a table, or null for one beside the machines,",
    "data.pseudo_classes": "a table, or null for none,",
}
# Spectra are computed in float32 whatever the precision, so the weights cannot be of another type.
_CHOICES = {
    "trainer.precision": ("32-true", "bf16-mixed", "16-mixed", "32", "16", "bf16", 32, 16),
    "trainer.deterministic": ("warn", True, False),
    "model.scoring_precision": PRECISIONS,
}
# Lightning's other words for the same.
_OTHER_SPELLINGS = {"trainer.precision": ("32", "16", "bf16", 32, 16)}
# A generator's seed has 32 bits; windows of a clip are held at a time.
_MOST = {"seed": 2**32 - 1, "data.seed": 2**32 - 1, "data.hold_out_seed": 2**32 - 1, "data.test_windows": 10_000}
_MAY_BE_NULL = frozenset({"data.num_workers", "data.truth", "data.recordings", "data.pseudo_classes"})


def refuse_incomplete(config: DictConfig) -> None:
    """Each part of a system is there, and so is what writes the results of a test.

    Raises:
        UserError: a part is missing, or a back-end would be made once for all machines.
    """
    for part in _PARTS:
        if config.model.get(part) is None:
            raise UserError(f"model.{part} is missing, and a system needs one; choose another with model/{part}=NAME")
    if isinstance(config.model.scorer, DictConfig) and config.model.scorer.get("_partial_") is not True:
        chosen = (config.get("choices") or HydraConfig.get().runtime.choices).get("model/scorer")
        raise UserError(f"model.scorer: the file model/scorer/{chosen}.yaml {NO_PARTIAL}")
    if config.get("test") and (config.get("callbacks") or {}).get("results") is None:
        raise UserError("callbacks.results is missing, and writes what a test finds; test=false leaves the test out")


def refuse_bad_values(config: DictConfig) -> None:
    """Numbers are in their range, texts and choices are what they can be.

    Raises:
        UserError: one is not, with what is possible.
    """
    _refuse_bad_numbers(config)
    chosen_poolings(config.get("store_features"))
    for key in ("resume", "test", "compile", "model.score_after_head", "model.decay_all"):
        if not isinstance(value := OmegaConf.select(config, key), bool):
            raise UserError(f"{key}={as_typed(value)}: true or false is needed")
    for key in _TEXTS:
        _refuse_no_text(key, OmegaConf.select(config, key))
    for key in _CHOICES:
        _refuse_no_choice(key, OmegaConf.select(config, key))
    if config.trainer.get("max_epochs") != 1:
        raise UserError("trainer.max_epochs: a run is one epoch; give its length in updates, trainer.max_steps=N")
    _refuse_two_precisions(config)
    _refuse_repeated_clips(config)
    for group in ("callbacks", "logger"):
        _refuse_nothing_to_build(group, config.get(group) or {})
    _refuse_odd_checkpoint(config)
    _refuse_no_branch(config)


def _refuse_bad_numbers(config: DictConfig) -> None:
    clip = config.trainer.get("gradient_clip_val")
    if clip is not None and not (type(clip) in (int, float) and 0 < clip < math.inf):
        raise UserError(
            f"trainer.gradient_clip_val={as_typed(clip)}: the largest length of the gradient is needed, above 0, or "
            "null for any"
        )
    for key in _LEAST:
        _refuse_bad_number(key, OmegaConf.select(config, key))


def _refuse_bad_number(key: str, value: Any) -> None:
    if value is None and key in _MAY_BE_NULL:
        return
    if type(value) is not int or value < _LEAST[key]:
        raise UserError(f"{key}={as_typed(value)}: a whole number of at least {_LEAST[key]} is needed")
    if value > _MOST.get(key, value):
        raise UserError(f"{key}={value}: at most {_MOST[key]:,} is possible")


def _refuse_no_choice(key: str, value: Any) -> None:
    if value not in _CHOICES[key]:
        told = ", ".join(as_typed(one) for one in _CHOICES[key] if one not in _OTHER_SPELLINGS.get(key, ()))
        raise UserError(f"{key}={as_typed(value)}: choose one of {told}")


def _refuse_two_precisions(config: DictConfig) -> None:
    low, trained = config.model.scoring_precision, str(config.trainer.precision)
    if low != "float32" and trained not in ("32-true", "32"):
        raise UserError(
            f"model.scoring_precision={low} and trainer.precision={trained}: a test has one of them; leave one at its "
            "default, or train first and then give asd test RUN trainer.precision=32-true "
            f"model.scoring_precision={low}"
        )


def _refuse_repeated_clips(config: DictConfig) -> None:
    if config.trainer.get("use_distributed_sampler", False) is not False:
        raise UserError(
            "trainer.use_distributed_sampler: the data module shares the clips among the processes itself, and a "
            "sampler of Lightning's would repeat some; leave it at false"
        )


def _refuse_no_branch(config: DictConfig) -> None:
    branches = OmegaConf.select(config, "model.embedder.branches")
    for name, branch in (branches if isinstance(branches, DictConfig) else {}).items():
        if not isinstance(branch, DictConfig):
            raise UserError(
                f"model.embedder.branches.{name}={as_typed(branch)}: a branch is made of several settings; leave it "
                f"out with ~model.embedder.branches.{name}, or choose all with model/embedder/branches=[NAME,...]"
            )
        if "_target_" not in branch:
            raise UserError(
                f"model.embedder.branches.{name}: has settings (an experiment's, perhaps), and the system has no such "
                f"branch; add it to model/embedder/branches=[...], or leave it out with ~model.embedder.branches.{name}"
            )


def _refuse_odd_checkpoint(config: DictConfig) -> None:
    checkpoint = (config.get("callbacks") or {}).get("checkpoint") or {}
    every = checkpoint.get("every_n_train_steps", 1)
    if type(every) is not int or every < 1:
        raise UserError(
            f"callbacks.checkpoint.every_n_train_steps={as_typed(every)}: a whole number of at least 1 is needed"
        )


def _refuse_nothing_to_build(group: str, entries: Mapping[Any, Any]) -> None:
    for name, entry in entries.items():
        if entry is not None and not (isinstance(entry, DictConfig) and "_target_" in entry):
            raise UserError(
                f"{group}.{name}={as_typed(entry)}: {group}.{name}._target_ is missing, so there is nothing to build; "
                f"give it, or leave {group}.{name} out"
            )


def refuse_other_type(key: str, usual: Any, value: Any) -> None:
    """``value`` is of the type of the value ``usual`` that stands in its place, and in its range.

    Raises:
        UserError: it is not.
    """
    if isinstance(value, str) and "${" in value:
        return
    if key in _LEAST:
        _refuse_bad_number(key, value)
    elif key in _CHOICES:
        _refuse_no_choice(key, value)
    elif key in _TEXTS:
        _refuse_no_text(key, value)
    elif isinstance(usual, DictConfig | ListConfig):
        if value is not None and not isinstance(value, dict if isinstance(usual, DictConfig) else list):
            raise UserError(of_another_kind(key, value))
    elif key not in _OF_SEVERAL_TYPES and (kind := _other_type(usual, value)):
        raise UserError(f"{key}={as_typed(value)}: {kind} is needed, as in {key}={as_typed(usual)}")


def _other_type(usual: Any, value: Any) -> str:
    """What a value should be by the one in its place; "" where it is, or where nothing is known."""
    if value is None or (isinstance(value, str) and "${" in value):
        return ""
    if isinstance(usual, bool):
        return "" if isinstance(value, bool) else "true or false"
    if isinstance(usual, int):
        return "" if type(value) is int else "a whole number"
    if isinstance(usual, float):
        return "" if type(value) in (int, float) else "a number"
    return ""


def _refuse_no_text(key: str, value: Any) -> None:
    if not (isinstance(value, str) and value.strip()) and not (value is None and key in _MAY_BE_NULL):
        raise UserError(f"{key}={as_typed(value)}: {_TEXTS[key]} is needed")


def refuse_odd_machines(config: DictConfig) -> None:
    """Machines are a list of names or null for all, and the data folder is a text.

    Raises:
        UserError: they are not.
    """
    machines = config.data.get("machines")
    if isinstance(machines, str):
        raise UserError(f"data.machines={machines}: give a list, [{machines}]")
    are_names = isinstance(machines, ListConfig) and machines and all(isinstance(name, str) for name in machines)
    if machines is not None and not are_names:
        raise UserError(f"data.machines={as_typed(machines)}: give a list of names, or null for all machines")
    root = config.data.get("root")
    if not isinstance(root, str) or not root.strip():
        raise UserError(f"data.root={as_typed(root)}: the folder that holds the machines' recordings is needed")
