"""The words that tell normal sound from faults, in names of folders and files: one list, for every place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

Condition = Literal["normal", "anomaly", "unknown"]

NORMAL_WORDS = frozenset(
    {"faultless", "flawless", "good", "healthy", "inlier", "inliers", "intact", "nominal", "normal", "normals", "ok"}
    | {"okay", "pass", "passed", "undamaged"}
)
ANOMALY_WORDS = frozenset(
    {"abnormal", "abnormalities", "abnormality", "abnormals", "anomalies", "anomalous", "anomaly", "anormal", "bad"}
    | {"broken", "damage", "damaged", "damages", "defect", "defective", "defects", "fail", "failed", "failure"}
    | {"failures", "fault", "faults", "faulty", "malfunction", "malfunctions", "ng", "nok", "outlier", "outliers"}
    | {"reject", "rejected", "rejects", "unhealthy"}
)
# Of a file these may tell how the recording came out, and not how the machine was.
_OF_RECORDINGS = frozenset(
    {"bad", "broken", "damaged", "fail", "failed", "good", "intact", "ng", "nok", "ok", "okay", "pass", "passed"}
    | {"reject", "rejected", "rejects"}
)
_NEGATIONS = frozenset({"no", "non", "not", "without"})

_WORDS = re.compile(r"[^\W\d_]+")
_CAPITALIZED = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def condition_of_folder(name: str) -> Condition:
    """What the name of a folder says of the sound in it: ``NG``, ``Faulty_bearing`` or ``AnomalousSound``, ``not ok``.

    Case, numbers and other words do not count, a fault counts before a normal word, and a negation turns a word round.
    """
    return _condition(name, NORMAL_WORDS, ANOMALY_WORDS)


def condition_of_file(stem: str) -> Condition:
    """What the name of a file, without its suffix, says: as for folders, but by the words that speak of machines."""
    return _condition(stem, NORMAL_WORDS - _OF_RECORDINGS, ANOMALY_WORDS - _OF_RECORDINGS)


def _condition(name: str, normal: frozenset[str], anomalous: frozenset[str]) -> Condition:
    # Whole words first: the second way reads abNormal as two.
    for words in (_WORDS.findall(name), _CAPITALIZED.findall(name)):
        if found := set(_told([word.casefold() for word in words], normal, anomalous)):
            return "anomaly" if "anomaly" in found else "normal"
    return "unknown"


def _told(words: Sequence[str], normal: frozenset[str], anomalous: frozenset[str]) -> Iterator[Condition]:
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        negated = before in _NEGATIONS or (word in anomalous and after == "free")
        if word in normal | anomalous:
            yield "anomaly" if (word in anomalous) != negated else "normal"
