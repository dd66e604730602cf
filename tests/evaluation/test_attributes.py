"""Results by attribute against counting by hand and the official AUC."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.evaluation.attributes import attribute_results, write_attributes
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.scoring.clip_scores import ClipScore


def clip(attribute: str, condition: str, score: float, domain: str = "source", machine: str = "fan") -> ClipScore:
    name = f"{domain}_{condition}_{attribute}_{score}.wav"
    return ClipScore(machine, "00", name, domain, condition, attribute, score, 1.0, int(score > 1.0))


SCORES = [
    clip("spd_1", "normal", 0.5),
    clip("spd_1", "normal", 1.5),
    clip("spd_1", "anomaly", 2.0),
    clip("spd_2", "normal", 0.1),
    clip("spd_2", "anomaly", 0.9),
    clip("spd_2", "anomaly", 1.2),
    clip("spd_3", "normal", 1.0, "target"),
    clip("x", "normal", 0.0, machine="pump"),
    clip("x", "anomaly", 3.0, machine="pump"),
    clip("y", "unknown", 3.0, machine="pump"),
]


def test_by_hand() -> None:
    rows = {row.attribute: row for row in attribute_results(SCORES)}
    assert list(rows) == ["spd_1", "spd_2", "spd_3"]  # a section of one attribute says nothing new
    one, two, three = rows.values()
    assert (one.normal, one.anomalous, one.false_alarms, one.misses) == (2, 1, 0.5, 0.0)
    # 0.5 lies below all of 2.0, 0.9, 1.2; 1.5 below one of them.
    assert one.auc == pytest.approx(4 / 6)
    assert (two.auc, two.false_alarms, two.misses) == (1.0, 0.0, 0.5)
    assert (three.domain, three.anomalous, three.auc, three.false_alarms) == ("target", 0, pytest.approx(2 / 3), 0.0)
    assert math.isnan(three.misses)


def test_the_aucs_of_a_domains_attributes_average_to_its_official_one() -> None:
    rng = np.random.default_rng(0)
    scores = [
        clip(f"a_{index % 3}", ("normal", "anomaly")[index % 2], float(rng.normal() + index % 2), domain)
        for index in range(60)
        for domain in ("source", "target")
    ]
    (official,) = evaluate(scores).machines
    for domain in ("source", "target"):
        rows = [row for row in attribute_results(scores) if row.domain == domain]
        assert len(rows) == 3
        mean = np.average([row.auc for row in rows], weights=[row.normal for row in rows])
        assert mean == pytest.approx(getattr(official, f"auc_{domain}"))


def test_clips_without_decision_and_files(tmp_path: Path) -> None:
    undecided = [score._replace(decision=None, threshold=math.nan) for score in SCORES]
    assert all(math.isnan(row.false_alarms) for row in attribute_results(undecided))
    write_attributes(SCORES, tmp_path)
    with (tmp_path / "attributes.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [repr(float(row["auc"])) for row in rows] == [repr(row.auc) for row in attribute_results(SCORES)]
    assert "66.67" in (tmp_path / "attributes.md").read_text()
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".md", ".tex"]


def test_nothing_is_written_where_there_is_nothing_to_tell(tmp_path: Path) -> None:
    write_attributes(SCORES[7:], tmp_path)
    write_attributes([], tmp_path)
    assert list(tmp_path.iterdir()) == []
