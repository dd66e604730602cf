"""The worst clips by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import zscore

from asd_lightning.evaluation.worst_clips import worst_clips
from asd_lightning.scoring.clip_scores import ClipScore


def scored(*values: tuple[str, float], machine: str = "fan", threshold: float = 1.0) -> list[ClipScore]:
    """Clips n0, a1, ... by condition and place."""
    return [
        ClipScore(
            machine, "00", f"{condition[0]}{number}.wav", "source", condition, "", value, threshold,
            None if math.isnan(threshold) else int(value > threshold),
        )
        for number, (condition, value) in enumerate(values)
    ]  # fmt: skip


MIXED = (("normal", 1.5), ("normal", 0.5), ("normal", 3.0), ("anomaly", 0.9), ("anomaly", 2.0), ("anomaly", 0.1))


def test_the_worst_come_first_and_only_what_is_wrong() -> None:
    found = [(worst.kind, worst.clip.file) for worst in worst_clips([scored(*MIXED)], 5)]
    assert found == [
        ("false alarm", "n2.wav"), ("false alarm", "n0.wav"), ("miss", "a5.wav"), ("miss", "a3.wav"),
    ]  # fmt: skip
    assert [worst.clip.file for worst in worst_clips([scored(*MIXED)], 1)] == ["n2.wav", "a5.wav"]


def test_margins_are_in_deviations_of_the_machines_scores() -> None:
    """By scipy: standardised scores and threshold."""
    values = np.array([value for _, value in MIXED])
    standard = zscore(np.append(values, 1.0) - values.mean(), ddof=0)
    scale = np.std(np.append(values, 1.0)) / np.std(values)
    margins = {worst.clip.file: worst.margin for worst in worst_clips([scored(*MIXED)], 5)}
    assert margins["n2.wav"] == pytest.approx(scale * (standard[2] - standard[-1]))
    assert margins["a5.wav"] == pytest.approx(scale * (standard[-1] - standard[5]))


def test_machines_of_other_units_compare() -> None:
    large = [(condition, 1000 * value) for condition, value in MIXED]
    louder = scored(*[*large[:2], ("normal", 3500.0), *large[3:]], machine="valve", threshold=1000.0)
    found = worst_clips([[*scored(*MIXED), *louder]], 2)
    assert [(worst.clip.machine, worst.clip.file) for worst in found[:2]] == [("valve", "n2.wav"), ("fan", "n2.wav")]


def test_several_runs_judge_one_clip_each_in_its_own_unit() -> None:
    first = scored(("normal", 1.2), ("normal", 2.0), ("anomaly", 5.0))
    second = scored(*((clip.condition, 1 + 1000 * (clip.anomaly_score - 1)) for clip in first))
    (worst,) = worst_clips([first, second], 1)
    assert (worst.kind, worst.clip.file) == ("false alarm", "n1.wav")
    assert [(judgment.run, judgment.wrong) for judgment in worst.judgments] == [(0, True), (1, True)]
    assert worst.judgments[0].margin == pytest.approx(worst.judgments[1].margin)


def test_a_clip_that_one_run_judges_rightly_is_shown_with_both() -> None:
    (worst,) = worst_clips([scored(("normal", 2.0)), scored(("normal", 0.5))], 1)
    assert [judgment.wrong for judgment in worst.judgments] == [True, False]


def test_of_clips_without_label_the_loudest_alarms() -> None:
    found = worst_clips([scored(("unknown", 2.0), ("unknown", 0.5), ("unknown", 3.0), ("unknown", 1.5))], 2)
    assert [(worst.kind, worst.clip.file) for worst in found] == [("alarm", "u2.wav"), ("alarm", "u0.wav")]


def test_clips_without_threshold_and_equal_scores() -> None:
    assert worst_clips([scored(*MIXED, threshold=math.nan)], 3) == []
    assert [worst.margin for worst in worst_clips([scored(("normal", 2.0), ("normal", 2.0))], 3)] == [1.0, 1.0]
