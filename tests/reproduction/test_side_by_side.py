"""Published and measured: means, differences and both intervals against plain computations."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from asd_lightning.evaluation.intervals import bootstrap_intervals
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.reproduction.plan import Costed, Plan
from asd_lightning.reproduction.running import Ground
from asd_lightning.reproduction.side_by_side import short_table, side_by_side, write_side_by_side
from asd_lightning.reproduction.targets import TARGETS
from asd_lightning.run_folder import ResultSet
from asd_lightning.scoring.clip_scores import ClipScore, write_scores
from asd_lightning.tables import as_markdown

DEVELOPMENT, EVALUATION = ("bearing", "fan"), ("Polisher",)
EACH = 6


def clips(machine: str, seed: int) -> list[ClipScore]:
    """Scores of labelled clips; anomalies are a little higher."""
    draw = np.random.default_rng([seed, len(machine)])
    return [
        ClipScore(machine, "00", f"section_00_{number:04d}.wav", domain, condition, "", float(score), math.nan, None)
        for number, (domain, condition, score) in enumerate(
            (domain, condition, draw.normal() + (condition == "anomaly"))
            for domain in ("source", "target")
            for condition in ("anomaly", "normal")
            for _ in range(EACH)
        )
    ]


@pytest.fixture
def ground(tmp_path):
    """Scores of two seeds as the runs leave them, those of Polisher without labels, and its truth apart."""
    results = {}
    for seed in (0, 1):
        blind = [score._replace(domain="unknown", condition="unknown") for score in clips("Polisher", seed)]
        results[seed] = ResultSet(tmp_path / str(seed))
        write_scores(results[seed].scores, [*clips("bearing", seed), *clips("fan", seed), *blind])
    for folder, column, one in (("data", "condition", "anomaly"), ("domain", "domain", "target")):
        file = tmp_path / f"truth/ground_truth_{folder}/ground_truth_Polisher_section_00_test.csv"
        file.parent.mkdir(parents=True)
        rows = [f"{score.file},{int(getattr(score, column) == one)}\n" for score in clips("Polisher", 0)]
        file.write_text("".join(rows))
    return Ground(tmp_path, tmp_path / "truth", DEVELOPMENT, EVALUATION), results


def plan_of(name: str, output: Path) -> Plan:
    """Of the first system with two seeds."""
    target = TARGETS[name]
    systems = (Costed(target.systems[0], None, ()),)
    return Plan(target, output, output, (0, 1), ("a=b",), systems, (), (), "processor")


def rows_of(name, ground, output):
    plan = plan_of(name, output)
    rows = side_by_side(plan, ground[0], {plan.systems[0].system.name: ground[1]})
    return plan, {(row.set, row.machine, row.metric): row for row in rows}


def test_every_number_is_the_mean_over_seeds_beside_the_published_one(ground, tmp_path):
    _, rows = rows_of("xju2025", ground, tmp_path)
    published = TARGETS["xju2025"].systems[0]
    found = [evaluate([*clips("bearing", seed), *clips("fan", seed)]) for seed in (0, 1)]
    of_fan = [next(row for row in result.machines if row.machine == "fan").auc_source for result in found]
    row = rows["development", "fan", "auc_source"]
    assert (row.published, row.measured) == (pytest.approx(0.7125), pytest.approx(np.mean(of_fan)))
    assert row.difference == pytest.approx(np.mean(of_fan) - 0.7125)
    assert math.isnan(row.seeds_low)
    assert math.isnan(row.seeds_high)
    official = rows["development", "all", "hmean"]
    assert official.published == pytest.approx(0.6446)
    assert official.measured == pytest.approx(np.mean([result.official_score for result in found]))
    assert rows["development", "all", "pauc"].published == pytest.approx(published.averages.pauc / 100)
    assert {key[0] for key in rows} == {"development"}


def test_three_seeds_that_differ_have_an_interval(ground, tmp_path):
    third = ResultSet(tmp_path / "2")
    write_scores(third.scores, [*clips("bearing", 2), *clips("fan", 2)])
    of_fan = [
        next(row for row in evaluate([*clips("bearing", seed), *clips("fan", seed)]).machines if row.machine == "fan")
        for seed in (0, 1, 2)
    ]
    values = [row.auc_source for row in of_fan]
    _, rows = rows_of("xju2025", (ground[0], {**ground[1], 2: third}), tmp_path)
    row = rows["development", "fan", "auc_source"]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert (row.seeds_low, row.seeds_high) == (pytest.approx(low - 0.7125), pytest.approx(high - 0.7125))
    _, rows = rows_of("xju2025", (ground[0], dict.fromkeys(range(3), ground[1][0])), tmp_path)
    assert all(math.isnan(row.seeds_low) and math.isnan(row.seeds_high) for row in rows.values())


def test_the_interval_over_clips_is_the_bootstrap_of_one_seed(ground, tmp_path):
    ground = ground[0], {1: ground[1][1]}
    _, rows = rows_of("xju2025", ground, tmp_path)
    scores = sorted([*clips("bearing", 1), *clips("fan", 1)])
    for interval in bootstrap_intervals(scores):
        if (row := rows.get(("development", interval.machine, interval.metric))) is not None:
            assert row.clips_low + row.published == pytest.approx(interval.low, nan_ok=True)
            assert row.clips_high + row.published == pytest.approx(interval.high, nan_ok=True)
            assert math.isnan(row.seeds_low)


def test_the_truth_gives_the_evaluation_machines_their_numbers(ground, tmp_path):
    _, rows = rows_of("lora_2026", ground, tmp_path)
    scores = [evaluate(clips("Polisher", seed)).official_score for seed in (0, 1)]
    row = rows["evaluation", "all", "hmean"]
    assert (row.published, row.measured) == (pytest.approx(0.6792), pytest.approx(np.mean(scores)))
    assert math.isnan(rows["evaluation", "Polisher", "hmean"].published)


def test_a_set_that_is_not_whole_has_no_official_score(ground, tmp_path, caplog):
    more = Ground(*(tmp_path, None, ("bearing", "fan", "valve"), ()))
    _, rows = rows_of("xju2025", (more, ground[1]), tmp_path)
    assert ("development", "all", "hmean") not in rows
    assert ("development", "fan", "hmean") in rows
    assert "no labelled test clips of valve, so no official score" in caplog.text


def test_the_tables_say_what_they_are(ground, tmp_path):
    plan, rows = rows_of("lora_2026", ground, tmp_path)
    short = as_markdown(short_table(plan, list(rows.values()), rehearsed=False))
    assert short.count("official score") == 2
    assert "| 63.05 |" in " ".join(short.split())
    assert "Changed here: a=b." in short
    assert "2 seeds: no interval over seeds, they are too few." in short
    assert "95 % over 2 seeds" not in short
    assert "95 % over 3 seeds" in as_markdown(short_table(replace(plan, seeds=(0, 1, 2)), [], rehearsed=False))
    files = write_side_by_side(plan, list(rows.values()), rehearsed=True, notes=["Odd."])
    assert [path.name for path in files] == ["rehearsal.csv", "rehearsal.md", "rehearsal.tex"]
    text = files[1].read_text()
    assert text.startswith("# REHEARSAL, without meaning: lora_2026: published and measured")
    assert "the numbers mean nothing." in text
    assert "- Odd." in text
    with files[0].open(newline="") as file:
        written = {(row["set"], row["machine"], row["metric"]): row for row in csv.DictReader(file)}
    assert float(written["evaluation", "all", "hmean"]["measured"]) == rows["evaluation", "all", "hmean"].measured
