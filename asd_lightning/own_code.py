"""Parts of a user's own: a mistake in one is told in a line that names it, with file and line of the user's code.

What goes wrong within this package's own parts stays as it is, since that is a mistake of the package.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path
from traceback import walk_tb
from typing import Any

from asd_lightning.errors import UserError
from asd_lightning.plain_text import did_you_mean

_PACKAGE = __name__.partition(".")[0]
_LONGEST = 300
_NOT_LOCATED = re.compile(r"Error locating target '([^']+)'")


def is_own(part: object) -> bool:
    """Whether it is somebody's own: its class is not of this package."""
    return _top(_class(part).__module__) != _PACKAGE


def called(part: Any, what: str, *values: Any) -> Any:
    """``part(*values)``; ``what`` says what it is, such as ``encoder``.

    Raises:
        UserError: of a user's own, whatever it raised, but for what is said of too little memory.
    """
    if not is_own(part):
        return part(*values)
    # No context manager: torch looks through this where it exports or compiles.
    try:
        return part(*values)
    except Exception as error:
        if isinstance(error, UserError) or _is_of_memory(error):
            raise
        raise own_mistake(part, what, "forward", error) from error


def own_mistake(part: object, what: str, method: str, error: Exception) -> UserError:
    """The message for an error that a method of somebody's own part has raised."""
    return UserError(f"{name_of(part, what)}.{method} has failed with {told(error, _class(part).__module__)}")


def name_of(part: object, what: str) -> str:
    """What it is, and the name by which its class is imported."""
    kind = _class(part)
    return f"{what} {kind.__module__}.{kind.__qualname__}"


def told(error: BaseException, module: str = "") -> str:
    """An error in one line, and where the user's own code raised it, where any of that had a part in it.

    Args:
        error: as it was caught.
        module: of the user's part; without it any code counts that is neither installed nor this package's.
    """
    text = error.msg if isinstance(error, SyntaxError) else error
    words = " ".join(f"{type(error).__name__}: {text}".split())[:_LONGEST]
    place = place_of(error, module)
    return f"{words} ({place})" if place else words


def place_of(error: BaseException, module: str = "") -> str:
    """File and line of the user's own code that came last before the error; "" where it had no part in it."""
    if isinstance(error, SyntaxError) and error.filename:
        return _place(error.filename, error.lineno or 0)
    for frame, line in reversed(list(walk_tb(error.__traceback__))):
        of_part = module and _top(frame.f_globals.get("__name__", "")) == _top(module)
        if of_part or (not module and _is_users(frame.f_code.co_filename)):
            return _place(frame.f_code.co_filename, line)
    return ""


def why_not_built(error: BaseException) -> str | None:
    """What is wrong with a user's own part that Hydra, whose error this is, could not make; ``None`` of any other."""
    cause = error.__cause__
    if cause is None:
        return None
    if match := _NOT_LOCATED.match(str(error)):
        return f"{match[1]}: {_not_found(cause.__cause__ or cause, match[1])}"
    # An argument that does not fit says enough.
    return told(cause) if place_of(cause) and not isinstance(cause, TypeError | ValueError) else None


def _not_found(error: BaseException, target: str) -> str:
    """Why the class or function that a configuration file names as ``target`` could not be imported."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing == _top(target):
        return f"no package {missing} is found; the folder that holds it must be in PYTHONPATH, or it must be installed"
    if missing and target.startswith(missing):
        module, _, name = missing.rpartition(".")
        known = [each for each in dir(sys.modules.get(module)) if not each.startswith("_")]
        return f"{module} has no {name}{did_you_mean(name, known)}"
    return f"its module cannot be imported, {told(error)}"


def _is_of_memory(error: Exception) -> bool:
    """Whether too little of it was there, of which the command says more."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))


def _class(part: object) -> type:
    return part if isinstance(part, type) else type(part)


def _top(module: str) -> str:
    return module.partition(".")[0]


def _is_users(file: str) -> bool:
    """Whether a file is code that is neither installed, nor Python's, nor this package's."""
    path = Path(file)
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return path.is_file() and not any(path.is_relative_to(each) for each in (*installed, Path(__file__).parent))


def _place(file: str, line: int) -> str:
    path = Path(file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}, line {line}"
