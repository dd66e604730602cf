"""Checks of arguments that more than one room takes."""

from __future__ import annotations

from collections.abc import Collection
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


def require_machine(machine: str, known: Collection[str], of: str) -> None:
    """Raise ``UserError`` unless the run or detector ``of`` has the machine.

    >>> require_machine("fan", ["pump", "valve"], "detector")
    Traceback (most recent call last):
    asd_lightning.errors.UserError: machine fan: the detector knows pump, valve; name one of them
    """
    if machine not in known:
        raise UserError(f"machine {machine:.80}: the {of} knows {', '.join(known)}; name one of them")
