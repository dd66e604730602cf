"""The DCASE Task 2 file-name grammar.

``section_00_source_train_normal_0001_spd_31V.wav``: section, domain, split, condition, index, attributes.  Evaluation
test clips hide everything but section and index (``section_00_0001.wav``, ``section_00_test_0001.wav``; in 2021
``section_00_source_test_0001.wav``); supplemental clips name a kind instead of a domain
(``section_00_machine_0001.wav``: clean machine sound, anything else: noise).  In 2020 a clip was
``normal_id_01_00000001.wav``, or ``id_01_00000001.wav`` in evaluation; its folder tells the split.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, NamedTuple

from asd_lightning.data.conditions import Condition, condition_of_file, condition_of_folder

Domain = Literal["source", "target", "unknown"]
Split = Literal["train", "test", "supplemental"]

AUDIO_SUFFIXES = frozenset({".wav", ".flac"})

_LABELED = re.compile(r"section_(\d+)_(source|target)_(train|test)_([a-z]+)_(\d+)(?:_(.+))?", re.IGNORECASE)
_EVALUATION = re.compile(r"section_(\d+)_(?:(?:(source|target)_)?test_)?(\d+)", re.IGNORECASE)
_SUPPLEMENTAL = re.compile(r"section_(\d+)_(\D+)_(\d+)(?:_(.+))?", re.IGNORECASE)
_OF_2020 = re.compile(r"(?:([a-z]+)_)?id_(\d\d)_(\d{8})", re.IGNORECASE)
_NO_ATTRIBUTE = "noAttribute"
# Not kinds of supplemental sound: a name with one of these words, or a label, in the kind's place is a labelled name
# with a mistake in it.
_NO_KINDS = frozenset({"source", "target", "train", "test"})


class ParsedName(NamedTuple):
    """What a file name says.  ``attribute`` is the whole suffix, ``""`` when there is none."""

    section: str
    domain: Domain
    split: Split
    condition: Condition
    number: int
    attribute: str


def parse_file_name(stem: str, folder: Split = "test") -> ParsedName | None:
    """Parse a file name without folder and extension; ``None`` when it is not in the DCASE grammar.

    The attribute suffix is kept whole: keys contain ``_`` and repeat, so it cannot be split into pairs safely.  Case
    does not count but in it, and for the condition any word of `asd_lightning.data.conditions` will do.  ``folder`` is
    the split whose folder the file lies in; only names of 2020 need it.

    >>> parse_file_name("section_00_source_train_normal_0001_spd_31V").attribute
    'spd_31V'
    """
    if match := _LABELED.fullmatch(stem):
        section, domain, split, word, number, attribute = match.groups()
        if (condition := condition_of_folder(word)) == "unknown":
            return None
        return ParsedName(section, domain.lower(), split.lower(), condition, int(number), _released(attribute))  # type: ignore[arg-type]
    if match := _EVALUATION.fullmatch(stem):
        domain = (match[2] or "unknown").lower()
        return ParsedName(match[1], domain, "test", "unknown", int(match[3]), "")  # type: ignore[arg-type]
    if match := _OF_2020.fullmatch(stem):
        condition = condition_of_folder(match[1] or "")
        if match[1] and condition == "unknown":
            return None
        return ParsedName(match[2], "source", folder, condition, int(match[3]), "")
    if (match := _SUPPLEMENTAL.fullmatch(stem)) and _is_kind(match[2]):
        # The kind stands where the attribute stands elsewhere: it tells clean machine sound from noise.
        return ParsedName(match[1], "unknown", "supplemental", "unknown", int(match[3]), match[2])
    return None


def _is_kind(text: str) -> bool:
    return _NO_KINDS.isdisjoint(text.lower().split("_")) and condition_of_folder(text) == "unknown"


def _released(attribute: str | None) -> str:
    return "" if attribute is None or attribute == _NO_ATTRIBUTE else attribute


def condition_of(path: Path, folder: Path) -> Condition:
    """What is said of a recording below ``folder``.

    By the name in the challenge's grammar, the innermost folder that tells, or the words of the name.
    """
    if (name := parse_file_name(path.stem)) is not None:
        return name.condition
    for part in reversed(path.relative_to(folder).parts[:-1]):
        if (told := condition_of_folder(part)) != "unknown":
            return told
    return condition_of_file(path.stem)
