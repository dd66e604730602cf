"""A choice by the other machines, against a loop over scores."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.comparison.elsewhere import choice_note, chosen_elsewhere
from asd_lightning.comparison.systems import compare_runs
from asd_lightning.comparison.tables import hmean_table, write_comparison_tables
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.run_folder import results_of
from asd_lightning.scoring.clip_scores import read_scores
from tests.comparison.runs import finished_run

MACHINES = ("fan", "pump", "valve")


def test_each_machine_is_left_out_of_its_own_choice(tmp_path: Path) -> None:
    """Every number by the official evaluation of the clips that it is of."""
    scores = {}
    for draw in range(4):
        run = finished_run(tmp_path / f"r{draw}", f"system{draw}", 0, MACHINES, draw)
        scores[f"system{draw}"] = read_scores(results_of(run).scores)
    comparison = compare_runs([tmp_path])
    write_comparison_tables(comparison, tmp_path / "out")
    with (tmp_path / "out/comparison_choice.csv").open(newline="") as file:
        *rows, overall = csv.DictReader(file)
    assert [row["machine"] for row in rows] == list(MACHINES)

    def official(name: str, *machines: str) -> float:
        return evaluate([score for score in scores[name] if score.machine in machines]).official_score

    taken = []
    for row in rows:
        others = [name for name in MACHINES if name != row["machine"]]
        chosen = max(scores, key=lambda name: official(name, *others))
        best = max(scores, key=lambda name: official(name, row["machine"]))
        assert (row["chosen"], row["best"]) == (chosen, best)
        assert float(row["hmean"]) == pytest.approx(official(chosen, row["machine"]), abs=1e-12)
        assert float(row["best_hmean"]) == pytest.approx(official(best, row["machine"]), abs=1e-12)
        taken += [score for score in scores[chosen] if score.machine == row["machine"]]
    assert {row["chosen"] for row in rows} != {row["best"] for row in rows}
    assert float(overall["hmean"]) == pytest.approx(evaluate(taken).official_score, abs=1e-12)
    best = max(scores, key=lambda name: official(name, *MACHINES))
    assert (overall["best"], float(overall["best_hmean"])) == (best, pytest.approx(official(best, *MACHINES)))
    told = " ".join(hmean_table(comparison).notes)
    assert f"Choosing for each machine by the scores on the others gives {100 * float(overall['hmean']):.2f}." in told


def test_a_choice_needs_two_systems_of_the_same_machines() -> None:
    one = {(machine, "pauc"): 0.5 for machine in MACHINES}
    less = {(machine, "pauc"): 0.5 for machine in MACHINES[:2]}
    for systems in ({}, {"one": one}, {"one": one, "less": less}, {"one": {("fan", "pauc"): 0.5}, "two": {}}):
        assert not list(chosen_elsewhere(systems))
    assert choice_note([]) == ""
    undefined = {key: float("nan") for key in one}
    *_, last = chosen_elsewhere({"undefined": undefined, "one": one})
    assert last.best == "one"
    assert np.isfinite(last.hmean)
