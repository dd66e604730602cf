"""The file-name grammar, against names of every year and the class counts of the 2025 release."""

import csv
from pathlib import Path

import pytest

from asd_lightning.data.file_names import parse_file_name
from asd_lightning.data.labels import class_table
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError

TABLE = Path(__file__).with_name("train_attributes_2025.csv")


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        (
            "section_00_source_train_normal_0001_car_B1_spd_31V_mic_1",
            ("00", "source", "train", "normal", 1, "car_B1_spd_31V_mic_1"),
        ),
        ("section_00_target_test_anomaly_0049_noAttribute", ("00", "target", "test", "anomaly", 49, "")),
        ("section_02_source_test_normal_0007", ("02", "source", "test", "normal", 7, "")),
        ("section_00_0199", ("00", "unknown", "test", "unknown", 199, "")),
        ("section_00_test_0003", ("00", "unknown", "test", "unknown", 3, "")),
        (
            "section_00_source_test_normal_0010_pro_y",
            ("00", "source", "test", "normal", 10, "pro_y"),
        ),
        ("section_00_machine_0012_spd_31V", ("00", "unknown", "supplemental", "unknown", 12, "machine")),
        ("section_00_noise_0012", ("00", "unknown", "supplemental", "unknown", 12, "noise")),
        ("section_00_wind_turbine_0012", ("00", "unknown", "supplemental", "unknown", 12, "wind_turbine")),
        ("section_03_target_test_0012", ("03", "target", "test", "unknown", 12, "")),
        ("section_00_source_test_abnormal_0012", ("00", "source", "test", "anomaly", 12, "")),
        ("Section_00_Source_Train_Normal_0012_Spd_A", ("00", "source", "train", "normal", 12, "Spd_A")),
        ("normal_id_02_00000012", ("02", "source", "test", "normal", 12, "")),
        ("anomaly_id_02_00000012", ("02", "source", "test", "anomaly", 12, "")),
        ("id_05_00000012", ("05", "source", "test", "unknown", 12, "")),
    ],
)
def test_grammar(stem, expected):
    assert parse_file_name(stem) == expected


@pytest.mark.parametrize(
    "stem",
    ["pump_3", "section_0x_source_train_normal_0001", "section_00_source_train_normal_", "monday_id_02_00000012"],
)
def test_other_names_are_not_in_the_grammar(stem):
    assert parse_file_name(stem) is None


NEAR_A_LABEL = [
    "_".join(("section_00", *words, "0001"))
    for words in (
        *(
            (domain, split, word)
            for domain in ("source", "target")
            for split in ("train", "test")
            for word in ("x", "")
        ),
        *((word,) for word in ("source", "target", "train", "normal", "anomaly", "abnormal", "Test_normal", "faulty")),
        *((domain, condition) for domain in ("source", "target") for condition in ("normal", "anomaly")),
        ("test", "normal"),
        ("train", "normal"),
        ("source", "normal", "train"),
        ("src", "test", "anomaly"),
    )
]


@pytest.mark.parametrize("stem", NEAR_A_LABEL)
def test_a_labeled_name_with_a_mistake_is_nothing_supplemental(stem):
    assert parse_file_name(stem) is None


def clips_of_2025():
    with TABLE.open() as file:
        for row in csv.DictReader(file):
            for number in range(int(row["clips"])):
                suffix = row["attribute"] or "noAttribute"
                stem = f"section_00_{row['domain']}_train_normal_{number:04d}_{suffix}"
                name = parse_file_name(stem)
                yield Clip(
                    path=Path(f"{stem}.wav"),
                    machine=row["machine"],
                    name=f"{stem}.wav",
                    split=name.split,
                    domain=name.domain,
                    condition=name.condition,
                    attribute=name.attribute,
                )


@pytest.mark.parametrize(
    ("scheme", "count"),
    [("machine_attribute", 172), ("machine_domain_attribute", 179), ("machine_domain", 30), ("machine", 15)],
)
def test_class_counts_of_the_2025_release(scheme, count):
    clips = list(clips_of_2025())
    assert len(clips) == 15_000
    assert len(class_table(clips, scheme)) == count


def test_seven_machines_of_2025_have_no_attribute_and_hold_46_7_percent_of_the_clips():
    clips = list(clips_of_2025())
    unnamed = [label.name for label in class_table(clips) if not label.has_attribute]
    assert len(unnamed) == 7
    assert sum(not clip.attribute for clip in clips) / len(clips) == pytest.approx(0.467, abs=5e-4)


@pytest.mark.usefixtures("unchecked")
def test_unknown_scheme_is_named():
    with pytest.raises(UserError, match=r"labels='colour'.*machine_attribute"):
        class_table(clips_of_2025(), "colour")
