"""The colours of clips by condition and domain, the same on the page and in the plots."""

from __future__ import annotations

from typing import NamedTuple


class Tint(NamedTuple):
    """A colour: its CSS class, and its value on light and on dark paper."""

    css: str
    light: str
    dark: str


_GROUPS = {
    ("normal", "source"): Tint("ns", "#3a6ea5", "#5b93cf"),
    ("normal", "target"): Tint("nt", "#6db6e0", "#a6d8f5"),
    ("anomaly", "source"): Tint("as", "#b5361c", "#e0694e"),
    ("anomaly", "target"): Tint("at", "#ef9a4a", "#f7bd84"),
}
UNKNOWN = Tint("un", "#8b8f94", "#8f959c")
TINTS = (*_GROUPS.values(), UNKNOWN)


def group_tint(condition: str, domain: str) -> Tint:
    """The colour of clips of one condition and domain."""
    return _GROUPS.get((condition, domain), UNKNOWN)
