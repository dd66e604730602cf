"""What is fitted to a machine: kept and read again, and the one place where a score becomes a decision."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError
from asd_lightning.scoring.combined import CombinedScorer
from asd_lightning.scoring.domains import DomainScorer
from asd_lightning.scoring.fitted import FittedMachine, read_fitted, write_fitted
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.held_out import scores_without_group
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.machines import fit_machines, score_clips
from asd_lightning.scoring.thresholds import ConformalThreshold, GammaThreshold, QuantileThreshold
from tests.scoring.clips import machine
from tests.scoring.test_back_ends import BACK_ENDS

KEY = ("pump", "00")


def fitted_machine(name="knn", threshold=0.5):
    clips, is_target, _ = machine(dtype=np.float32)
    scorer = BACK_ENDS[name]().fit(clips.astype(np.float64), is_target)
    return FittedMachine(scorer, threshold, "", np.array([0.1, 0.2]))


@pytest.mark.parametrize("name", BACK_ENDS)
def test_what_is_kept_scores_to_the_last_bit(tmp_path, name):
    path = tmp_path / "fitted.safetensors"
    before = fitted_machine(name, threshold=0.1 + 0.2)
    assert write_fitted(path, {KEY: before}, {"of": "a test"}) == []
    machines, about = read_fitted(path)
    after = machines[KEY]
    assert about == {"of": "a test"}
    _, _, queries = machine(dtype=np.float32)
    np.testing.assert_array_equal(after.anomaly_score(queries), before.anomaly_score(queries))
    assert (after.threshold, after.undecided) == (before.threshold, "")
    np.testing.assert_array_equal(after.training_scores, before.training_scores)


def test_a_back_end_of_ones_own_is_left_out_and_named(tmp_path):
    class Own(KNNScorer):
        pass

    own = FittedMachine(Own().fit(np.eye(3), np.zeros(3, bool)), math.nan, "why", np.empty(0))
    assert write_fitted(tmp_path / "f", {KEY: own, ("fan", "00"): fitted_machine()}, {}) == ["pump"]
    assert list(read_fitted(tmp_path / "f")[0]) == [("fan", "00")]


def test_a_back_end_made_of_ones_own_is_left_out_too(tmp_path):
    class Own(KNNScorer):
        pass

    clips, is_target, _ = machine()
    for scorer in (CombinedScorer({"own": Own}), CombinedScorer({"a": partial(DomainScorer, Own)}), DomainScorer(Own)):
        fitted = FittedMachine(scorer.fit(clips, is_target), 0.5, "", np.empty(0))
        assert write_fitted(tmp_path / "f", {KEY: fitted}, {}) == ["pump"]
    nested = CombinedScorer({"a": lambda: CombinedScorer({"b": KNNScorer})}).fit(clips, is_target)
    assert write_fitted(tmp_path / "f", {KEY: FittedMachine(nested, 0.5, "", np.empty(0))}, {}) == ["pump"]


def test_a_file_of_before_scores_as_it_did(tmp_path, unchecked):
    """It calls the z-score of each domain by another method's name."""
    path = tmp_path / "fitted.safetensors"
    before = fitted_machine("domain_z")
    write_fitted(path, {KEY: before}, {})
    edited(path, lambda content, _: row(content)["options"].update(fusion="varmin"))
    _, _, queries = machine(dtype=np.float32)
    after = read_fitted(path)[0][KEY]
    np.testing.assert_array_equal(after.anomaly_score(queries), before.anomaly_score(queries))


def edited(path: Path, change) -> None:
    arrays = load_file(path)
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    content = json.loads(header["__metadata__"]["fitted"])
    change(content, arrays)
    save_file(arrays, path, {"fitted": json.dumps(content)})


def row(content):
    return content["machines"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, _: c.update(format=2), "format 2"),
        (lambda c, _: row(c).update(scorer="os.system"), "unknown back-end 'os.system'"),
        (lambda c, _: row(c).update(machine="../pump"), "must be a plain name"),
        (lambda c, _: row(c)["options"].update(k=0), "k=0"),
        (lambda c, _: row(c)["options"].update(surprise=1), "surprise"),
        (lambda c, _: row(c).update(threshold="high"), "high"),
        (lambda c, a: a.pop("0/source"), "array source"),
        (lambda c, a: a.update({"0/mean": np.zeros(3)}), "array deviation: its shape"),
        (lambda c, a: a.update({"0/source": a["0/source"][:, :2].copy()}), "array source: its shape"),
        (lambda c, a: a["0/target"].fill(np.nan), "array target: holds NaN"),
        (lambda c, a: a.update({"0/source": a["0/source"].astype(np.float32)}), "array source: float64"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "fitted.safetensors"
    write_fitted(path, {KEY: fitted_machine()}, {})
    edited(path, change)
    with pytest.raises(UserError, match=r"fitted\.safetensors: not readable as fitted machines \(.*") as caught:
        read_fitted(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff" * 8 + b"{}", b"\x02\0\0\0\0\0\0\0{}"])
def test_what_is_no_such_file_is_named(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(UserError, match="f: not readable as fitted machines"):
        read_fitted(tmp_path / "f")
    with pytest.raises(UserError, match="absent: no fitted machines there"):
        read_fitted(tmp_path / "absent")


def test_a_decision_is_strictly_above_the_threshold_and_none_without_one():
    decided, undecided = fitted_machine(threshold=1.0), fitted_machine(threshold=math.nan)
    assert [decided.decision(score) for score in (0.9, 1.0, np.nextafter(1, 2))] == [0, 0, 1]
    assert undecided.decision(1e9) is None


def windows_of(recordings: int, each: int, split: str = "train") -> list[Clip]:
    return [
        Clip(
            path=Path(f"{split}_{number}.wav"),
            machine="pump",
            name=f"{split}_{number}.wav#t={place}",
            file=f"{split}_{number}.wav",
            split=split,
            domain="source",
            condition="normal",
            start=float(place),
            seconds=1.0,
        )
        for number in range(recordings)
        for place in range(each)
    ]


def alike_within(recordings: int, each: int, seed: int = 0) -> np.ndarray:
    """Windows of one recording lie close together, recordings far apart: as in life."""
    rng = np.random.default_rng(seed)
    centers = np.repeat(rng.normal(size=(recordings, 6)), each, axis=0)
    return centers + 0.01 * rng.normal(size=centers.shape)


def test_a_recordings_score_is_its_largest_window_or_the_mean():
    clips = [*windows_of(10, 3), *windows_of(4, 3, "test")]
    embeddings = np.concatenate([alike_within(10, 3), alike_within(4, 3, seed=1)])
    reference, query = ((np.arange(30), embeddings[:30]), (np.arange(30, 42), embeddings[30:]))
    fitted = fit_machines(clips, reference, KNNScorer, QuantileThreshold())
    for reduction, reduced in (("max", np.max), ("mean", np.mean)):
        scores, windows = score_clips(clips, query, fitted, reduction)
        alone = np.array([window.anomaly_score for window in windows])
        np.testing.assert_array_equal(alone, fitted[KEY].anomaly_score(embeddings[30:]))
        np.testing.assert_allclose([score.anomaly_score for score in scores], reduced(alone.reshape(4, 3), axis=1))
        assert [score.file for score in scores] == [f"test_{number}.wav" for number in range(4)]
        assert [window.start for window in windows] == [0.0, 1.0, 2.0] * 4


def test_training_scores_leave_out_all_that_was_cut_from_the_recording():
    clips, embeddings = windows_of(12, 3), alike_within(12, 3)
    fitted = fit_machines(clips, (np.arange(36), embeddings), KNNScorer, QuantileThreshold(0.5))[KEY]
    expected = []
    for number in range(12):
        own = np.arange(36) // 3 == number
        scorer = KNNScorer().fit(embeddings[~own], np.zeros(33, bool))
        expected.append(scorer.anomaly_score(embeddings[own]).max())
    np.testing.assert_array_equal(fitted.training_scores, expected)
    assert fitted.threshold == np.quantile(expected, 0.5)
    # What it would be with a recording's own windows in the bank: next to nothing.
    assert np.median(KNNScorer().fit(embeddings, np.zeros(36, bool)).leave_one_out_scores()) < fitted.threshold / 100


def test_back_ends_that_compare_clips_hear_of_their_recordings():
    clips, embeddings = windows_of(30, 3), alike_within(30, 3)
    is_target, recording = np.zeros(90, bool), np.arange(90) // 3
    make = partial(GridScorer, rescale="ratio", alpha=1, neighbors=2)
    fitted = fit_machines(clips, (np.arange(90), embeddings), make, QuantileThreshold(0.5))[KEY]
    expected = make().fit_recordings(embeddings, is_target, recording)
    np.testing.assert_array_equal(fitted.anomaly_score(embeddings), expected.anomaly_score(embeddings))
    left_out = expected.leave_one_out_scores().reshape(30, 3).max(axis=1)
    np.testing.assert_array_equal(fitted.training_scores, left_out)


@pytest.mark.parametrize("groups", [150, 2])
def test_no_clip_is_scored_by_a_back_end_that_saw_its_group(groups):
    fits = []

    class Recorder:
        def fit(self, embeddings, is_target):
            self.seen = set(embeddings[:, 1])
            fits.append(self)
            return self

        def anomaly_score(self, embeddings):
            return np.array([float(group in self.seen) for group in embeddings[:, 1]])

        def leave_one_out_scores(self):
            raise NotImplementedError

    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat(np.arange(groups), 3))
    embeddings = np.stack([np.arange(float(len(group))), group.astype(float)], axis=1)
    scores = scores_without_group(Recorder, embeddings, group % 7 == 0, group)
    np.testing.assert_array_equal(scores, np.zeros(len(group)))
    assert len(fits) == min(groups, 100)


def test_a_single_recording_gives_scores_and_no_decisions(caplog):
    clips, embeddings = windows_of(1, 5), alike_within(1, 5)
    reference = (np.arange(5), embeddings)
    fitted = fit_machines(clips, reference, KNNScorer, GammaThreshold())
    assert "pump: no decisions: there is one training recording" in caplog.text
    scores, _ = score_clips(clips, reference, fitted)
    assert [score.decision for score in scores] == [None]
    assert np.isfinite(scores[0].anomaly_score)


def test_a_rule_that_cannot_be_kept_gives_scores_and_no_decisions(caplog):
    clips, embeddings = windows_of(5, 1), alike_within(5, 1)
    fitted = fit_machines(clips, (np.arange(5), embeddings), KNNScorer, ConformalThreshold(0.1))
    assert "pump: no decisions: false_alarm_rate=0.1 cannot be promised with 5" in caplog.text
    assert math.isnan(fitted[KEY].threshold)
    assert len(fitted[KEY].training_scores) == 5
