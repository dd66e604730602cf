"""`Detector`: in the manner of scikit-learn, the same from its file, and thresholds that keep what is promised."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.base import clone

from asd_lightning import Detector
from asd_lightning.detector.enrolment import learning_curve
from asd_lightning.errors import UserError
from tests.detector.sounds import RATE, hum, whine, write, write_normal

NORMAL = [hum(number) for number in range(30)]


@pytest.fixture(scope="module")
def fitted():
    return Detector(clip_seconds=1.0, sounds=2).fit(NORMAL)


def test_it_is_an_outlier_detector_of_scikit_learns_kind(fitted):
    queries = [*(hum(number) for number in range(50, 54)), *(whine(number) for number in range(4))]
    scores = fitted.score_samples(queries)
    assert scores.shape == (8,)
    assert scores[4:].max() < scores[:4].min()
    np.testing.assert_array_equal(fitted.predict(queries)[4:], -1)
    np.testing.assert_array_equal(fitted.predict(queries) == -1, fitted.decision_function(queries) < 0)
    threshold = fitted.machines_["machine"].promise.warning
    np.testing.assert_allclose(fitted.decision_function(queries), scores + threshold)
    judged = fitted.judge(queries)
    np.testing.assert_array_equal([-one.score for one in judged], scores)
    np.testing.assert_array_equal(fitted.score_samples(np.stack(queries)), scores)


def test_it_is_cloned_and_set_as_estimators_are(fitted):
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    with pytest.raises(UserError, match="not fitted"):
        copied.predict(NORMAL)
    assert copied.set_params(false_alarms=0.2).fit(NORMAL).machines_["machine"].promise.rate == 0.2
    with pytest.raises(UserError, match="nonsense"):
        copied.set_params(nonsense=1)


def test_threads_share_a_detector_that_was_just_read(fitted, tmp_path):
    path = fitted.save(tmp_path / "x.asd")
    wanted = fitted.score_samples(NORMAL[:8])
    shared = Detector.load(path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: shared.score_samples([one])[0], NORMAL[:8]))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9)


def test_it_is_the_same_from_its_file(fitted, tmp_path):
    queries = [hum(60), whine(60), np.zeros(RATE, np.float32)]
    first = fitted.judge(queries)
    path = fitted.save(tmp_path / "x.asd")
    read = Detector.load(path)
    assert repr(read.judge(queries)) == repr(first)
    assert read.save(tmp_path / "y.asd").read_bytes() == path.read_bytes()
    assert not any(isinstance(value, bytes) and value[:1] == b"\x80" for value in [path.read_bytes()])
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(path.read_bytes())


def left_by(bank, query):
    """What the directions with 95 % of the bank's variance leave of a clip: from the covariance's eigenvectors."""
    unit = bank.std(axis=0) + 0.001
    value, vector = np.linalg.eigh(np.cov((bank - bank.mean(axis=0)) / unit, rowvar=False))
    value, vector = value[::-1], vector[:, ::-1]
    kept = next(n for n in range(1, len(value) + 1) if value[:n].sum() >= 0.95 * value.sum())
    there = (query - bank.mean(axis=0)) / unit
    return np.sqrt(there @ there - np.square(there @ vector[:, :kept]).sum())


def test_left_out_scores_and_thresholds_are_those_of_a_plain_loop():
    """What the main directions of the other recordings leave, three clips to each; ranks by counting."""
    groups = [number // 3 for number in range(30)]
    detector = Detector(clip_seconds=1.0, false_alarms=0.2, sounds=0).fit(NORMAL, groups=groups)
    machine = detector.machines_["machine"]
    embeddings = machine.bank.embeddings.astype(np.float64)
    left_out = [
        left_by(embeddings[[other for other in range(30) if groups[other] != groups[row]]], embeddings[row])
        for row in range(30)
    ]
    np.testing.assert_allclose(machine.normal.scores, np.sort(left_out), rtol=1e-6)
    assert machine.normal.recordings == 10
    # Of 10 recordings, shares above the threshold may add up to 0.2 * 11 - 1.
    shares = {t: sum(sum(left_out[3 * g + i] > t for i in range(3)) / 3 for g in range(10)) for t in left_out}
    wanted = min(t for t in left_out if shares[t] <= 0.2 * 11 - 1 + 1e-9)
    assert machine.promise.warning == pytest.approx(wanted, rel=1e-6)
    query = whine(7)
    judged = detector.judge([query])[0]
    assert judged.p_value == pytest.approx(1 / 11)
    assert judged.score > machine.promise.warning


def test_whole_numbers_are_no_waveform(fitted, unchecked):
    with pytest.raises(UserError, match=r"samples in \[-1, 1\] are needed, not int16"):
        fitted.judge([np.zeros(16_000, np.int16)])


def test_without_a_rate_the_smallest_possible_is_promised_and_a_smaller_one_is_refused(fitted):
    assert fitted.machines_["machine"].promise.rate == pytest.approx(1 / 31)
    with pytest.raises(UserError, match=r"lowest possible is 1 / 31"):
        Detector(clip_seconds=1.0, false_alarms=0.01).fit(NORMAL)


def test_one_long_recording_is_cut_into_blocks_of_time(tmp_path):
    """The score of a block is by a bank without it and its neighbors: here by a loop over the windows."""
    path = write(tmp_path / "pump/normal/hour.wav", hum(0, seconds=60.0))
    detector = Detector(clip_seconds=1.0, machine="machine", sounds=0).fit(path)
    assert Detector().name_of(path) == "pump"
    machine = detector.machines_["machine"]
    assert [one.count for one in machine.bank.blocking] == [20]
    assert machine.normal.recordings == 20
    assert detector.learnt_.blocks
    embeddings = machine.bank.embeddings.astype(np.float64)
    left_out = []
    for row in range(60):
        block = row // 3
        # Windows of 1 s, a gap of 1 s: one window before the block and one after it are left out too.
        bank = [other for other in range(60) if other < 3 * block - 1 or other > 3 * block + 3]
        left_out.append(left_by(embeddings[bank], embeddings[row]))
    np.testing.assert_allclose(machine.normal.scores, np.sort(left_out), rtol=1e-6)


def test_a_long_recording_is_judged_by_its_loudest_window(fitted):
    waveform = np.concatenate([hum(70, 3.0), whine(71), hum(72, 2.5)])
    judged = fitted.judge([waveform])[0]
    assert judged.decision in ("warning", "alarm")
    starts = [window.start for window in judged.windows]
    assert starts == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 5.5]
    assert all(window.end - window.start == pytest.approx(1.0) for window in judged.windows)
    assert max(judged.windows, key=lambda window: window.score).start == 3.0
    assert judged.score == max(window.score for window in judged.windows)


def test_the_nearest_is_the_clip_itself(fitted):
    nearest = [one.nearest.recording for one in fitted.judge(NORMAL[:3])]
    assert nearest == ["0", "1", "2"]


def test_an_embedding_that_cannot_be_compared_stops_no_other(fitted, monkeypatch):
    machine = fitted.machines_["machine"]
    scored = machine.scorer.anomaly_score

    def refused(embeddings):
        if np.isnan(embeddings).any():
            raise UserError("NaN")
        return scored(embeddings)

    heard = fitted.hearing_.embed

    def with_nan(*arguments):
        found = heard(*arguments)
        found.embeddings[1] = np.nan
        return found

    monkeypatch.setattr(machine.scorer, "anomaly_score", refused)
    monkeypatch.setattr(type(fitted.hearing_), "embed", lambda _, *arguments: with_nan(*arguments))
    judged = fitted.judge(NORMAL[:3])
    assert [one.decision for one in judged] == ["normal", "cannot judge", "normal"]
    assert "cannot be compared" in judged[1].health[0]


def test_a_machine_that_does_not_always_run_is_not_called_normal_when_it_stands_still():
    """Clips without it are left out of the bank; of a part that runs, that part is judged."""
    still = [np.random.default_rng(number).normal(scale=2e-4, size=RATE).astype(np.float32) for number in range(5)]
    detector = Detector(clip_seconds=1.0).fit([*NORMAL[:15], *still[:4]])
    assert len(detector.learnt_.still) == 4
    assert len(detector.machines_["machine"].bank.items) == 15
    mixed = np.concatenate([still[4], hum(80)])
    decisions = [one.decision for one in detector.judge([still[4], hum(81), mixed])]
    assert decisions == ["not running", "normal", "normal"]


def test_what_cannot_be_heard_is_not_called_normal(fitted, tmp_path):
    (tmp_path / "text.wav").write_bytes(b"no sound")
    judged = fitted.judge([tmp_path / "text.wav", write(tmp_path / "dead.wav", np.zeros(RATE))])
    assert [one.decision for one in judged] == ["cannot judge", "cannot judge"]
    assert math.isnan(judged[0].score)
    assert "text.wav" in judged[0].health[0]
    assert judged[1].health


def test_recordings_that_are_of_no_use_are_named_and_left_out(tmp_path):
    folder = write_normal(tmp_path / "fan/normal", 12)
    write(folder / "dead.wav", np.zeros(RATE))
    write(folder / "twin.wav", hum(3))
    write(folder / "odd.wav", whine(5))
    assert "odd.wav" in Detector(clip_seconds=1.0).fit(folder).learnt_.unlike
    # By far the loudest: beside it the odd one is nothing.
    write(folder / "loud.wav", np.clip(40 * hum(6), -1, 1))
    (folder / "broken.wav").write_bytes(b"RIFF")
    detector = Detector(clip_seconds=1.0).fit(folder)
    learnt = detector.learnt_
    assert learnt.machine == "fan"
    assert learnt.silent == ("dead.wav",)
    assert learnt.duplicates == ("twin.wav",)
    assert learnt.clipped == ("loud.wav",)
    assert set(learnt.unusable) == {"broken.wav"}
    assert learnt.unlike == ("loud.wav",)
    assert {item.file for item in detector.machines_["fan"].bank.items}.isdisjoint(["dead.wav", "twin.wav"])


def test_of_a_machines_folder_the_normal_sound_is_taken(pump, tmp_path):
    detector = Detector(clip_seconds=1.0, sounds=0).fit(pump / "pump")
    assert detector.learnt_.machine == "pump"
    assert detector.learnt_.clips == 30
    with pytest.raises(UserError, match="no recordings in it"):
        Detector().fit(tmp_path)


def test_clips_of_one_recording_are_left_out_together(tmp_path):
    folder = write_normal(tmp_path / "pump/normal", 12)
    rows = "".join(f"clip_{number:03}.wav,day{number // 2}\n" for number in range(12))
    (tmp_path / "table.csv").write_text(f"file,recording\n{rows}")
    detector = Detector(clip_seconds=1.0, recordings=tmp_path / "table.csv").fit(folder)
    assert detector.machines_["pump"].normal.recordings == 6
    (tmp_path / "pump/recordings.csv").write_text(f"file,recording\n{rows}")
    assert Detector(clip_seconds=1.0).fit(folder).machines_["pump"].normal.recordings == 6


def test_the_learning_curve_falls_until_all_has_been_heard(fitted):
    machine = fitted.machines_["machine"]
    points, settled = learning_curve(machine.bank, machine.maker, fitted.hearing_)
    assert [count for count, _ in points] == [6, 11, 22]
    assert points[0][1] >= points[1][1] >= points[2][1]
    assert isinstance(settled, bool)
    few = Detector(clip_seconds=1.0).fit(NORMAL[:7])
    assert few.learnt_.settled is None


@pytest.mark.parametrize("bad", [[np.zeros((2, 3), np.float32)], [np.full(9, np.nan, np.float32)]])
def test_waveforms_that_are_none_are_refused(bad, unchecked):
    with pytest.raises(UserError, match="waveform 0"):
        Detector().fit(bad)
