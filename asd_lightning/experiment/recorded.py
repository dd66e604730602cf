"""The configuration of a test: what the run has recorded, changed by what a test may change."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from asd_lightning.configuration import (
    choices_of,
    compose_train,
    is_group,
    no_such_setting,
    own_folders,
    parse_overrides,
    plain,
)
from asd_lightning.errors import UserError
from asd_lightning.experiment.allowed import (
    refuse_bad_values,
    refuse_incomplete,
    refuse_odd_machines,
    refuse_other_type,
)
from asd_lightning.experiment.claim import is_first_process
from asd_lightning.experiment.identity import with_absolute_paths
from asd_lightning.foreign_files import load_yaml
from asd_lightning.older_names import of_today
from asd_lightning.plain_text import did_you_mean, is_name
from asd_lightning.run_folder import CONFIG, ResultSet, no_run
from asd_lightning.trust import read_part, refuse_foreign_targets

# What a test may take from a folder that the run remembers.
_FROM_OUTSIDE = frozenset({"model/scorer", "model/threshold"})
# A test takes these from the run's record, and does not let them be chosen anew.
_RECORDED = frozenset({"model", "data", "seed", "system"})
_OF_THE_RUN = frozenset({"experiment", "scale", "encoders"})
# What a test makes something of, and of that what is nevertheless the training's alone.
_OF_A_TEST = re.compile(
    r"model[/.](scorer|threshold)(\..+)?|model\.(score_after_head|recording_score|scoring_precision)(\..+)?|data\..+|(trainer|callbacks|logger)(\..+)?"
    r"|seed|system|devices|store_features"
)
_OF_A_TRAINING = re.compile(
    r"data\.(batch_size|sampler|labels|seed|supplemental\w*)|callbacks\.(ema|checkpoint|learning_rate|results)(\..+)?"
    r"|trainer\.(max_steps|max_epochs|accumulate_grad_batches|gradient_clip_\w+|limit_(train|val)_batches)"
)
_CHANGEABLE = (
    *("model/scorer", "model/threshold", "model.scorer", "model.threshold", "model.score_after_head"),
    *("model.recording_score", "model.scoring_precision", "data", "trainer", "devices", "callbacks", "logger"),
    *("seed", "system", "store_features"),
)
# Options of the data module that say where a test runs, not what it hears.
_OF_THE_PLACE = ("cache_dir", "num_workers")
# Callbacks that only a training has.
_OF_TRAINING = ("ema", "checkpoint", "learning_rate")


def retest_configuration(run: Path, overrides: Sequence[str], results: Path) -> DictConfig:
    """The configuration of a test of ``run``; outputs go to ``results``.

    Model, data, seed and precision are those that the run has recorded, changed by ``overrides``.  All else, such as
    loggers, callbacks and the place where clips are cached, is today's: a run that was passed on does not decide who
    watches a test and where things are written.

    Raises:
        UserError: not the folder of a run, an override or a number that does not fit, another system, or a record that
            calls what is not this package's.
    """
    parsed = parse_overrides(overrides)
    if own := next((text for one, text in zip(parsed, overrides, strict=True) if _root(one) in _OF_THE_RUN), None):
        raise UserError(f"{own}: the system is the run's own; train another run with asd train")
    stored = _stored_configuration(run)
    _refuse_idle(parsed, overrides, stored)
    # Older runs drew held-out recordings by their own seed.
    stored["data"].setdefault("hold_out_seed", stored["data"].get("seed", 0))
    if swept := next((one for one in parsed if one.is_sweep_override()), None):
        raise UserError(f"{swept.input_line}: several values; a test has one of each")
    remembered = _from_remembered_folders(parsed, overrides, stored)
    composed = [
        (one, text) for one, text in zip(parsed, overrides, strict=True) if str(one.key_or_group) not in remembered
    ]
    groups = [text for one, text in composed if is_group(one)]
    around = [text for one, text in composed if _root(one) not in _RECORDED]
    # The run may have been without some of them.
    idle = [f"++callbacks.{name}=null" for name in _OF_TRAINING]
    config = compose_train([*dict.fromkeys([*around, *groups]), *idle, f"seed={stored['seed']}"], results)
    if not any(one.key_or_group == "trainer.precision" for one in parsed):
        config.trainer.precision = stored["precision"]
    _take_over(config, stored, [one for one in parsed if is_group(one)])
    for group, content in remembered.items():
        config.model[group.partition("/")[2]] = content
    for one in parsed:
        if _root(one) in _RECORDED and not is_group(one):
            _apply(config, one)
    refuse_incomplete(config)
    refuse_bad_values(config)
    with_absolute_paths(config)
    refuse_odd_machines(config)
    config.name = run.resolve().name
    write_to(config, results)
    return config


def write_to(config: DictConfig, results: Path) -> None:
    """Let a test's outputs go to ``results``, in place; ``config`` has been composed last."""
    with read_write(HydraConfig.get()):
        HydraConfig.get().runtime.output_dir = str(results)
    config.callbacks.results.directory = str(results)


def _refuse_idle(parsed: Sequence[Override], overrides: Sequence[str], stored: Mapping[str, Any]) -> None:
    """What a test would take without a word, and make nothing of."""
    for one, text in zip(parsed, overrides, strict=True):
        key = str(one.key_or_group)
        if _OF_A_TRAINING.fullmatch(key):
            raise UserError(
                f"{text}: is the training's, and changes nothing in a test; results go elsewhere with -o DIR"
            )
        # Lightning tells the processes that it starts where Hydra should work.
        if _OF_A_TEST.fullmatch(key) or (key.startswith("hydra.") and not is_first_process()):
            continue
        known = {*_CHANGEABLE, *(f"{part}.{name}" for part in ("model", "data") for name in stored[part])}
        is_known = any(key == name or key.startswith(f"{name}.") for name in known)
        meant = "" if is_known else did_you_mean(key, sorted(known))
        raise UserError(
            f"{text}: changes nothing in a test{meant}; what can be changed is {', '.join(_CHANGEABLE)}, and with "
            "-o DIR the folder of the results"
        )


def _from_remembered_folders(
    parsed: Sequence[Override], overrides: Sequence[str], stored: Mapping[str, Any]
) -> dict[str, Any]:
    """Group -> content of its file, where a choice is found in a folder that the run remembers, and only there.

    Hydra never sees that folder: a file in it could put anything anywhere.  It gives a back-end or a threshold, with
    ``${seed}`` as its one reference, and calls what is trusted.
    """
    found = {}
    for one in parsed:
        group, choice = str(one.key_or_group), one.value()
        if group not in _FROM_OUTSIDE or choice in choices_of(group, own_folders()) or not isinstance(choice, str):
            continue
        path = next((p for folder in stored["config_dirs"] if (p := folder / group / f"{choice}.yaml").is_file()), None)
        if path is not None and is_name(choice):
            found[group] = read_part(path, "model", stored["seed"], overrides)
    return found


def _stored_configuration(run: Path) -> dict[str, Any]:
    """Of a run's record, what a test takes over; it calls nothing and refers to nothing."""
    path = run / CONFIG
    if not path.is_file():
        raise no_run(run)
    ResultSet(run).refuse_fusion("test one of the runs in it")
    content: Any = of_today(load_yaml(path))
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("model", "data")):
        raise UserError(f"{path}: not the configuration of a run: model and data are missing; copy the run again")
    for part in ("model", "data"):
        refuse_foreign_targets(content[part], str(path), part)
    trainer = content.get("trainer")
    scalars = {
        "seed": content.get("seed"),
        "system": content.get("system"),
        "precision": trainer.get("precision") if isinstance(trainer, dict) else None,
    }
    for name, value in scalars.items():
        if not isinstance(value, int | str) or "${" in str(value):
            raise UserError(f"{path}: {name}={value!r} is no plain value; copy the run again")
    if type(scalars["seed"]) is not int:
        raise UserError(f"{path}: seed={scalars['seed']!r} is no whole number; copy the run again")
    choices = content.get("choices")
    plain_choices = {
        str(group): str(choice)
        for group, choice in (choices.items() if isinstance(choices, dict) else ())
        if "${" not in str(choice)
    }
    callbacks = content.get("callbacks")
    average = callbacks.get("ema") if isinstance(callbacks, dict) else None
    trained = {
        "trainer": _scalars(trainer),
        "callbacks": {"ema": _scalars(average) or None},
        "compile": content.get("compile") is True,
    }
    named = content.get("config_dirs")
    folders = [Path(text) for text in named if isinstance(text, str)] if isinstance(named, list) else []
    # Older runs did not record it.
    plain_choices.setdefault("experiment", str(scalars["system"]))
    parts = {"model": content["model"], "data": content["data"], "choices": plain_choices, "trained": trained}
    return parts | scalars | {"config_dirs": [folder for folder in folders if folder.is_dir()]}


def _scalars(node: Any) -> dict[str, Any]:
    """What is plain in a part of the record that is only written down again."""
    if not isinstance(node, dict):
        return {}
    return {
        str(key): value
        for key, value in node.items()
        if isinstance(value, int | float | str | None) and "${" not in str(value)
    }


def _take_over(config: DictConfig, stored: dict[str, Any], groups: Sequence[Override]) -> None:
    """Put what the run has recorded in the place of today's, but for groups that were chosen anew."""
    chosen = {str(one.key_or_group): str(one.value()) for one in groups}
    for part in ("model", "data"):
        today = plain(config[part])
        anew = {group.partition("/")[2] for group in chosen if group.startswith(f"{part}/")} | set(_OF_THE_PLACE)
        # Settings that are newer than the run are as today, too.
        kept = {key: value for key, value in today.items() if key in anew or key not in stored[part]}
        config[part] = stored[part] | kept
    config.seed, config.system = stored["seed"], str(stored["system"])
    for group, choice in chosen.items():
        _rename(config, group.rpartition("/")[2], stored["choices"].get(group), choice)
    with open_dict(config):
        config.choices = stored["choices"] | chosen
        # Only to be written beside the results: nothing is made of it.
        config.trained = stored["trained"]


def _apply(config: DictConfig, override: Override) -> None:
    """One override of a recorded value."""
    key = str(override.key_or_group)
    parent, _, name = key.rpartition(".")
    holder = OmegaConf.select(config, parent) if parent else config
    adding = override.is_add() or override.is_force_add()
    if holder is not None and not isinstance(holder, DictConfig):
        raise UserError(no_such_setting(key, plain(config)))
    if not adding and (holder is None or name not in holder):
        more = "" if override.is_delete() else f"; +{key}= adds one"
        raise UserError(f"{no_such_setting(key, plain(config))}{more}")
    if holder is not None and override.is_delete():
        with open_dict(config):
            del holder[name]
        return
    before = OmegaConf.select(config, key)
    refuse_other_type(key, before, override.value())
    OmegaConf.update(config, key, override.value(), merge=False, force_add=True)
    _rename(config, key.rpartition(".")[2], before, OmegaConf.select(config, key))
    if key == "seed":
        _reseed(config, override.value())


def _rename(config: DictConfig, word: str, before: Any, now: Any) -> None:
    """A sweep's job is called by what was swept; a test that changes it is called by what it is now."""
    config.system = config.system.replace(f"{word}={before}", f"{word}={now}")


def _reseed(config: DictConfig, seed: Any) -> None:
    """What followed the seed when it was recorded, follows it again."""
    for holder in (config.data, config.model, config.model.scorer):
        if "seed" in holder:
            holder.seed = seed


def _root(override: Override) -> str:
    return re.split(r"[.@:/]", str(override.key_or_group))[0]
