"""How large an encoder may be that a file describes: a line of text can ask for more memory than there is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

# Three times EAT-large; 4 GB.
MOST_PARAMETERS = 1_000_000_000


def check_sizes(config: Any, largest: Mapping[str, int]) -> None:
    """Check the fields of a configuration: whole numbers from 1 to ``largest``, truth values, else numbers from 0 on.

    Raises:
        ValueError: a field of another type or size; the message names it.
    """
    for field in fields(config):
        value, most = getattr(config, field.name), largest.get(field.name)
        if most is not None:
            fits, what = type(value) is int and 1 <= value <= most, f"a whole number from 1 to {most}"
        elif isinstance(field.default, bool):
            fits, what = isinstance(value, bool), "true or false"
        else:
            fits, what = type(value) in (int, float) and 0 <= value < math.inf, "a number from 0 on"
        if not fits:
            raise ValueError(f"{field.name} must be {what}, got {value!r:.40}")


def check_parameters(count: float) -> None:
    """Raise ValueError where an encoder would have more than `MOST_PARAMETERS`."""
    if count > MOST_PARAMETERS:
        raise ValueError(f"the encoder would have {count:,.0f} parameters, more than {MOST_PARAMETERS:,}")
