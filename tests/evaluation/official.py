"""Reads the organisers' evaluator files: ground truth, score files, result files."""

import csv
from pathlib import Path

from asd_lightning.scoring.clip_scores import ClipScore
from tests.reference import shared_dir

EVALUATOR = "dcase/evaluator_2024"


def evaluator_dir() -> Path:
    return shared_dir() / EVALUATOR


def column(path: Path) -> dict[str, str]:
    with path.open(newline="") as stream:
        return dict(csv.reader(stream))  # type: ignore[arg-type]


def machines() -> list[str]:
    return sorted(path.name.split("_")[2] for path in (evaluator_dir() / "ground_truth_data").iterdir())


def labeled_scores(system: str) -> list[ClipScore]:
    """A submission with its truth, read here without any of the package's readers."""
    scores = []
    for machine in machines():
        end = f"{machine}_section_00_test.csv"
        condition = column(evaluator_dir() / "ground_truth_data" / f"ground_truth_{end}")
        domain = column(evaluator_dir() / "ground_truth_domain" / f"ground_truth_{end}")
        decision = column(evaluator_dir() / system / f"decision_result_{end}")
        for file, value in column(evaluator_dir() / system / f"anomaly_score_{end}").items():
            scores.append(
                ClipScore(
                    machine=machine,
                    section="00",
                    file=file,
                    domain=("source", "target")[int(domain[file])],
                    condition=("normal", "anomaly")[int(condition[file])],
                    attribute="",
                    anomaly_score=float(value),
                    threshold=float("nan"),
                    decision=int(decision[file]),
                )
            )
    return scores


def result_rows(system: str) -> list[list[str]]:
    with (evaluator_dir() / f"{system}_result.csv").open(newline="") as stream:
        return [row for row in csv.reader(stream) if row]
