"""What follows from a choice: the settings that the package's own file of that choice gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from asd_lightning.configuration import CONF_DIR
from asd_lightning.foreign_files import load_yaml

BRANCHES = "model.embedder.branches"
_OVERRIDE = "override /model/embedder/branches"


def follows(settings: Mapping[str, str], part: str, choice: str) -> bool:
    """Whether all settings of a part are as the file of the choice has them; false of a choice of the user's own.

    Args:
        settings: by dotted names within the part, without seeds; values as text.
        part: the group, such as ``model/scorer``.
        choice: a file of it.
    """
    content = _content(part, choice)
    if not content or "defaults" in content:
        return False
    stated = {key: value for key, value in leaves(content) if key.rpartition(".")[2] != "seed"}
    return stated.keys() == settings.keys() and all(
        # What refers to another setting is told with that one.
        "${" in str(value) or str(value) == settings[key]
        for key, value in stated.items()
    )


def branches_of(experiment: str) -> frozenset[str] | None:
    """The branches that an experiment of the package chooses; ``None`` where it does not say."""
    listed = (_content("experiment", experiment) or {}).get("defaults")
    chosen = next((one[_OVERRIDE] for one in listed or () if isinstance(one, dict) and _OVERRIDE in one), None)
    return frozenset(map(str, chosen)) if isinstance(chosen, list) else None


def branch_setting(experiment: str, key: str) -> str | None:
    """What an experiment, or else the branch's own file, gives a setting below ``BRANCHES``; ``None`` for nothing."""
    own = dict(leaves(_content("experiment", experiment) or {}))
    branch = key.removeprefix(f"{BRANCHES}.").partition(".")[0]
    of_branch = dict(leaves(_content("model/embedder/branches", branch) or {}))
    value = own.get(key, of_branch.get(key.removeprefix(f"{BRANCHES}."), "${unknown}"))
    return None if "${" in str(value) else str(value)


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of all that is no mapping; an empty mapping is a value."""
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _content(part: str, choice: str) -> dict[str, Any] | None:
    path = CONF_DIR / part / f"{choice}.yaml"
    # A record may hold anything as its choice.
    return _read(path) if path.resolve().is_relative_to(CONF_DIR.resolve()) and path.is_file() else None


@cache
def _read(path: Path) -> dict[str, Any] | None:
    """Once for all settings and systems that are compared."""
    content = load_yaml(path)
    return content if isinstance(content, dict) else None
