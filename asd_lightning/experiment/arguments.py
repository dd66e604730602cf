"""The arguments of ``asd train`` and ``asd test``, refused where they cannot work.

Torch, which takes seconds to import, is not needed for that, and nothing is written.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from asd_lightning.configuration import (
    as_typed,
    choices_of,
    compose_train,
    is_group,
    no_such_setting,
    of_another_kind,
    of_today,
    own_folders,
    parse_overrides,
    plain,
)
from asd_lightning.data.folders import machine_folders
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import claimed, is_first_process
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
# What a test makes something of, and of that what is nevertheless the training's alone.
_OF_A_TEST = re.compile(
    r"model[/.](scorer|threshold)(\..+)?|model\.(score_after_head|recording_score)(\..+)?|data\..+|(trainer|callbacks|logger)(\..+)?"
    r"|seed|system|devices"
)
_OF_A_TRAINING = re.compile(
    r"data\.(batch_size|sampler|labels|seed|supplemental\w*)|callbacks\.(ema|checkpoint|learning_rate|results)(\..+)?"
    r"|trainer\.(max_steps|max_epochs|accumulate_grad_batches|gradient_clip_\w+|limit_(train|val)_batches)"
)
_CHANGEABLE = (
    *("model/scorer", "model/threshold", "model.scorer", "model.threshold", "model.score_after_head"),
    *("model.recording_score", "data", "trainer", "devices", "callbacks", "logger", "seed", "system"),
)
# Options of the data module that say where a test runs, not what it hears.
_OF_THE_PLACE = ("cache_dir", "num_workers")
# Callbacks that only a training has.
_OF_TRAINING = ("ema", "checkpoint", "learning_rate")
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
    {"devices", "trainer.devices", "trainer.deterministic", "trainer.precision", "data.channel"}
)
# What each text is.
_TEXTS = {
    "system": "the system's name in comparisons",
    "model.recording_score": "max or mean",
    "data.cache_dir": "a folder in which decoded clips are kept, by default cache/clips,",
    "data.truth": "a list or folder, or null for what a download has left,",
    "data.recordings": "a table, or null for one beside the machines,",
}
# Spectra are computed in float32 whatever the precision, so the weights cannot be of another type.
_CHOICES = {
    "trainer.precision": ("32-true", "bf16-mixed", "16-mixed", "32", "16", "bf16", 32, 16),
    "trainer.deterministic": ("warn", True, False),
}
# Lightning's other words for the same.
_OTHER_SPELLINGS = ("32", "16", "bf16", 32, 16)
# A generator's seed has 32 bits; windows of a clip are held at a time.
_MOST = {"seed": 2**32 - 1, "data.seed": 2**32 - 1, "data.hold_out_seed": 2**32 - 1, "data.test_windows": 10_000}
_MAY_BE_NULL = frozenset({"data.num_workers", "data.truth", "data.recordings"})


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
    _refuse_odd_name(config.name)
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
    _refuse_incomplete(config)
    _refuse_bad_values(config)
    with_absolute_paths(config)
    _refuse_odd_machines(config)
    config.name = run.resolve().name
    config.callbacks.results.directory = str(results)
    return config


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
    _refuse_other_type(key, before, override.value())
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


def _refuse_odd_name(name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"name={as_typed(name)}: the run's folder is runs/NAME; use letters, digits and . , _ = + - alone, "
            "or give a folder elsewhere with hydra.run.dir="
        )


def _refuse_incomplete(config: DictConfig) -> None:
    for part in _PARTS:
        if config.model.get(part) is None:
            raise UserError(f"model.{part} is missing, and a system needs one; choose another with model/{part}=NAME")
    if config.get("test") and (config.get("callbacks") or {}).get("results") is None:
        raise UserError("callbacks.results is missing, and writes what a test finds; test=false leaves the test out")


def _refuse_odd_types(overrides: Sequence[Override], swept: Sequence[Override]) -> None:
    """A number is no text and no truth value: ``margin=0.4x`` is a slip, told before anything is done."""
    chosen = compose_train([str(one.input_line) for one in overrides if is_group(one) and one not in swept])
    for one in overrides:
        key = str(one.key_or_group)
        if is_group(one) or one.is_delete():
            continue
        usual = OmegaConf.select(chosen, key, default=None, throw_on_missing=False)
        texts = [f"{key}={text}" for text in one.sweep_string_iterator()] if one in swept else [str(one.input_line)]
        for value in (parsed.value() for parsed in parse_overrides(texts)):
            _refuse_other_type(key, usual, value)


def _refuse_other_type(key: str, usual: Any, value: Any) -> None:
    if key in _TEXTS:
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


def _refuse_bad_values(config: DictConfig) -> None:
    _refuse_bad_numbers(config)
    for key in ("resume", "test", "model.score_after_head", "model.decay_all"):
        if not isinstance(value := OmegaConf.select(config, key), bool):
            raise UserError(f"{key}={as_typed(value)}: true or false is needed")
    for key in _TEXTS:
        _refuse_no_text(key, OmegaConf.select(config, key))
    for key, choices in _CHOICES.items():
        if (value := OmegaConf.select(config, key)) not in choices:
            told = ", ".join(as_typed(choice) for choice in choices if choice not in _OTHER_SPELLINGS)
            raise UserError(f"{key}={as_typed(value)}: choose one of {told}")
    if config.trainer.get("max_epochs") != 1:
        raise UserError("trainer.max_epochs: a run is one epoch; give its length in updates, trainer.max_steps=N")
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
    for key, least in _LEAST.items():
        value = OmegaConf.select(config, key)
        if value is None and key in _MAY_BE_NULL:
            continue
        if type(value) is not int or value < least:
            raise UserError(f"{key}={as_typed(value)}: a whole number of at least {least} is needed")
        if value > _MOST.get(key, value):
            raise UserError(f"{key}={value}: at most {_MOST[key]:,} is possible")


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


def _refuse_no_text(key: str, value: Any) -> None:
    if not (isinstance(value, str) and value.strip()) and not (value is None and key in _MAY_BE_NULL):
        raise UserError(f"{key}={as_typed(value)}: {_TEXTS[key]} is needed")


def _refuse_odd_machines(config: DictConfig) -> None:
    machines = config.data.get("machines")
    if isinstance(machines, str):
        raise UserError(f"data.machines={machines}: give a list, [{machines}]")
    are_names = isinstance(machines, ListConfig) and machines and all(isinstance(name, str) for name in machines)
    if machines is not None and not are_names:
        raise UserError(f"data.machines={as_typed(machines)}: give a list of names, or null for all machines")
    root = config.data.get("root")
    if not isinstance(root, str) or not root.strip():
        raise UserError(f"data.root={as_typed(root)}: the folder that holds the machines' recordings is needed")


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
