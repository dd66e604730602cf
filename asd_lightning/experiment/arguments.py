"""The arguments of ``asd train`` and ``asd test``, refused where they cannot work.

Torch, which takes seconds to import, is not needed for that, and nothing is written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from asd_lightning.configuration import (
    CONF_DIR,
    choices_of,
    compose_train,
    of_today,
    own_folders,
    parse_overrides,
    plain,
)
from asd_lightning.data.folders import machine_folders
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import claimed
from asd_lightning.experiment.identity import with_absolute_paths
from asd_lightning.experiment.resume import checkpoint_to_resume, refuse_another_run
from asd_lightning.foreign_files import load_yaml
from asd_lightning.plain_text import did_you_mean, is_name
from asd_lightning.run_folder import CHECKPOINT, CONFIG, HYDRA, LOG
from asd_lightning.trust import read_part, refuse_foreign_targets

_MULTIRUN = {"-m", "--multirun"}
# What a sweep may go over, so that no one place need hold the recordings.
_RECORDINGS = {"data", "data.root", "data.machines"}
_NAME = re.compile(r"\w[\w.,=+-]*")
# What a test may take from a folder that the run remembers.
_FROM_OUTSIDE = frozenset({"model/scorer", "model/threshold"})
# A test takes these from the run's record, and does not let them be chosen anew.
_RECORDED = frozenset({"model", "data", "seed", "system"})
_OF_THE_RUN = frozenset({"experiment", "scale", "encoders"})
# Options of the data module that say where a test runs, not what it hears.
_OF_THE_PLACE = ("cache_dir", "num_workers")
# Callbacks that only a training has.
_OF_TRAINING = ("ema", "checkpoint", "learning_rate")
# Smallest value of each whole number.
_LEAST = {
    "trainer.max_steps": 0,
    "accumulate": 1,
    "seed": 0,
    "data.batch_size": 2,  # batch normalisation has no statistics of one clip
    "data.test_batch_size": 1,
    "data.test_windows": 1,
    "data.num_workers": 0,
}
# Of the model, what every system has.
_PARTS = ("embedder", "loss", "scorer", "threshold", "optimizer", "scheduler")
# Lightning takes more than the type that stands there.
_OF_SEVERAL_TYPES = frozenset({"devices", "trainer.devices", "trainer.deterministic", "trainer.precision"})
# A generator's seed has 32 bits; windows of a clip are held at a time.
_MOST = {"seed": 2**32 - 1, "data.test_windows": 10_000}
_MAY_BE_NULL = frozenset({"data.num_workers"})


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuse what a run or a sweep would fail on at its start.  Of swept values only the readability is checked.

    Raises:
        UserError: an override that does not fit, no such recordings, a bad name or number, a run's folder that cannot
            be made, or that holds a run which this is not.
    """
    options = {argument for argument in arguments if argument.startswith("-")}
    if not options <= _MULTIRUN:  # --cfg, --info, --config-dir...: Hydra's own matter
        return
    overrides = parse_overrides([argument for argument in arguments if argument not in options])
    swept = [override for override in overrides if override.is_sweep_override()] if options else []
    config = compose_train([str(override.input_line) for override in overrides if override not in swept])
    given = {override.get_key_element() for override in overrides}
    changing = {override.get_key_element() for override in swept}
    _refuse_odd_name(str(config.name))
    _refuse_incomplete(config)
    _refuse_bad_values(config)
    if not changing & (_RECORDINGS if "data.root" in given else _RECORDINGS | {"scale", "experiment"}):
        _refuse_absent_data(config)
    hydra = HydraConfig.get()
    # Last of these: it composes anew.
    _refuse_odd_types(overrides, swept)
    sweeping = options or hydra.mode == RunMode.MULTIRUN
    folder = Path(hydra.run.dir)
    if sweeping:
        # A sweep's folder is called by its name, as a run's is.
        folder = (
            Path("runs", config.name) if "name" in given and "hydra.sweep.dir" not in given else Path(hydra.sweep.dir)
        )
    _refuse_unwritable(folder)
    if config.resume and not given & {"name", "hydra.run.dir", "hydra.sweep.dir"}:
        raise UserError("resume=true: give the name= of the run to go on with, a folder in runs/")
    if sweeping:
        _refuse_taken_sweep(folder, config.resume)
        return
    checkpoint_to_resume(folder, config.resume)
    _refuse_foreign(folder)
    if folder.is_dir():
        with claimed(folder):
            pass  # before Hydra writes into it
    if config.resume:
        refuse_another_run(folder, config)


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
    # Older runs drew held-out recordings by their own seed.
    stored["data"].setdefault("hold_out_seed", stored["data"].get("seed", 0))
    if swept := next((one for one in parsed if one.is_sweep_override()), None):
        raise UserError(f"{swept.input_line}: several values; a test has one of each")
    remembered = _from_remembered_folders(parsed, overrides, stored)
    composed = [
        (one, text) for one, text in zip(parsed, overrides, strict=True) if str(one.key_or_group) not in remembered
    ]
    groups = [text for one, text in composed if _is_group(one)]
    around = [text for one, text in composed if _root(one) not in _RECORDED]
    # The run may have been without some of them.
    idle = [f"++callbacks.{name}=null" for name in _OF_TRAINING]
    config = compose_train([*dict.fromkeys([*around, *groups]), *idle, f"seed={stored['seed']}"], results)
    if not any(one.key_or_group == "trainer.precision" for one in parsed):
        config.trainer.precision = stored["precision"]
    _take_over(config, stored, [one for one in parsed if _is_group(one)])
    for group, content in remembered.items():
        config.model[group.partition("/")[2]] = content
    for one in parsed:
        if _root(one) in _RECORDED and not _is_group(one):
            _apply(config, one)
    _refuse_bad_values(config)
    with_absolute_paths(config)
    _refuse_odd_machines(config)
    config.name = run.resolve().name
    config.callbacks.results.directory = str(results)
    return config


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
        raise UserError(f"{run}: not the folder of a run, {CONFIG} is missing; give one of asd train")
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
    trained = {"trainer": _scalars(trainer), "callbacks": {"ema": _scalars(average) or None}}
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
    if override.is_delete():
        parent, _, name = key.rpartition(".")
        holder = OmegaConf.select(config, parent) if parent else config
        with open_dict(holder):
            holder.pop(name, None)
        return
    if not override.is_add() and not override.is_force_add() and not _has(config, key):
        known = [f"{key.rpartition('.')[0]}.{name}" for name in OmegaConf.select(config, key.rpartition(".")[0]) or ()]
        raise UserError(f"{key}: the run has no such setting{did_you_mean(key, known)}; +{key}= adds one")
    before = OmegaConf.select(config, key)
    _refuse_other_type(key, before, override.value())
    OmegaConf.update(config, key, override.value(), merge=False, force_add=True)
    _rename(config, key.rpartition(".")[2], before, OmegaConf.select(config, key))
    if key == "seed":
        _reseed(config, override.value())


def _rename(config: DictConfig, word: str, before: Any, now: Any) -> None:
    """A sweep's job is called by what was swept; a test that changes it is called by what it is now."""
    config.system = config.system.replace(f"{word}={before}", f"{word}={now}")


def _has(config: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    holder = OmegaConf.select(config, parent) if parent else config
    return isinstance(holder, DictConfig) and name in holder


def _reseed(config: DictConfig, seed: Any) -> None:
    """What followed the seed when it was recorded, follows it again."""
    for holder in (config.data, config.model, config.model.scorer):
        if "seed" in holder:
            holder.seed = seed


def _root(override: Override) -> str:
    return re.split(r"[.@:/]", str(override.key_or_group))[0]


def _is_group(override: Override) -> bool:
    return (CONF_DIR / str(override.key_or_group)).is_dir()


def _refuse_odd_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UserError(
            f"name={name}: the run's folder is runs/NAME; use letters, digits and . , _ = + - alone, "
            "or give a folder elsewhere with hydra.run.dir="
        )


def _refuse_incomplete(config: DictConfig) -> None:
    for part in _PARTS:
        if config.model.get(part) is None:
            raise UserError(f"model.{part} is missing, and a system needs one; choose another with model/{part}=NAME")


def _refuse_odd_types(overrides: Sequence[Override], swept: Sequence[Override]) -> None:
    """A number is no text and no truth value: ``margin=0.4x`` is a slip, told before anything is done."""
    chosen = compose_train([str(one.input_line) for one in overrides if _is_group(one) and one not in swept])
    for one in overrides:
        key = str(one.key_or_group)
        if _is_group(one) or one.is_delete():
            continue
        usual = OmegaConf.select(chosen, key, default=None, throw_on_missing=False)
        texts = [f"{key}={text}" for text in one.sweep_string_iterator()] if one in swept else [str(one.input_line)]
        for value in (parsed.value() for parsed in parse_overrides(texts)):
            _refuse_other_type(key, usual, value)


def _refuse_other_type(key: str, usual: Any, value: Any) -> None:
    if key not in _OF_SEVERAL_TYPES and (kind := _other_type(usual, value)):
        raise UserError(f"{key}={value}: {kind} is needed, as in {key}={usual}")


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


def _refuse_bad_values(config: DictConfig) -> None:
    for key, least in _LEAST.items():
        value = OmegaConf.select(config, key)
        if value is None and key in _MAY_BE_NULL:
            continue
        if type(value) is not int or value < least:
            raise UserError(f"{key}={value}: a whole number of at least {least} is needed")
        if value > _MOST.get(key, value):
            raise UserError(f"{key}={value}: at most {_MOST[key]:,} is possible")
    for key in ("resume", "test"):
        if not isinstance(config[key], bool):
            raise UserError(f"{key}={config[key]}: true or false is needed")


def _refuse_odd_machines(config: DictConfig) -> None:
    if isinstance(config.data.machines, str):
        raise UserError(f"data.machines={config.data.machines}: give a list, [{config.data.machines}]")
    if not isinstance(config.data.get("root"), str):
        raise UserError(
            f"data.root={config.data.get('root')}: the folder that holds the machines' recordings is needed"
        )


def _refuse_absent_data(config: DictConfig) -> None:
    _refuse_odd_machines(config)
    try:
        machine_folders(Path(config.data.root), config.data.machines)
    except UserError as error:
        raise UserError(f"data.root={error}") from error


def _refuse_taken_sweep(folder: Path, resume: bool) -> None:
    if not resume and any(folder.glob(f"*/{CHECKPOINT}")):
        raise UserError(f"{folder}: already holds a sweep; go on with resume=true, or choose another name=")
    if (folder / HYDRA).is_dir():
        raise UserError(f"{folder}: is the folder of a single run; choose another name= for the sweep")


def _refuse_foreign(folder: Path) -> None:
    """A run writes, and where nothing has come of it removes, files whose names others use too."""
    if not folder.is_dir() or (folder / HYDRA).is_dir() or (folder / CHECKPOINT).is_file():
        return
    # Hydra's log is there before its folder, and another process may have come first.
    foreign = sorted(path.name for path in folder.iterdir() if path.name != LOG)
    if foreign:
        raise UserError(f"{folder}: holds {foreign[0]} and no run; give a new folder, or an empty one")


def _refuse_unwritable(folder: Path) -> None:
    """The nearest of ``folder`` and those it lies in that is there must be a folder one may write to."""
    above = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not above.is_dir():
        raise UserError(
            f"{above}: not a folder, so the run's folder {folder} cannot be made; remove it, or work elsewhere"
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"{above}: not writable, so the run's folder {folder} cannot be made; run the command in a folder of your "
            "own, or give one with hydra.run.dir="
        )
