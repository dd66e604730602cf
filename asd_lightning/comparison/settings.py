"""What two runs differ in: runs that differ in nothing but the seed are averaged, all others stand side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from asd_lightning.comparison.stated import BRANCHES, branch_setting, branches_of, follows, leaves
from asd_lightning.run_folder import unfinished_training

# What cannot change a score: who watches, where things lie, how fast it goes, and what is said elsewhere already.
_WITHOUT_EFFECT = frozenset(
    {"resume", "test", "name", "system", "seed", "choices", "config_dirs", "trained", "hydra", "logger", "encoders"}
    | {"accumulate", "store_features"}
    | {f"data.{option}" for option in ("cache_dir", "num_workers", "test_batch_size", "on_bad_file", "truth")}
    | {f"trainer.{option}" for option in ("accelerator", "strategy", "deterministic", "log_every_n_steps", "plugins")}
    | {f"trainer.{option}" for option in ("enable_model_summary", "use_distributed_sampler", "limit_val_batches")}
    | {f"trainer.{option}" for option in ("devices", "_target_", "_convert_", "default_root_dir")}
)
# Of the callbacks the average alone.
_AVERAGE = "callbacks.ema"
_SHOWN_AT_MOST = 60
_ABSENT = "-"
UPDATES = "updates"
"""Key in ``settings_of`` of how many updates were made; absent where the training had ended."""
FUSED = "fusion/parts"
"""The choice of a fusion's configuration that names its parts."""
CLIPS = {
    "training_clips": ("training clips", "data.root"),
    "test_clips": ("test clips", "data.root"),
    "recordings": ("recordings", "data.recordings"),
}
"""Digest in a summary -> its key in ``settings_of``, and the setting in whose place it stands."""


def settings_of(config: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, str]:
    """Every setting that a score may depend on, with its value as text.

    Args:
        config: the composed configuration; empty where it is not known.
        summary: of the results.
    """
    # A later test has a trainer and callbacks of its own: what counts is how the weights came about.
    settings = {key: str(value) for key, value in leaves({**config, **config.get("trained", {})}) if _counts(key)}
    # Runs of before had no such setting, and no channel that it belongs to.
    if settings.get("data.channel") != "residual":
        settings.pop("data.residual", None)
    if settings.get("compile") == "False":
        settings.pop("compile")
    if settings.get("model.scoring_precision") == "float32":
        settings.pop("model.scoring_precision")
    # The same recordings in another place are the same, and a table is what it says of them.
    for key, (name, path) in CLIPS.items():
        if digest := summary.get(key):
            settings[name] = str(digest)
            settings.pop(path, None)
    if unfinished_training(summary) and UPDATES in summary:
        settings[UPDATES] = str(summary[UPDATES])
    settings["precision of the test"] = str(summary.get("precision", "32-true"))
    return settings


def labels_of_difference(groups: Sequence[Mapping[str, str]], choices: Sequence[Mapping[str, str]]) -> list[str]:
    """In a few words for each group of settings, what sets it apart from the others.

    A part that was chosen as a whole, such as ``model/scorer=knn_standardized``, is named by that choice.

    Args:
        groups: settings, no two the same.
        choices: for each, what was chosen for which part.
    """
    differing = sorted(key for key in set().union(*groups) if len({group.get(key) for group in groups}) > 1)
    parts = sorted(part for part in {*chain(*choices)} if _is_of_all(part, choices))
    named = [part for part in parts if len({chosen.get(part) for chosen in choices}) > 1]
    prefixes = tuple(f"{_place(part)}." for part in named if part not in ("experiment", "scale"))
    apart = [key for key in differing if not key.startswith(prefixes)]
    labels = [_label(group, chosen, named, apart) for group, chosen in zip(groups, choices, strict=True)]
    if len(set(labels)) == len(labels):
        return labels
    return [_label(group, {}, [], differing) for group in groups]


def differing_settings(
    names: Sequence[str], groups: Sequence[Mapping[str, str]], choices: Sequence[Mapping[str, str]]
) -> list[str]:
    """Every setting in which named systems differ and that their names do not tell, as ``KEY: VALUE (NAMES), ...``.

    What follows from a choice that the names tell is told with it: all that a back-end's own file has, and which
    branches an experiment has.

    Where a part is of other kinds, the kinds are told, and then what differs among the systems of each.

    Args:
        names: of the systems.
        groups: their settings.
        choices: for each, what was chosen for which part.
    """
    parts = {_place(part): part for part in {*chain(*choices)} if all(part in chosen for chosen in choices)}
    told = []
    hidden = tuple(f"{place}." for place, part in parts.items() if _is_told(place, part, names, groups, choices))
    # A training that was stopped is told of each system by itself.
    trees = [_tree({key: value for key, value in group.items() if key != UPDATES}) for group in groups]
    for key, values in _apart(dict(enumerate(trees))):
        if key.startswith(hidden) or _is_of_the_experiments(key, values, names, choices):
            continue
        part = parts.get(key)
        chosen = {index: choices[index][part] for index in values} if part else {}
        told_by_choice = len(set(chosen.values())) > 1
        shown = chosen if told_by_choice else {index: _shown(value) for index, value in values.items()}
        word = key.rpartition(".")[2]
        if not all(f"{word}={value}" in names[index].split() for index, value in shown.items()):
            users = {value: [names[index] for index, own in shown.items() if own == value] for value in shown.values()}
            listed = [f"{value} ({', '.join(of)})" for value, of in users.items()]
            told.append(f"{key}: {', '.join(listed)}")
    return told


def _is_told(
    place: str,
    part: str,
    names: Sequence[str],
    groups: Sequence[Mapping[str, str]],
    choices: Sequence[Mapping[str, str]],
) -> bool:
    """Whether each name has the system's choice for the part, and nothing in the part is other than the choice says."""
    start, word = f"{place}.", place.rpartition(".")[2]
    return all(
        f"{word}={chosen[part]}" in name.split()
        and follows({k.removeprefix(start): v for k, v in group.items() if k.startswith(start)}, part, chosen[part])
        for name, group, chosen in zip(names, groups, choices, strict=True)
    )


def _is_of_the_experiments(
    key: str,
    values: Mapping[int, Any],
    names: Sequence[str],
    choices: Sequence[Mapping[str, str]],
) -> bool:
    """Whether ``key`` is a branch, or a setting of one, that is in each system as the experiment in its name has it."""
    if not key.startswith(f"{BRANCHES}."):
        return False
    for index, value in values.items():
        experiment = choices[index].get("experiment", "")
        branches = branches_of(experiment) if experiment in names[index].replace("=", " ").split() else None
        if branches is None:
            return False
        branch = key.removeprefix(f"{BRANCHES}.")
        alike = (
            (branch in branches) == (value != _ABSENT)
            if "." not in branch
            else branch_setting(experiment, key) == value
        )
        if not alike:
            return False
    return True


def _tree(settings: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in settings.items():
        *above, last = key.split(".")
        node = tree
        for name in above:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def _apart(nodes: Mapping[int, Any], key: str = "") -> Iterator[tuple[str, Mapping[int, Any]]]:
    """Keys of nodes that are of other kinds, and of leaves with other values; then those within each kind."""
    first = next(iter(nodes.values()), None)
    if all(node == first for node in nodes.values()):
        return
    kinds: dict[str, dict[int, Any]] = {}
    for index, node in nodes.items():
        if isinstance(node, dict):
            kinds.setdefault(str(node.get("_target_")), {})[index] = node
    if len(kinds) != 1 or len(next(iter(kinds.values()))) < len(nodes):
        yield key, nodes
    for alike in kinds.values():
        for name in dict.fromkeys(chain(*alike.values())):
            below = {index: node.get(name, _ABSENT) for index, node in alike.items()}
            yield from _apart(below, f"{key}.{name}" if key else name)


def _shown(node: Any) -> str:
    if isinstance(node, dict):
        return str(node.get("_target_", "given")).rpartition(".")[2]
    return str(node) if len(str(node)) <= _SHOWN_AT_MOST else f"{str(node)[:_SHOWN_AT_MOST]}..."


def _label(group: Mapping[str, str], chosen: Mapping[str, str], parts: Sequence[str], keys: Sequence[str]) -> str:
    words = [f"{_place(part).rpartition('.')[2]}={chosen.get(part, '?')}" for part in parts]
    words += [f"{key.rpartition('.')[2]}={group.get(key, 'all' if key == UPDATES else '-')}" for key in keys]
    return " ".join(dict.fromkeys(words))


def _place(part: str) -> str:
    """Where a choice stands in the configuration: that of ``GROUP@PLACE`` at PLACE."""
    return part.partition("@")[2] or part.replace("/", ".")


def _is_of_all(part: str, choices: Sequence[Mapping[str, str]]) -> bool:
    """What is chosen for a branch says nothing of a system without it, or of runs before there was that choice."""
    return "@" not in part or all(part in chosen for chosen in choices)


def _counts(key: str) -> bool:
    if key.startswith("callbacks."):
        return key.startswith(_AVERAGE)
    above = [key[:end] for end in (*(place for place, letter in enumerate(key) if letter == "."), len(key))]
    return not _WITHOUT_EFFECT.intersection(above) and not key.endswith(".seed")
