"""One bank for each machine, and what is said of odd training clips."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.machines import score_machines, warn_of_too_few
from asd_lightning.scoring.thresholds import ConformalThreshold, GammaThreshold, QuantileThreshold


def clip(machine: str, split: str, number: int, domain: str = "source") -> Clip:
    name = f"{split}_{number}.wav"
    return Clip(path=Path(name), machine=machine, name=name, split=split, domain=domain, condition="normal")


@pytest.fixture
def two_machines():
    """Forty training and five test clips each; the second machine's embeddings lie elsewhere."""
    rng = np.random.default_rng(0)
    clips = [
        clip(m, split, n)
        for m in ("fan", "pump")
        for split, count in (("train", 40), ("test", 5))
        for n in range(count)
    ]
    embeddings = rng.normal(size=(90, 8)).astype(np.float32)
    embeddings[45:] += 5
    return clips, embeddings


def scores_of(clips, embeddings, threshold=None):
    ids = np.arange(len(clips))
    is_train = np.array([clip.split == "train" for clip in clips])
    split = [(ids[rows], embeddings[rows]) for rows in (is_train, ~is_train)]
    make = partial(KNNScorer, metric="euclidean", smote=None)
    return score_machines(clips, *split, make, threshold or QuantileThreshold())


def test_each_machine_has_its_own_bank(two_machines):
    clips, embeddings = two_machines
    scores = scores_of(clips, embeddings)
    for machine, rows in (("fan", slice(0, 45)), ("pump", slice(45, 90))):
        bank, query = embeddings[rows][:40].astype(float), embeddings[rows][40:].astype(float)
        nearest = np.linalg.norm(query[:, None] - bank, axis=2).min(1)
        np.testing.assert_allclose([s.anomaly_score for s in scores if s.machine == machine], nearest, rtol=1e-9)


def test_a_promise_counts_recordings_and_not_their_clips(two_machines, caplog):
    """Forty files of ten recordings promise 1 / 11: their scores are those of nearest clips of other recordings."""
    clips, embeddings = two_machines
    clips = [dataclasses.replace(one, recording=str(number % 10)) for number, one in enumerate(clips)]
    bank, recording = embeddings[:40].astype(float), np.arange(40) % 10
    apart = np.linalg.norm(bank[:, None] - bank, axis=2) + 1e9 * (recording[:, None] == recording)
    scores, quarter = apart.min(axis=1), 1 / 4
    # At 2 / 11 one recording's worth of clips may lie above; at 1 / 11 none.
    for rate, above in ((1 / 11, 0.0), (2 / 11, 1.0)):
        limit = min(value for value in scores if quarter * (scores > value).sum() <= above)
        found = scores_of(clips, embeddings, ConformalThreshold(rate + 1e-9))
        assert [one.threshold for one in found if one.machine == "fan"] == pytest.approx([limit] * 5)
    assert np.isnan([one.threshold for one in scores_of(clips, embeddings, ConformalThreshold(0.05))]).all()
    warn_of_too_few(clips, ConformalThreshold(0.05))
    assert "fan: 10 source-domain training recordings, and this threshold needs 19" in caplog.text


def test_a_machine_that_cannot_be_scored_is_named(two_machines):
    clips, embeddings = two_machines
    embeddings[50] = np.nan
    with pytest.raises(UserError, match="pump: training embeddings: 1 of 40 rows hold NaN"):
        scores_of(clips, embeddings)


def test_an_odd_training_clip_is_named(two_machines, caplog):
    clips, embeddings = two_machines
    scores_of(clips, embeddings)
    assert "further from the others" not in caplog.text
    embeddings[7] *= 200
    scores_of(clips, embeddings)
    assert (
        "fan: 1 training clip(s) over 20 times further from the others than is usual, such as train_7.wav"
        in caplog.text
    )


def test_a_warning_of_the_threshold_names_the_machine(two_machines, caplog):
    """Of clips that are all the same, no gamma distribution can be fitted."""
    clips, embeddings = two_machines
    embeddings[45:] = embeddings[45]
    scores_of(clips, embeddings, GammaThreshold())
    told = [message for message in caplog.messages if "no gamma distribution" in message]
    assert [message.split(" fits")[0] for message in told] == ["pump: no gamma distribution"]


def test_a_machine_without_a_bank_is_left_out_and_said(two_machines, caplog):
    clips, embeddings = two_machines
    kept = [row for row, clip in enumerate(clips) if clip.machine == "fan" or clip.split == "test"]
    scores = scores_of([clips[row] for row in kept], embeddings[kept])
    assert {score.machine for score in scores} == {"fan"}
    assert "pump: no normal training clips" in caplog.text
