"""Options that are names and folders: text as it was written, and ``~`` in a folder's is the home folder.

Hydra reads ``2024_11_25`` as a number, and a shell leaves the ``~`` of ``data.root=~/pumps`` alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from asd_lightning.configuration import for_hydra, parse_overrides
from asd_lightning.errors import UserError

_FOLDERS = re.compile(
    r"data\.(root|truth|recordings|pseudo_classes|cache_dir)|hydra\.(run|sweep)\.(dir|subdir)|encoders\.\w+\.weights|"
    r"logger\.\w+\.save_dir|callbacks\.\w+\.(dirpath|directory)"
)
_NAMES = re.compile(
    r"name|system|data\.machines|logger\.\w+\.(name|project|entity|group|experiment_name|run_name|id|job_type|tags)"
)
_OVERRIDE = re.compile(r"([+]{0,2})([\w.]+)=(.*)", re.DOTALL)
_ITEM = re.compile(r"[^,\[\]]+")
# Where a value begins: of the option, of an item in a list, or in quotes.
_HOME = re.compile(r"(?<![^,\[\]'\"])~[\w.-]*(?=[/,\]'\"]|$)")


def as_hydra_reads(overrides: Iterable[str]) -> list[str]:
    """Overrides as they are typed, in the form in which Hydra understands them.

    >>> as_hydra_reads(["name=2024_11_25", "encoders.beats.config.dropout=0", "logger=null"])
    ["name='2024_11_25'", '++encoders.beats.config.dropout=0', 'logger=[]']
    """
    return [for_hydra(as_text(override)) for override in overrides]


def as_text(override: str) -> str:
    """``override`` with its value as text, where the option is one of text.

    >>> as_text("name=2024_11_25")
    "name='2024_11_25'"
    >>> as_text("data.machines=[pump,1e2]")
    "data.machines=[pump,'1e2']"
    >>> as_text("seed=1")
    'seed=1'
    """
    match = _OVERRIDE.fullmatch(override)
    if match is None or not (_FOLDERS.fullmatch(match[2]) or _NAMES.fullmatch(match[2])):
        return override
    adding, key, value = match.groups()
    if _FOLDERS.fullmatch(key):
        value = _HOME.sub(lambda found: os.path.expanduser(found[0]), value)  # noqa: PTH111  (part of a value)
    # In quotes it is text already; braces, brackets and $ are expressions.
    if not re.search(r"[\"'(){}$\\]", value):
        value = _ITEM.sub(lambda item: _quoted(item[0]), value)
    return f"{adding}{key}={value}"


def _quoted(item: str) -> str:
    text = item.strip()
    if text in ("", "null"):
        return item
    try:
        (parsed,) = parse_overrides([f"option={text}"])
    except UserError:
        # A letter that Hydra does not know.
        return f"'{text}'"
    return item if isinstance(parsed.value(), str) else f"'{text}'"
