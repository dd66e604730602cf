"""Checks of back-ends' and thresholds' arguments."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, get_args

from asd_lightning.errors import UserError


def require_choice(name: str, value: str, choices: Any) -> None:
    """Raise ``UserError`` unless ``value`` is one of a ``Literal``'s choices."""
    if not isinstance(value, str) or value not in get_args(choices):
        raise UserError(f"{name}={value!r}: choose one of {', '.join(get_args(choices))}")


def require_at_least(name: str, value: int, least: int) -> None:
    """Raise ``UserError`` for a smaller value, and for what is no whole number."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise UserError(f"{name}={value!r:.40}: must be a whole number")
    if value < least:
        raise UserError(f"{name}={value}: must be at least {least}")


def require_between(name: str, value: float, low: float | int, high: float | int) -> None:
    """Raise ``UserError`` unless ``low < value < high``."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise UserError(f"{name}={value!r:.40}: must be a number")
    if not low < value < high:
        raise UserError(f"{name}={value}: must be above {low:g} and below {high:g}")
