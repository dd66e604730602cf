"""The DCASE Task 2 file-name grammar.

``section_00_source_train_normal_0001_spd_31V.wav``: section, domain, split, condition, index, attributes.  Evaluation
test clips hide everything but section and index (``section_00_0001.wav``, ``section_00_test_0001.wav``); supplemental
clips name a kind instead of a domain (``section_00_machine_0001.wav``: clean machine sound, anything else: noise).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Domain = Literal["source", "target", "unknown"]
Condition = Literal["normal", "anomaly", "unknown"]
Split = Literal["train", "test", "supplemental"]

AUDIO_SUFFIXES = frozenset({".wav", ".flac"})

_LABELLED = re.compile(r"section_(\d+)_(source|target)_(train|test)_(normal|anomaly)_(\d+)(?:_(.+))?")
_EVALUATION = re.compile(r"section_(\d+)_(?:test_)?(\d+)")
_SUPPLEMENTAL = re.compile(r"section_(\d+)_(\D+)_(\d+)(?:_(.+))?")
_NO_ATTRIBUTE = "noAttribute"


class ParsedName(NamedTuple):
    """What a file name says.  ``attribute`` is the whole suffix, ``""`` when there is none."""

    section: str
    domain: Domain
    split: Split
    condition: Condition
    number: int
    attribute: str


def parse_file_name(stem: str) -> ParsedName | None:
    """Parse a file name without folder and extension; ``None`` when it is not in the DCASE grammar.

    The attribute suffix is kept whole: keys contain ``_`` and repeat, so it cannot be split into pairs safely.
    """
    if match := _LABELLED.fullmatch(stem):
        section, domain, split, condition, number, attribute = match.groups()
        return ParsedName(section, domain, split, condition, int(number), _released(attribute))  # type: ignore[arg-type]
    if match := _EVALUATION.fullmatch(stem):
        return ParsedName(match[1], "unknown", "test", "unknown", int(match[2]), "")
    if match := _SUPPLEMENTAL.fullmatch(stem):
        # The kind stands where the attribute stands elsewhere: it tells clean machine sound from noise.
        return ParsedName(match[1], "unknown", "supplemental", "unknown", int(match[3]), match[2])
    return None


def _released(attribute: str | None) -> str:
    return "" if attribute is None or attribute == _NO_ATTRIBUTE else attribute
