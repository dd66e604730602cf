"""Scores that others published for the machines of DCASE Task 2, in per cent, for comparison.

Shun Huang and Liang He, "XJU system for first-shot unsupervised anomalous sound detection", DCASE 2025 technical
report, Table 2: the seven development machines.  Its averages are harmonic means over the machines, cut (not rounded)
to two decimals; the average of ``hmean`` is the official score.

One row is not as printed.  System 1's ToyCar row repeats its slider row, and the printed averages do not follow from
it; solved back from them, the row must be the one below, AUC +- 0.02.
"""

from __future__ import annotations

from typing import NamedTuple


class PublishedRow(NamedTuple):
    """Per cent."""

    auc_source: float
    auc_target: float
    pauc: float
    hmean: float


class PublishedScore(NamedTuple):
    """Official scores in per cent, as their authors or the organisers report them; None: not found."""

    system: str
    development: float | None
    evaluation: float | None


CORRECTED = ("XJU 1 BEATs-FFT", "ToyCar")
"""(system, machine) of the row that is solved back from the averages."""
AS_PRINTED = PublishedRow(75.58, 55.52, 54.21, 60.37)
"""What the report prints there."""

TABLE_2 = {
    "XJU 1 BEATs-FFT": {
        "bearing": PublishedRow(79.48, 72.23, 64.94, 71.73),
        "fan": PublishedRow(71.25, 47.14, 50.57, 54.52),
        "gearbox": PublishedRow(76.30, 67.74, 58.31, 66.64),
        "slider": PublishedRow(75.58, 55.52, 54.21, 60.37),
        "ToyCar": PublishedRow(62.86, 69.56, 53.63, 61.31),
        "ToyTrain": PublishedRow(76.88, 67.28, 56.15, 65.67),
        "valve": PublishedRow(76.97, 75.41, 74.73, 75.70),
    },
    "XJU 2 EAT-FFT": {
        "bearing": PublishedRow(70.01, 65.94, 52.57, 61.89),
        "fan": PublishedRow(68.01, 46.94, 50.63, 53.80),
        "gearbox": PublishedRow(77.66, 72.30, 60.42, 69.35),
        "slider": PublishedRow(80.40, 54.06, 51.21, 59.44),
        "ToyCar": PublishedRow(60.52, 68.74, 50.21, 58.83),
        "ToyTrain": PublishedRow(75.70, 69.34, 58.15, 66.92),
        "valve": PublishedRow(69.20, 77.30, 60.21, 68.18),
    },
    "XJU 3 EAT-BEATs": {
        "bearing": PublishedRow(78.62, 65.17, 62.73, 68.18),
        "fan": PublishedRow(69.88, 44.88, 51.15, 53.43),
        "gearbox": PublishedRow(75.60, 67.21, 57.68, 66.02),
        "slider": PublishedRow(76.50, 51.66, 52.26, 58.18),
        "ToyCar": PublishedRow(66.88, 68.61, 51.84, 61.45),
        "ToyTrain": PublishedRow(81.09, 71.82, 62.21, 70.87),
        "valve": PublishedRow(75.30, 77.80, 62.47, 71.19),
    },
    "XJU 4 EAT-BEATs-FFT": {
        "bearing": PublishedRow(77.02, 67.06, 61.57, 67.97),
        "fan": PublishedRow(70.64, 46.86, 52.21, 54.89),
        "gearbox": PublishedRow(73.78, 63.58, 59.84, 65.22),
        "slider": PublishedRow(75.68, 52.60, 52.94, 58.69),
        "ToyCar": PublishedRow(61.89, 71.58, 54.05, 61.69),
        "ToyTrain": PublishedRow(80.72, 70.11, 56.36, 67.58),
        "valve": PublishedRow(77.84, 81.16, 70.21, 76.12),
    },
}
"""System -> machine -> row."""

TABLE_2_AVERAGES = {
    "XJU 1 BEATs-FFT": PublishedRow(73.79, 63.44, 58.04, 64.46),
    "XJU 2 EAT-FFT": PublishedRow(71.07, 63.23, 54.44, 62.17),
    "XJU 3 EAT-BEATs": PublishedRow(74.55, 61.83, 56.75, 63.55),
    "XJU 4 EAT-BEATs-FFT": PublishedRow(73.45, 62.75, 57.62, 63.96),
}
"""As printed; ``hmean`` is the official score on the development machines."""

RECIPES = {
    "rdp2603": PublishedScore("training-free BEATs, normalised scores", 64.0, 62.4),
    "beam_2026": PublishedScore("frozen BEATs, BEAM and VarMin, near microphone", 61.32, 62.84),
    "beam_w1_2026": PublishedScore("frozen BEATs, BEAM and VarMin, less the far microphone's share", 67.48, 66.83),
    "lora_2026": PublishedScore("low-rank updates of BEATs, near microphone", 63.05, 67.92),
    "lora_w1_2026": PublishedScore("low-rank updates of BEATs, less the far microphone's share", 69.53, 70.66),
}
"""Official scores of public recipes that this package has: of 2025 the first, of 2026 the others."""

AS_REPORTED = (
    PublishedScore("organisers' autoencoder, MSE", 56.25, 54.43),
    PublishedScore("organisers' autoencoder, Mahalanobis", 55.34, 56.51),
    PublishedScore("first-ranked team", 60.9, 61.63),
    PublishedScore("second-ranked team", 64.53, None),
    PublishedScore("best single model found", 66.12, None),
    RECIPES["rdp2603"],
    PublishedScore("ensemble of 13 models", 69.12, None),
)
"""Second-hand figures: cited as reported, never reproduced here."""
