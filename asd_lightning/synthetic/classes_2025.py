"""Class structure of the DCASE 2025 Task 2 training data: which attribute combinations, and how many clips of each.

Fifteen machines with 990 source and 10 target clips each: 172 classes machine x attribute, 179 with the domain.
Counted from the file names of the release (Zenodo records 15097779 and 15392814).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from asd_lightning.synthetic.machines import Domain, MachineClass


def grid(domain: Domain, counts: Sequence[int], **values: str) -> list[MachineClass]:
    """The combinations of ``values`` (per key, separated by spaces; last key fastest); a count of 0 leaves one out."""
    combinations = list(product(*(text.split() for text in values.values())))
    return [
        MachineClass(domain, tuple(zip(values, combination, strict=True)), clips)
        for combination, clips in zip(combinations, counts, strict=True)
        if clips
    ]


def _one_class() -> list[MachineClass]:
    return [MachineClass("source", (), 990), MachineClass("target", (), 10)]


# fmt: off
_COFFEE_SOURCE = [  # one line: a microphone at a place; columns: grind 0, 100, 200 with backgrounds A B C D F each
    14, 10, 3, 12, 12,   11, 10, 12, 9, 12,   14, 8, 13, 12, 9,
    14, 10, 9, 14, 9,    12, 10, 15, 7, 10,   8, 9, 9, 15, 15,
    17, 14, 9, 10, 8,    16, 13, 6, 6, 11,    12, 10, 10, 13, 10,
    14, 11, 11, 8, 11,   10, 12, 10, 11, 9,   16, 13, 8, 6, 11,
    7, 12, 11, 11, 13,   13, 9, 15, 12, 8,    10, 13, 13, 8, 12,
    9, 12, 9, 18, 12,    11, 12, 8, 8, 16,    11, 13, 9, 10, 12,
]
# fmt: on
_COFFEE_MICROPHONES = {"mic": "imp23absu imp34dt05", "mic_pos": "A B C"}

CLASSES_2025: dict[str, list[MachineClass]] = {
    "ToyCar": [
        *grid(
            "source",
            [71, 25, 70, 45, 72, 47, 72, 71, 72, 45, 25, 45, 72, 72, 70, 45, 25, 46],
            car="B1 B2 C1 C2 D1 D2",
            spd="31V 34V 40V",
            mic="1",
        ),
        *grid("target", [1, 2, 1, 1, 1, 1, 2, 1], car="A1 A2 E1 E2", spd="28V 37V", mic="2"),
    ],
    "ToyTrain": _one_class(),
    "bearing": _one_class(),
    "fan": [*grid("source", [330] * 3, n="A B C"), *grid("target", [5, 5], n="D E")],
    "gearbox": [*grid("source", [165] * 6, pro="A B C D E F"), *grid("target", [3, 3, 4], pro="X Y Z")],
    "slider": _one_class(),
    "valve": [
        *grid("source", [330], v1pat="00", v2pat="05"),
        *grid("source", [330, 330], v1pat="04 05", v2pat="00"),
        *grid("target", [5, 5], v1pat="04 05", v2pat="05"),
    ],
    "AutoTrash": _one_class(),
    "BandSealer": [
        *grid("source", [247, 248, 247, 248], spd="1 3 4 6", n="D"),
        *grid("target", [5, 5], spd="2 5", n="E"),
    ],
    "CoffeeGrinder": [
        *grid("source", _COFFEE_SOURCE, **_COFFEE_MICROPHONES, grind="0 100 200", bkg="A B C D F"),
        *grid("target", [1, 1, 2, 0, 0, 2, 2, 0, 1, 1, 0, 0], **_COFFEE_MICROPHONES, grind="300", bkg="E Z"),
    ],
    "HomeCamera": [
        *grid("source", [200, 200, 200, 190, 50, 50, 50, 50], id="A1 A2 B1 B2", spd="2 3", mic="3"),
        *grid("target", [7, 1, 1, 1], id="C1 C2", spd="1 4", mic="3"),
    ],
    "Polisher": _one_class(),
    "ScrewFeeder": _one_class(),
    "ToyPet": _one_class(),
    "ToyRCCar": [
        *grid("source", [324, 324], id="A1 A2", spd="1", mic="2"),
        *grid("source", [168, 174], id="B1 B2", spd="2", mic="2"),
        *grid("target", [10], id="C1", spd="3", mic="2"),
    ],
}
