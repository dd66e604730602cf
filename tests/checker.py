"""The run-time type checker of the tests: beartype, and jaxtyping's shapes, at the calls of the package's functions.

What jaxtyping's own decorator checks, at a fifth of its costs, which were a quarter of the suite's: a function's
arguments and its result are looked at in one pass, and what a function is to be given is worked out when it is first
called, for most functions of a test's process never are.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from types import FunctionType
from typing import Any, Self, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import config
from jaxtyping._storage import pop_shape_memo, push_shape_memo

_original = jaxtyping.jaxtyped
# As jaxtyping's own: a wrong type is a TypeError, which those who build parts from a file's content catch.
_checks = beartype(conf=BeartypeConf(violation_type=TypeError))


def install() -> None:
    """The functions of `asd_lightning`, in modules that are imported from here on, are checked."""
    jaxtyping.jaxtyped = lambda *, typechecker: _checked
    jaxtyping.install_import_hook("asd_lightning", "tests.checker.check")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arguments and result at every call; a result of ``Self`` is not checked."""
    annotations = getattr(function, "__annotations__", {})
    if annotations.get("return") in ("Self", Self):
        function.__annotations__ = {name: kind for name, kind in annotations.items() if name != "return"}
    return _checks(function)


def _checked(thing: Any) -> Any:
    """The function, checked at its calls; of a class the constructor alone, where a dataclass has been given one."""
    if inspect.isclass(thing):
        if is_dataclass(thing) and isinstance(thing.__init__, FunctionType):
            thing.__init__ = _checked(thing.__init__)
        return thing
    checked: Callable[..., Any] | None = None
    has_axes = True

    @wraps(thing)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked, has_axes
        if config.jaxtyping_disable:
            return thing(*args, **kwargs)
        if checked is None:
            checked, has_axes = _with_checks(thing)
        if not has_axes:
            return checked(*args, **kwargs)
        # Names of axes hold for one call.
        push_shape_memo({})
        try:
            return checked(*args, **kwargs)
        finally:
            pop_shape_memo()

    return wrapped


def _with_checks(function: FunctionType) -> tuple[Callable[..., Any], bool]:
    """The function with its checks, and whether one is of an array, whose axes have names."""
    if inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        # Called is not done: what it yields comes after the call.
        return _original(function, typechecker=check), True
    same = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    same.__kwdefaults__, same.__module__, same.__qualname__ = (
        function.__kwdefaults__,
        function.__module__,
        function.__qualname__,
    )
    same.__annotations__ = {
        name: _read(annotation, function.__globals__) for name, annotation in function.__annotations__.items()
    }
    has_axes = any("jaxtyping." in repr(kind) for kind in same.__annotations__.values())
    return check(same), has_axes


def _read(annotation: Any, names: dict[str, Any]) -> Any:
    """What the text of an annotation means; anything where a name is known to type checkers alone."""

    def holder() -> None: ...

    holder.__annotations__ = {"value": annotation}
    try:
        return get_type_hints(holder, names, include_extras=True)["value"]
    except Exception:
        return Any
