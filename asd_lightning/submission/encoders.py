"""Are the embeddings that a description names those of the run?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from asd_lightning.foreign_files import ForeignFileError, load_yaml
from asd_lightning.run_folder import ResultSet

_ENCODERS = ("beats", "eat", "mn04")
"""Branches that are called by the name of their encoder, as descriptions call it."""


def other_encoders(results: ResultSet, told: str) -> str:
    """In what ``told``, a description's embeddings, is not the run's configuration; "" where they agree."""
    path = results.config_of_run
    if path is None:
        return ""
    try:
        branches = set(_branches(load_yaml(path), ""))
    except ForeignFileError:
        return ""
    words = set(re.findall(r"[a-z0-9]+", told.lower()))
    own, named = (sorted(set(_ENCODERS) & names) for names in (branches, words))
    if not branches or own == named:
        return ""
    return (
        f"system.description.embeddings says {told!r:.80}, and the run has "
        f"{', '.join(own) or 'no pretrained encoder'}: is the description of another run?"
    )


def _branches(tree: Any, above: str) -> Iterator[str]:
    """Names of the branches in a configuration, or in those of a fusion's parts, whose settings have dotted names."""
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        place = f"{above}.{key}"
        if found := re.search(r"\.embedder\.branches\.(\w+)", place):
            yield found[1]
        else:
            yield from _branches(value, place)
