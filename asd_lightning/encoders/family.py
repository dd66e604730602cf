"""The poolings that a test stores of each clip's tokens, by name.  Nothing heavy is imported before one is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

EVERY = "all"

# Name -> class of `asd_lightning.encoders.over_time`, and its arguments.
_FAMILY: dict[str, tuple[str, dict[str, float]]] = {
    "mean": ("Mean", {}),
    "max": ("Max", {}),
    "std": ("Deviation", {}),
    "rdp_1": ("DeviationWeighted", {"gamma": 1.0}),
    "rdp_4": ("DeviationWeighted", {"gamma": 4.0}),
    "rdp_8": ("DeviationWeighted", {"gamma": 8.0}),
    "rdp_16": ("DeviationWeighted", {"gamma": 16.0}),
    "gem_3": ("PowerMean", {"power": 3.0}),
    "gem_6": ("PowerMean", {"power": 6.0}),
    "rdp_16_gem_3": ("DeviationWeighted", {"gamma": 16.0, "power": 3.0}),
}
FAMILY = tuple(_FAMILY)
"""Names of all, in the order of every table."""


def over_time(name: str) -> Callable[[Tensor], Tensor]:
    """The pooling of that name: (batch, T, groups, D) -> (batch, groups, D).

    >>> over_time("rdp_16_gem_3")
    DeviationWeighted(gamma=16.0, power=3.0)
    """
    from asd_lightning.encoders import over_time as poolings

    kind, options = _FAMILY[name]
    made: Callable[[Tensor], Tensor] = getattr(poolings, kind)(**options)
    return made


def chosen_poolings(choice: Any, setting: str = "store_features") -> tuple[str, ...]:
    """The names of ``null`` (none), ``all``, or a list, each once.

    Raises:
        UserError: anything else; the message names the setting.

    >>> chosen_poolings(["rdp_4", "mean", "rdp_4"])
    ('rdp_4', 'mean')
    """
    if choice is None:
        return ()
    if choice == EVERY:
        return FAMILY
    names = [choice] if isinstance(choice, str) else choice
    listed = isinstance(names, Sequence) and bool(names)
    odd = [name for name in names if name not in FAMILY] if listed else [choice]
    if odd:
        raise UserError(f"{setting}: {odd[0]!r:.40} is no pooling; choose all, or a list of {', '.join(FAMILY)}")
    return tuple(dict.fromkeys(names))
