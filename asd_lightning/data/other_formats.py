"""Recordings in formats that are not read: they are counted, not passed over."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from asd_lightning.data.folders import recordings

logger = logging.getLogger(__name__)

# What people record with telephones and editors, and what is not read.
_SUFFIXES = frozenset(
    {".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff", ".amr", ".3gp", ".caf", ".mp4", ".webm"}
    | {".wave", ".bwf", ".w64", ".rf64", ".bw64", ".aifc", ".au", ".snd", ".mp2", ".mka", ".wv", ".ape", ".ac3"}
    | {".alac"}
)


def warn_of_other_formats(folders: Iterable[Path]) -> None:
    """Say how many recordings below ``folders`` are of formats that are not read, which is one, and what to do."""
    below = (path for folder in folders for path in recordings(folder, _SUFFIXES, closed_too=True))
    # A folder that may not be listed is told by whoever reads recordings.
    if found := [path for path in below if path.suffix.lower() in _SUFFIXES]:
        counts = Counter(path.suffix.lower() for path in found)
        logger.warning(
            "%d recordings are not used, since %s cannot be read, such as %s; convert them, as with: ffmpeg -i %s %s",
            len(found), " and ".join(f"{suffix} ({count})" for suffix, count in sorted(counts.items())),
            found[0], found[0].name, found[0].with_suffix(".wav").name,
        )  # fmt: skip
