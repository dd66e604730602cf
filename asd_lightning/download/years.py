"""What each year of DCASE Task 2 consists of: Zenodo records, machines, clip counts, truth file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from asd_lightning.errors import UserError

Part = Literal["dev", "train", "test", "truth"]
PARTS: tuple[Part, ...] = ("dev", "train", "test", "truth")

MIRROR_VARIABLE = "ASD_DOWNLOAD_MIRROR"
"""Environment variable: a server to use instead of the original ones."""

# Counts of every machine in every year from 2023 on.
SOURCE_TRAINING_CLIPS = 990
TARGET_TRAINING_CLIPS = 10
TEST_CLIPS_PER_DOMAIN_AND_CONDITION = 50
TRAINING_CLIPS = SOURCE_TRAINING_CLIPS + TARGET_TRAINING_CLIPS
TEST_CLIPS = 4 * TEST_CLIPS_PER_DOMAIN_AND_CONDITION

# The evaluator's folders of truth: 0 or 1 of each clip, and its true name.
FLAGS, ATTRIBUTES = "ground_truth_data", "ground_truth_attributes"
_ZENODO = "https://zenodo.org"
# The official baseline's repository holds, per year, the list that maps anonymous test names to labelled ones.
# Each address names a commit, so what lies behind it cannot change.
_TRUTH = "https://raw.githubusercontent.com/nttcslab/dcase2023_task2_baseline_ae"


@dataclass(frozen=True)
class Year:
    """One year's release.

    ``records`` maps a part (``dev`` development, ``train`` additional training, ``test`` evaluation test) to its Zenodo
    record; ``seconds`` maps a machine to its clip length where that is known; ``truth_urls`` are one list for the year,
    or a file for each machine of the evaluation set; ``truth_notice`` is what their licence asks of those who fetch
    them.
    """

    year: int
    records: dict[Part, int]
    dev_machines: tuple[str, ...]
    eval_machines: tuple[str, ...]
    truth_urls: tuple[str, ...]
    channels: int = 1
    supplemental_clips: int = 0
    seconds: dict[str, float] | None = None
    truth_notice: str = ""

    def record_url(self, part: Part) -> str:
        """Address of the record's description in the REST API."""
        return f"{_ZENODO}/api/records/{self.records[part]}"

    @property
    def machines(self) -> tuple[str, ...]:
        """The machines of the development set, then those of the evaluation set."""
        return self.dev_machines + self.eval_machines


_CLASSIC = ("ToyCar", "ToyTrain", "bearing", "fan", "gearbox", "slider", "valve")
LENGTHS_2025 = {
    "ToyCar": 12.0,
    "ToyTrain": 12.0,
    "AutoTrash": 6.0,
    "HomeCamera": 6.0,
    "CoffeeGrinder": 5.0,
    "ToyRCCar": 7.0,
}
"""Length in s of a clip of 2025; the other machines' clips last 10 s."""

_EVAL_2025 = ("AutoTrash", "BandSealer", "CoffeeGrinder", "HomeCamera", "Polisher", "ScrewFeeder", "ToyPet", "ToyRCCar")

_DEV_2026 = ("ToyCar", "ToyCarEmu", "bearingEmu", "fan", "gearboxEmu", "sliderEmu", "valveEmu")
_EVAL_2026 = ("BlowerDustCollector", "Sander", "SewingMachine", "ToothBrush", "ToyDrone")
_LENGTHS_2026 = {"ToyCar": 11.0, "ToyCarEmu": 12.0}
# The evaluator of 2026 has three folders; the true names in this one tell domain and condition too.
_TRUTH_2026 = (
    "https://raw.githubusercontent.com/nttcslab/dcase2026_task2_evaluator/"
    f"f6a94a2b5e614a9626c9d1ccff6df0705e6aaa75/{ATTRIBUTES}"
)

YEARS: dict[int, Year] = {
    2023: Year(
        2023,
        {"dev": 7882613, "train": 7830345, "test": 7860847},
        _CLASSIC,
        ("ToyDrone", "ToyNscale", "ToyTank", "Vacuum", "bandsaw", "grinder", "shaker"),
        (f"{_TRUTH}/2605ba1ae306d087d87e8fac8e19c20068e989e2/datasets/eval_data_list_2023.csv",),
    ),
    2024: Year(
        2024,
        {"dev": 10902294, "train": 11259435, "test": 11363076},
        _CLASSIC,
        (
            "3DPrinter",
            "AirCompressor",
            "BrushlessMotor",
            "HairDryer",
            "HoveringDrone",
            "RoboticArm",
            "Scanner",
            "ToothBrush",
            "ToyCircuit",
        ),
        (f"{_TRUTH}/ce6566afdbae428f1b5f60f355e258b7aa1303bc/datasets/eval_data_list_2024.csv",),
    ),
    2025: Year(
        2025,
        {"dev": 15097779, "train": 15392814, "test": 15519362},
        _CLASSIC,
        _EVAL_2025,
        (f"{_TRUTH}/70569b81868233adb8a9320af3dbfd339811c9ee/datasets/eval_data_list_2025.csv",),
        supplemental_clips=100,
        seconds={machine: LENGTHS_2025.get(machine, 10.0) for machine in _CLASSIC + _EVAL_2025},
    ),
    2026: Year(
        2026,
        {"dev": 19336329, "train": 20151556, "test": 20437238},
        _DEV_2026,
        _EVAL_2026,
        tuple(f"{_TRUTH_2026}/ground_truth_{machine}_section_00_test.csv" for machine in _EVAL_2026),
        channels=2,
        # Of the evaluation machines three are said to have 10 s, one 6 and one 16; which is not published.
        seconds={machine: _LENGTHS_2026.get(machine, 10.0) for machine in _DEV_2026},
        truth_notice="the organisers' truth of 2026 is for one's own, non-commercial use and not to be passed on",
    ),
}


def find_year(name: str) -> Year:
    """The year called ``dcase2025`` or ``2025``.

    Raises:
        UserError: no such year; the message lists those there are.
    """
    digits = name.lower().removeprefix("dcase")
    if not digits.isdecimal() or int(digits) not in YEARS:
        known = ", ".join(f"dcase{year}" for year in YEARS)
        raise UserError(f"unknown data set {name!r}: choose one of {known}")
    return YEARS[int(digits)]
