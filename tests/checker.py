"""The run-time type checker of the tests: beartype, less what it cannot check on a lone method."""

from collections.abc import Callable
from typing import Any, Self

from beartype import beartype


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check a function's arguments and result at every call; a result of ``Self`` is not checked."""
    annotations = getattr(function, "__annotations__", {})
    if annotations.get("return") in ("Self", Self):
        function.__annotations__ = {name: kind for name, kind in annotations.items() if name != "return"}
    return beartype(function)
