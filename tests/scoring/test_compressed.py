"""Banks of limited size: what is chosen, what it does to scores, and what left-out scores see."""

from functools import partial
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from asd_lightning.errors import UserError
from asd_lightning.scoring import compressed
from asd_lightning.scoring.compressed import CompressedScorer, k_center
from asd_lightning.scoring.fitted import FittedMachine, read_fitted, write_fitted
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.normal_scores import NormalScores
from asd_lightning.scoring.protocol import ScorerState
from asd_lightning.scoring.union import ResidualScorer
from tests.scoring.clips import machine

PLAIN = partial(KNNScorer, metric="euclidean", smote=None)


def naive_k_center(items, size):
    """The definition, with all distances measured."""
    distances = cdist(items, items)
    chosen = [int(np.argmin(np.linalg.norm(items - items.mean(axis=0), axis=1)))]
    while len(chosen) < size:
        to_nearest = [min(distances[row, one] for one in chosen) for row in range(len(items))]
        chosen.append(int(np.argmax(to_nearest)))
    return chosen


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_the_choice_is_that_of_a_slow_loop(size):
    items, _, _ = machine(seed=size, target=0)
    assert k_center(items, size).tolist() == naive_k_center(items, size)


def test_the_radius_is_at_most_twice_the_smallest_possible():
    items = np.random.default_rng(3).normal(size=(12, 2))
    distances = cdist(items, items)
    best = min(distances[:, list(some)].min(axis=1).max() for some in combinations(range(12), 3))
    assert best <= distances[:, k_center(items, 3)].min(axis=1).max() <= 2 * best


def test_twins_are_chosen_once():
    items = np.repeat(np.random.default_rng(0).normal(size=(5, 3)) + 1e3, 4, axis=0)
    assert len(np.unique(items[k_center(items, 5)], axis=0)) == 5
    assert len(set(k_center(items, 20).tolist())) == 20


def plain_k_center(items, size):
    """All items measured by differences after each pick; of equally far ones the first."""
    chosen = [int(np.argmin(np.square(items - items.mean(axis=0)).sum(axis=1)))]
    squared = np.full(len(items), np.inf)
    while len(chosen) < size:
        squared = np.minimum(squared, np.square(items - items[chosen[-1]]).sum(axis=1))
        squared[chosen] = -1
        chosen.append(int(np.argmax(squared)))
    return chosen


KINDS_OF_ITEMS = {
    "noise": lambda draw: draw.normal(size=(700, 8)),
    "groups": lambda draw: 50 * draw.normal(size=(9, 5))[draw.integers(0, 9, 700)] + draw.normal(size=(700, 5)),
    "groups so far apart that rounding counts": lambda draw: (
        1e8 * draw.normal(size=(9, 5))[draw.integers(0, 9, 700)] + draw.normal(size=(700, 5))
    ),
    "ties": lambda draw: draw.integers(0, 4, size=(700, 3)) + 100.0,
    "equally far": lambda draw: np.eye(600),
    "twins": lambda draw: np.repeat(draw.normal(size=(35, 4)) + 1e3, 20, axis=0)[draw.permutation(700)],
    "all the same": lambda draw: np.full((600, 2), 0.1),
}


@pytest.mark.parametrize("kind", KINDS_OF_ITEMS)
@pytest.mark.parametrize(("at_a_time", "choices"), [(512, 128), (20, 7), (1, 50)])
def test_items_that_wait_change_no_choice(kind, at_a_time, choices, monkeypatch):
    monkeypatch.setattr(compressed, "_AT_A_TIME", at_a_time)
    monkeypatch.setattr(compressed, "_CHOICES_AT_A_TIME", choices)
    items = KINDS_OF_ITEMS[kind](np.random.default_rng(5))
    assert k_center(items, 150).tolist() == plain_k_center(items, 150)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_items_of_few_digits_are_chosen_as_in_many(dtype):
    draw = np.random.default_rng(5)
    groups = 3000 * draw.normal(size=(9, 5))[draw.integers(0, 9, 700)]
    items = (groups + draw.normal(size=groups.shape)).astype(dtype)
    assert k_center(items, 150).tolist() == plain_k_center(items.astype(np.float64), 150)


def test_few_items_are_measured_after_each_pick(monkeypatch):
    measured = []
    compare = compressed._Distances._compare

    def counted(self, rows, choices):
        measured.append(len(rows) * len(choices))
        compare(self, rows, choices)

    monkeypatch.setattr(compressed._Distances, "_compare", counted)
    k_center(np.random.default_rng(0).normal(size=(8000, 4)), 400)
    assert sum(measured) < 0.75 * 8000 * 400


def test_no_score_falls_and_none_rises_by_more_than_the_radius():
    clips, is_target, queries = machine()
    scorer = CompressedScorer(PLAIN, 20, standardize=False).fit(clips, is_target)
    full, compressed = PLAIN().fit(clips, is_target).anomaly_score(queries), scorer.anomaly_score(queries)
    rows = scorer.kept.rows
    radius = max(cdist(clips[own], clips[rows[is_target[rows] == flag]]).min(axis=1).max()
                 for flag, own in ((False, ~is_target), (True, is_target)))  # fmt: skip
    assert scorer.kept.radius == pytest.approx(radius, rel=1e-12)
    assert (compressed >= full).all()
    assert (compressed > full).any()
    assert (compressed <= full + radius).all()


@pytest.mark.parametrize(("size", "target"), [(20, 8), (10, 5), (64, 8), (6, 3)])
def test_each_domain_fills_half_of_the_bank_at_most(size, target):
    clips, is_target, _ = machine()
    rows = CompressedScorer(PLAIN, size).fit(clips, is_target).kept.rows
    assert (len(rows), is_target[rows].sum()) == (size, target)


@pytest.mark.parametrize("make", [PLAIN, KNNScorer, ResidualScorer])
def test_a_bank_that_is_small_enough_is_left_as_it_is(make):
    clips, is_target, queries = machine()
    one, full = CompressedScorer(make, 68).fit(clips, is_target), make().fit(clips, is_target)
    np.testing.assert_array_equal(one.anomaly_score(queries), full.anomaly_score(queries))


@pytest.mark.parametrize(("metric", "standardize"), [("euclidean", True), ("cosine", False)])
def test_left_out_recordings_have_no_part_in_the_choice(metric, standardize):
    clips, is_target, _ = machine(source=18, target=6)
    recording = np.arange(24) // 3 % 8
    is_target = recording >= 6
    scorer = CompressedScorer(PLAIN, 8, metric, standardize, folds=99).fit_recordings(clips, is_target, recording)
    expected = np.empty(24)
    for out in range(8):
        held = recording == out
        others, domain = clips[~held], is_target[~held]
        seen = (others - others.mean(axis=0)) / others.std(axis=0) if standardize else others
        seen = seen / np.linalg.norm(seen, axis=1, keepdims=True) if metric == "cosine" else seen
        halves = [np.flatnonzero(domain == flag)[naive_k_center(seen[domain == flag], 4)] for flag in (False, True)]
        rows = np.concatenate(halves) if (domain.sum() >= 4) else None
        if rows is None:  # three target clips are all kept
            target = np.flatnonzero(domain)
            source = np.flatnonzero(~domain)
            rows = np.concatenate([source[naive_k_center(seen[source], 5)], target])
        expected[held] = cdist(clips[held], others[rows]).min(axis=1)
    np.testing.assert_allclose(scorer.leave_one_out_scores(), expected, rtol=1e-12)


@pytest.mark.usefixtures("unchecked")
def test_a_promise_holds_with_a_compressed_bank():
    """New recordings are compared with the smaller bank, and so are the left-out ones: the rate is kept on average."""
    rng = np.random.default_rng(0)
    rate, shares = 0.1, []
    for _ in range(40):
        centers = rng.normal(size=(79, 1, 4))
        clips = (centers + 0.3 * rng.normal(size=(79, 3, 4))).reshape(-1, 4)
        known, new = clips[:57], clips[57:]
        scorer = CompressedScorer(PLAIN, 15, folds=19)
        scorer.fit_recordings(known, np.zeros(57, bool), np.arange(57) // 3)
        normal = NormalScores.fit(scorer.leave_one_out_scores(), np.arange(57) // 3)
        shares.append(np.mean(scorer.anomaly_score(new) > normal.threshold(rate)))
    deviation = np.std(shares) / np.sqrt(len(shares))
    assert np.mean(shares) <= rate + 3 * deviation
    assert np.mean(shares) > 0.3 * rate


def test_it_is_kept_without_the_clips_that_are_not_in_the_bank(tmp_path):
    clips, is_target, queries = machine()
    scorer = CompressedScorer(PLAIN, 12).fit(clips, is_target)
    key = ("pump", "00")
    assert write_fitted(tmp_path / "f", {key: FittedMachine(scorer, 1.0, "", np.ones(2))}, {}) == []
    again = read_fitted(tmp_path / "f")[0][key]
    np.testing.assert_array_equal(again.anomaly_score(queries), scorer.anomaly_score(queries))
    arrays = scorer.state().arrays
    assert len(arrays["bank/source"]) + len(arrays["bank/target"]) == 12


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("options", [{"size": 1}, {"size": 5, "metric": "manhattan"}, {"size": 5, "folds": 1}])
def test_settings_out_of_range(options):
    with pytest.raises(UserError):
        CompressedScorer(PLAIN, **options)


def test_a_state_without_its_bank_is_refused():
    scorer = CompressedScorer(PLAIN, 12).fit(*machine()[:2])
    options, arrays = scorer.state()
    options["parts"] = {"other": options["parts"]["bank"]}
    with pytest.raises(UserError):
        CompressedScorer.from_state(
            ScorerState(options, {f"other{k.removeprefix('bank')}": v for k, v in arrays.items()})
        )
