"""What a stored configuration may call.

A run, a checkpoint or a sweep that somebody passes on names the callables it is built of, and building it calls them.
Reading "weights only" is no protection: any importable function can be named.  So a stored configuration may name
exactly what this package's own configuration names, and what lies in a package that the user trusts by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from asd_lightning.configuration import CONF_DIR, own_folders
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import YAML_BYTES, load_yaml, parse_yaml, read_text

TRUST = "ASD_TRUST"
"""Environment variable: packages whose classes and functions stored configurations may name, separated by commas."""

_TARGET = "_target_"
_GROUPS = {
    "model": ("model", "encoders"),
    "data": ("data",),
    "trainer": ("trainer",),
    "callbacks": ("callbacks",),
    "logger": ("logger",),
}
# Alternatives that the documentation names and no file of the configuration does.
_DOCUMENTED = frozenset({"asd_lightning.encoders.pooling.MeanPooling"})


def refuse_foreign_targets(stored: Any, place: str, part: str, typed: Sequence[str] = ()) -> None:
    """Raise ``UserError`` where a stored configuration (plain data) would call what nobody has vouched for.

    Args:
        stored: dictionaries, lists and scalars, as read.
        place: what it was read from, for the message.
        part: of the configuration that this is, such as ``model``, which has no use for a logger.
        typed: overrides of this very command: who names a callable there, means it.
    """
    named = {override.partition("=")[2].strip("'\"") for override in typed}
    for target in _targets(stored):
        known = own_targets(part) | named | _vouched_for()
        if not isinstance(target, str) or not (target in known or _is_trusted(target)):
            package = str(target).partition(".")[0]
            raise UserError(
                f"{place}: would call {str(target)!r:.200}, which this package does not name; if you know who made it "
                f"and what that is, allow it with --trust {package:.99} (or {TRUST}={package:.99})"
            )
    # What a run stores is resolved; what is left to resolve would look into the environment of whoever reads it.
    if odd := next((text for text in _texts(stored) if "${" in text), None):
        raise UserError(f"{place}: holds the reference {odd!r:.200}, which no run stores and needs; remove it")


def read_part(path: Path, part: str, seed: int, typed: Sequence[str] = ()) -> Any:
    """The content of one file of a configuration that may be somebody else's; ``${seed}`` is its one reference.

    Raises:
        UserError: not readable, or it would call what nobody has vouched for.
    """
    content = parse_yaml(read_text(path, YAML_BYTES).replace("${seed}", str(seed)), path)
    refuse_foreign_targets(content, str(path), part, typed)
    return content


@cache
def own_targets(part: str) -> frozenset[str]:
    """Every callable that a file of this package's configuration names for that part."""
    paths = (path for group in _GROUPS[part] for path in (CONF_DIR / group).rglob("*.yaml"))
    files = (yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths)
    return _DOCUMENTED | {target for content in files for target in _targets(content)}


def _vouched_for() -> frozenset[str]:
    """What the files of one's own name, which this command or the environment points to."""
    paths = (path for folder in own_folders() for path in folder.rglob("*.yaml"))
    return frozenset(str(target) for path in paths for target in _targets(load_yaml(path)))


def _targets(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        if _TARGET in node:
            yield node[_TARGET]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value)


def _is_trusted(target: str) -> bool:
    """Whether it is a class or function defined in a trusted package: not one reached through a module's imports."""
    module, _, name = target.rpartition(".")
    package = target.partition(".")[0]
    trusted = {word.strip() for word in os.environ.get(TRUST, "").split(",") if word.strip()}
    if not module or package not in trusted:
        return False
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return callable(found) and str(getattr(found, "__module__", "")).partition(".")[0] == package
