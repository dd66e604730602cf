"""Several outputs in one folder, as they are handed in together: which they are, and what they should not share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from asd_lightning.foreign_files import ForeignFileError, load_yaml
from asd_lightning.submission.writer import META_SUFFIX, SCORE_FILE, TODO

_OWN = ("name", "abbreviation")
_MOST = 500


def submissions_in(folder: Path) -> list[Path]:
    """The submissions that ``folder`` holds; ``folder`` where it is one itself, or where there is none."""
    if not folder.is_dir() or _is_submission(folder):
        return [folder]
    return [path for path in sorted(islice(folder.iterdir(), _MOST)) if _is_submission(path)] or [folder]


def shared_names(folders: Sequence[Path]) -> Iterator[str]:
    """A sentence for each submission whose name or abbreviation an earlier one has: they tell outputs apart."""
    seen: dict[tuple[str, str], str] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*{META_SUFFIX}")):
            for field, value in _names_of(path):
                earlier = seen.setdefault((field, value), folder.name)
                if earlier != folder.name:
                    yield f"{folder.name}: submission.{field} {value!r:.80} is the same as of {earlier}"


def _is_submission(folder: Path) -> bool:
    """Whether there are files of a submission right in it."""
    if not folder.is_dir():
        return False
    names = (path.name for path in islice(folder.iterdir(), _MOST))
    return any(name.endswith(META_SUFFIX) or SCORE_FILE.fullmatch(name) for name in names)


def _names_of(path: Path) -> Iterator[tuple[str, str]]:
    try:
        submission = _get(load_yaml(path), "submission")
    except ForeignFileError:
        # The check of that submission says so.
        return
    for field in _OWN:
        value = _get(submission, field)
        if isinstance(value, str) and TODO not in value:
            yield field, value


def _get(tree: Any, key: str) -> Any:
    return tree.get(key) if isinstance(tree, Mapping) else None
