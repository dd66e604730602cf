"""Scores that others published for 2026, file by file: with the organisers' truth they give the published numbers.

Nothing of either is kept here: both are fetched where the network is asked for (``-m network``).  Without it the same
reading is tested on made files of the same form.
"""

from __future__ import annotations

import csv
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from asd_lightning.download.years import ATTRIBUTES, YEARS
from asd_lightning.evaluation.ground_truth import label_scores
from asd_lightning.evaluation.metrics import evaluate
from asd_lightning.scoring.clip_scores import ClipScore

YEAR = YEARS[2026]
# MIT licence; a file of scores for each machine.
SCORES = "https://raw.githubusercontent.com/kasahart/asd-experiments/d26c18f941cba30ec3ca789b178dac975cc826ef/results"
GOLDEN = {
    "b0": 0.6284112828237209,
    "b1": 0.5836163461864645,
    "ss": 0.6232526125382385,
    "w1": 0.6683499584355611,
}


def score_file(machine: str) -> str:
    return f"anomaly_score_{machine}_section_00_test.csv"


def truth_file(machine: str) -> str:
    return f"ground_truth_{machine}_section_00_test.csv"


def official_score(scores: Path, truth: Path) -> float:
    """Of a folder of score files as the challenge takes them, by this package's truth reader and evaluation."""
    clips = []
    for machine in YEAR.eval_machines:
        with (scores / score_file(machine)).open(newline="") as file:
            for name, value in csv.reader(file):
                clips.append(ClipScore(machine, "00", name, "unknown", "unknown", "", float(value), np.nan, None))
    assert len(clips) == 200 * len(YEAR.eval_machines)
    return evaluate(label_scores(clips, truth)).official_score


def fetch(url: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=60) as answer:
        path.write_bytes(answer.read())


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    for url in YEAR.truth_urls:
        fetch(url, folder / ATTRIBUTES / url.rpartition("/")[2])
    return folder


@pytest.mark.network
@pytest.mark.parametrize("system", GOLDEN)
def test_published_scores_give_the_published_number(system: str, truth: Path, tmp_path: Path) -> None:
    for machine in YEAR.eval_machines:
        fetch(f"{SCORES}/{system}/{score_file(machine)}", tmp_path / score_file(machine))
    assert official_score(tmp_path, truth) == pytest.approx(GOLDEN[system], abs=1e-12)


def test_made_files_of_the_same_form(tmp_path: Path) -> None:
    """200 clips of each machine in another order than the truth's; AUCs by scikit-learn, clip by clip."""
    rng = np.random.default_rng(0)
    scores, truth, found = tmp_path / "scores", tmp_path / "truth", []
    scores.mkdir()
    (truth / ATTRIBUTES).mkdir(parents=True)
    for machine in YEAR.eval_machines:
        domain = rng.permutation(["source", "target"] * 100)
        condition = rng.permutation(["normal", "anomaly"] * 100)
        value = (rng.normal(size=200) + (condition == "anomaly")).astype(np.float32)
        names = [f"section_00_{number:04d}.wav" for number in range(200)]
        true = [f"section_00_{d}_test_{c}_{n:04d}_noAttribute" for n, (d, c) in enumerate(zip(domain, condition))]  # noqa: B905
        rows = [f"{name},{one!s}" for name, one in zip(names, value, strict=True)]
        (scores / score_file(machine)).write_text("\n".join(rng.permutation(rows)) + "\n")
        told = "".join(f"{name},{one}\n" for name, one in zip(names, true, strict=True))
        (truth / ATTRIBUTES / truth_file(machine)).write_text(told)
        anomaly, exact = condition == "anomaly", np.array([float(str(one)) for one in value])
        for one in ("source", "target"):
            heard = (domain == one) | anomaly
            found.append(roc_auc_score(anomaly[heard], exact[heard]))
        found.append(roc_auc_score(anomaly, exact, max_fpr=0.1))
    assert official_score(scores, truth) == pytest.approx(stats.hmean(found), abs=1e-12)


def test_the_addresses_are_those_of_the_years_truth() -> None:
    assert [url.rpartition("/")[2] for url in YEAR.truth_urls] == [truth_file(name) for name in YEAR.eval_machines]
    assert all(f"/{ATTRIBUTES}/" in url for url in YEAR.truth_urls)
