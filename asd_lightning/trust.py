"""What a stored configuration may call.

A run, a checkpoint or a sweep that somebody passes on names the callables it is built of, and building it calls them.
Reading "weights only" is no protection: any importable function can be named.  So a stored configuration may name
exactly what this package's own configuration names, and what lies in a package that the user trusts by name.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import yaml

from asd_lightning.configuration import CONF_DIR, own_folders
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import YAML_BYTES, load_yaml, parse_yaml, read_text

TRUST = "ASD_TRUST"
"""Environment variable: packages whose classes and functions stored configurations may name, separated by commas."""

_TARGET = "_target_"
# What tells Hydra how to build: `_target_`, `_partial_`, `_args_`...
_INSTRUCTION = re.compile(r"_\w+_")
_PACKAGE = __name__.partition(".")[0]
_DISTRIBUTION = re.compile(r"[\w.-]+")
_GROUPS = {
    "model": ("model", "encoders"),
    "data": ("data",),
    "trainer": ("trainer",),
    "callbacks": ("callbacks",),
    "logger": ("logger",),
}


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
            raise UserError(
                f"{place}: would call {str(target)!r:.200}, which this package does not name; {_way_out(target)}"
            )
    usual = own_instructions(part) | _instructions_vouched_for()
    for key, value in _instructions(stored):
        if (key, repr(value)) not in usual:
            raise UserError(f"{place}: holds {key}={value!r:.99}, which no run of this package needs; remove it")
    # What a run stores is resolved; what is left to resolve would look into the environment of whoever reads it.
    if odd := next((text for text in _texts(stored) if "${" in text), None):
        raise UserError(f"{place}: holds the reference {odd!r:.200}, which no run stores and needs; remove it")


def require_trust(target: str, place: str) -> None:
    """Raise ``UserError`` unless ``target`` is a class or function of a package that the user trusts by name.

    Args:
        target: such as ``package.module.Name``; nothing of a package that is not trusted is imported.
        place: what names it, for the message.
    """
    if not _is_trusted(target):
        raise UserError(f"{place}: would call {target!r:.200}; {_way_out(target)}")


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
    return frozenset(target for content in _own_files(part) for target in _targets(content))


@cache
def own_instructions(part: str) -> frozenset[tuple[str, str]]:
    """How a file of this package's configuration has things built for that part, such as ``_partial_: true``."""
    return frozenset((key, repr(value)) for content in _own_files(part) for key, value in _instructions(content))


def trusted_packages() -> frozenset[str]:
    """The packages that the user trusts by name.

    Raises:
        UserError: what stands there is not the name of a package of somebody's own.
    """
    names = {word.strip() for word in os.environ.get(TRUST, "").split(",") if word.strip()}
    for name in sorted(names):
        if not name.isidentifier():
            raise UserError(
                f"--trust {name}: the name of a package is needed, as it is imported, without what is in it"
            )
        if not _may_be_trusted(name):
            raise UserError(
                f"--trust {name}: part of Python or of what this package is made of, and able to run anything; trust a "
                "package of somebody's own"
            )
    return frozenset(names)


def _may_be_trusted(package: str) -> bool:
    """Whether it can be somebody's own: the standard library and the dependencies can run whatever a file says."""
    return package not in sys.stdlib_module_names and package not in _made_of()


@cache
def _made_of() -> frozenset[str]:
    """This package and, as they are imported, those it depends on, directly or not."""
    needed = {_PACKAGE}
    waiting = [_PACKAGE]
    while waiting:
        new = set(_requirements(waiting.pop())) - needed
        needed |= new
        waiting += new
    of = packages_distributions()
    return frozenset({_PACKAGE, *(name for name, found in of.items() if needed & set(map(_normal, found)))})


def _requirements(distribution: str) -> Iterator[str]:
    try:
        texts = requires(distribution) or []
    except PackageNotFoundError:
        return
    for text in texts:
        if "extra ==" not in text and (match := _DISTRIBUTION.match(text)):
            yield _normal(match[0])


def _normal(distribution: str) -> str:
    """One spelling of what indices and metadata spell in several ways."""
    return re.sub(r"[-_.]+", "_", distribution).lower()


def _way_out(target: Any) -> str:
    package = target.partition(".")[0] if isinstance(target, str) else ""
    if not package.isidentifier() or not _may_be_trusted(package):
        return "no run needs that, so do not use the file"
    if package in trusted_packages():
        return _why_not_called(target)
    return (
        f"if you know who made it and what that is, allow it with --trust {package:.99} (in Python by the environment "
        f"variable {TRUST}={package:.99})"
    )


def _why_not_called(target: str) -> str:
    """Of a target in a trusted package: what is wrong with it."""
    module, _, name = target.rpartition(".")
    if not module:
        return f"trusted, and a class or function in it is needed, such as {target:.99}.Name"
    try:
        found = getattr(import_module(module), name)
    except ImportError as error:
        return f"trusted, and cannot be imported here ({error!s:.200}): install it, or name its folder in PYTHONPATH"
    except AttributeError:
        return f"trusted, and there is no {name:.99} in {module:.99}: install the version that has it"
    return f"trusted, and {found!r:.99} is none of its own classes or functions: name one that is defined in it"


def _own_files(part: str) -> Iterator[Any]:
    paths = (path for group in _GROUPS[part] for path in (CONF_DIR / group).rglob("*.yaml"))
    return (yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths)


def _vouched_files() -> Iterator[Any]:
    """The files of one's own, which this command or the environment points to."""
    return (load_yaml(path) for folder in own_folders() for path in folder.rglob("*.yaml"))


def _vouched_for() -> frozenset[str]:
    return frozenset(str(target) for content in _vouched_files() for target in _targets(content))


def _instructions_vouched_for() -> frozenset[tuple[str, str]]:
    return frozenset((key, repr(value)) for content in _vouched_files() for key, value in _instructions(content))


def _targets(node: Any) -> Iterator[Any]:
    return (value for key, value in _settings(node) if key == _TARGET)


def _instructions(node: Any) -> Iterator[tuple[str, Any]]:
    """Of a configuration, what is neither a setting nor the name of a callable."""
    for key, value in _settings(node):
        if key != _TARGET and isinstance(key, str) and _INSTRUCTION.fullmatch(key):
            yield key, value


def _settings(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every key and its value, at any depth."""
    if isinstance(node, dict):
        yield from node.items()
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    for value in children:
        yield from _settings(value)


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
    if not module or package not in trusted_packages():
        return False
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return False
    return callable(found) and str(getattr(found, "__module__", "")).partition(".")[0] == package
