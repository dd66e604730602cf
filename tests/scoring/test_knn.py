import logging

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imblearn.over_sampling import SMOTE
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler, normalize

from asd_lightning.errors import UserError
from asd_lightning.older_names import _say_once, of_today
from asd_lightning.scoring import neighbors
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.smote import Smote
from tests.scoring.clips import machine


def knn(bank, queries, k, metric):
    distance, _ = (
        NearestNeighbors(n_neighbors=min(k, len(bank)), metric=metric, algorithm="brute").fit(bank).kneighbors(queries)
    )
    return distance


def imblearn_target(source, target, ratio=0.2, neighbors=3, seed=0):
    """The over-sampled target clips, by the library's own ratio on all clips."""
    x, y = np.concatenate([source, target]), np.repeat([0, 1], [len(source), len(target)])
    smote = SMOTE(sampling_strategy=ratio, k_neighbors=neighbors, random_state=seed)
    resampled, labels = smote.fit_resample(x, y)
    return resampled[labels == 1]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("standardize", [False, True])
def test_without_smote_agrees_with_scikit_learn(metric, k, standardize):
    clips, is_target, queries = machine()
    scorer = KNNScorer(k, metric, standardize=standardize, smote=None).fit(clips, is_target)
    if standardize:
        scaler = StandardScaler().fit(clips)
        clips, test = scaler.transform(clips), scaler.transform(queries)
    else:
        test = queries
    expected = np.minimum(
        knn(clips[~is_target], test, k, metric).mean(1), knn(clips[is_target], test, k, metric).mean(1)
    )
    np.testing.assert_allclose(scorer.anomaly_score(queries), expected, rtol=1e-9, atol=1e-12)
    pooled = KNNScorer(k, metric, "pooled", standardize, smote=None).fit(machine()[0], is_target).anomaly_score(queries)
    np.testing.assert_allclose(pooled, knn(clips, test, k, metric).mean(1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_method_with_smote_agrees_with_imbalanced_learn_on_the_sphere(seed):
    clips, is_target, queries = machine(source=990, target=10, dim=24)
    unit, test = normalize(clips), normalize(queries)
    bank = normalize(imblearn_target(unit[~is_target], unit[is_target], seed=seed))
    assert len(bank) == 198
    to_source, to_target = knn(unit[~is_target], test, 1, "cosine"), knn(bank, test, 1, "cosine")
    scores = KNNScorer(seed=seed).fit(clips, is_target).anomaly_score(queries)
    np.testing.assert_allclose(scores, np.minimum(to_source, to_target)[:, 0], rtol=1e-9, atol=1e-12)
    assert (to_target < to_source).any(), "no query is nearer to target: the test would not see the target bank"


def test_smote_between_raw_embeddings_under_the_euclidean_metric():
    clips, is_target, queries = machine()
    bank = imblearn_target(clips[~is_target], clips[is_target])
    expected = np.minimum(knn(clips[~is_target], queries, 1, "euclidean"), knn(bank, queries, 1, "euclidean"))[:, 0]
    scores = KNNScorer(metric="euclidean").fit(clips, is_target).anomaly_score(queries)
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def refitted(clips, is_target, options):
    """Leave-one-out by its definition: fit anew without each clip, and score it."""
    scores = []
    for i in range(len(clips)):
        rest = np.arange(len(clips)) != i
        scores.append(KNNScorer(**options).fit(clips[rest], is_target[rest]).anomaly_score(clips[i : i + 1])[0])
    return np.array(scores)


@pytest.mark.parametrize(
    "options",
    [
        {"smote": None},
        {"smote": None, "k": 3},
        {"smote": None, "k": 3, "fusion": "pooled", "metric": "euclidean"},
        {"smote": None, "local_density": 1},
        {"smote": None, "local_density": 3, "k": 2, "metric": "euclidean"},
        {"smote": None, "local_density": 2, "k": 2, "fusion": "pooled"},
        # 0.21 x 60 and 0.21 x 59 both make 12 target clips.
        {"smote": Smote(0.21, 3)},
        {"smote": Smote(0.21, 2), "fusion": "pooled", "k": 5},
        {"smote": Smote(0.21, 3), "metric": "euclidean", "local_density": 1},
    ],
)
def test_leave_one_out_is_fitting_anew_without_the_clip(options):
    clips, is_target, _ = machine(dtype=np.float32)
    scores = KNNScorer(**options).fit(clips, is_target).leave_one_out_scores()
    np.testing.assert_allclose(scores, refitted(clips, is_target, options), rtol=1e-9, atol=1e-12)


def test_leave_one_out_drops_the_clips_smote_made_from_the_clip():
    # Target clips far apart on a circle: what is made between two of them is much nearer to either than any other clip.
    angle = np.linspace(0, 1.5, 4)
    target = np.stack([np.cos(angle), np.sin(angle), np.zeros(4)], axis=1)
    source = np.array([0, 0, 1.0]) + 0.1 * np.random.default_rng(0).normal(size=(400, 3))
    clips, is_target = np.concatenate([source, target]), np.arange(404) >= 400
    scorer = KNNScorer(smote=Smote(0.2, 3)).fit(clips, is_target)
    scores = scorer.leave_one_out_scores()[is_target]
    # The outermost clip is outside the span of the others; its distance is that to its neighbour.
    assert scores[0] == pytest.approx(1 - np.cos(angle[1]), rel=1e-9)
    assert scores[3] == pytest.approx(1 - np.cos(angle[3] - angle[2]), rel=1e-9)


def test_local_density_by_its_definition():
    clips, is_target, queries = machine()
    scores = KNNScorer(smote=None, local_density=3).fit(clips, is_target).anomaly_score(queries)
    ratios = []
    for domain in (clips[~is_target], clips[is_target]):
        within = pairwise_distances(domain, metric="cosine")
        np.fill_diagonal(within, np.inf)
        local = np.sort(within, axis=1)[:, :3].mean(axis=1)
        ratios.append((pairwise_distances(queries, domain, metric="cosine") / local).min(axis=1))
    np.testing.assert_allclose(scores, np.min(ratios, axis=0), rtol=1e-9)


@pytest.mark.parametrize("smote", [None, Smote(0.21, 3)])
def test_domain_z_by_its_definition(smote):
    clips, is_target, queries = machine()
    scores = KNNScorer(fusion="domain_z", smote=smote).fit(clips, is_target).anomaly_score(queries)
    unit, test = normalize(clips), normalize(queries)
    source, target = unit[~is_target], unit[is_target]

    def bank_of(some):
        return some if smote is None else normalize(imblearn_target(source, some, 0.21))

    left_out_source = [knn(np.delete(source, i, 0), source[i : i + 1], 1, "cosine")[0, 0] for i in range(len(source))]
    left_out_target = [knn(bank_of(np.delete(target, i, 0)), target[i : i + 1], 1, "cosine")[0, 0] for i in range(8)]
    to_source = knn(source, test, 1, "cosine")[:, 0]
    to_target = knn(bank_of(target), test, 1, "cosine")[:, 0]
    expected = np.minimum(
        (to_source - np.mean(left_out_source)) / np.std(left_out_source),
        (to_target - np.mean(left_out_target)) / np.std(left_out_target),
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-9)


def test_the_old_name_of_domain_z_scores_as_before_and_says_so_once(caplog, unchecked):
    clips, is_target, queries = machine()
    _say_once.cache_clear()
    of_today = KNNScorer(fusion="domain_z").fit(clips, is_target)
    before = [KNNScorer(fusion="varmin").fit(clips, is_target) for _ in range(2)]
    assert caplog.text.count("fusion=varmin is called domain_z now and scores as before") == 1
    for scorer in before:
        np.testing.assert_array_equal(scorer.anomaly_score(queries), of_today.anomaly_score(queries))
        assert scorer.state().options["fusion"] == "domain_z"


def test_a_stored_configuration_has_the_fusions_name_of_today(caplog):
    """Without it a run could not go on: its record would differ from what is composed now."""
    _say_once.cache_clear()
    before = {"k": 1, "_target_": "asd_lightning.scoring.knn.KNNScorer", "fusion": "varmin"}
    stored = {"model": {"scorer": before, "other": {"_target_": "mine.Own", "fusion": "varmin"}}}
    for _ in range(2):
        model = of_today(stored)["model"]
    assert model == {"scorer": before | {"fusion": "domain_z"}, "other": stored["model"]["other"]}
    assert caplog.text.count("is called domain_z now and scores as before") == 1


@pytest.mark.parametrize(
    ("source", "target", "smote", "items", "said"),
    [
        (60, 0, Smote(), 0, "needs two target clips, there are 0"),
        (60, 1, Smote(), 1, "needs two target clips, there are 1"),
        (60, 2, Smote(), 12, "with 1 neighbour"),
        (60, 3, Smote(), 12, "with 2 neighbour"),
        (60, 4, Smote(), 12, "with 3 neighbour"),
        (60, 12, Smote(), 12, "already reach 0.2 x 60"),
        (60, 13, Smote(), 13, "already reach"),
        (64, 12, Smote(), 12, "already reach"),
        (65, 12, Smote(), 13, "1 made"),
        (0, 10, Smote(), 10, "already reach 0.2 x 0"),
        (60, 8, None, 8, "no SMOTE"),
    ],
)
def test_size_of_the_target_bank_and_what_the_log_says(source, target, smote, items, said, caplog):
    clips, is_target, queries = machine(source=source, target=target)
    with caplog.at_level(logging.INFO, logger="asd_lightning.scoring"):
        scorer = KNNScorer(smote=smote).fit(clips, is_target)
    assert f"bank of {source} source and {items} target items" in caplog.text
    assert said in caplog.text
    assert ("no target clips" in caplog.text) == (target == 0)
    assert ("no source clips" in caplog.text) == (source == 0)
    assert np.isfinite(scorer.anomaly_score(queries)).all()
    assert np.isfinite(scorer.leave_one_out_scores()).all()


@pytest.mark.parametrize("fusion", ["min", "pooled", "domain_z"])
@pytest.mark.parametrize("local_density", [None, 2])
@pytest.mark.parametrize(("source", "target"), [(30, 0), (0, 5), (1, 1), (2, 1), (1, 4), (2, 2), (30, 1), (30, 2)])
def test_few_clips_score_finite_numbers(source, target, fusion, local_density):
    clips, is_target, queries = machine(source=source, target=target)
    scorer = KNNScorer(k=2, fusion=fusion, local_density=local_density).fit(clips, is_target)
    assert np.isfinite(scorer.anomaly_score(queries)).all()
    assert np.isfinite(scorer.leave_one_out_scores()).all()
    assert scorer.leave_one_out_scores().shape == (source + target,)


@pytest.mark.parametrize("fusion", ["min", "pooled", "domain_z"])
@pytest.mark.parametrize("local_density", [None, 1])
def test_identical_training_clips_score_finite_numbers(fusion, local_density):
    clips = np.tile([[1.0, 2.0, 3.0]], (20, 1))
    scorer = KNNScorer(fusion=fusion, local_density=local_density).fit(clips, np.arange(20) >= 15)
    assert scorer.anomaly_score(clips[:1])[0] == pytest.approx(0, abs=1e-9)
    assert scorer.anomaly_score(np.array([[3.0, 2.0, 1.0]]))[0] > 0.1
    np.testing.assert_allclose(scorer.leave_one_out_scores(), 0, atol=1e-9)


def test_one_single_clip_scores_others_but_not_itself():
    scorer = KNNScorer().fit(np.ones((1, 3)), np.array([False]))
    assert scorer.anomaly_score(np.array([[1.0, 1.0, 1.0]]))[0] == pytest.approx(0, abs=1e-15)
    with pytest.raises(UserError, match="at least two"):
        scorer.leave_one_out_scores()


@given(length=st.floats(1e-30, 1e30), offset=st.floats(0, 1e6))
@settings(max_examples=25, deadline=None)
def test_a_training_clip_scores_zero_at_any_scale(length, offset):
    clips, is_target, _ = machine(source=20, target=4)
    cosine = KNNScorer().fit(clips, is_target)
    np.testing.assert_allclose(cosine.anomaly_score(length * clips), 0, atol=1e-12)
    euclidean = KNNScorer(metric="euclidean").fit(clips + offset, is_target)
    assert (euclidean.anomaly_score(clips + offset) == 0).all()


def test_blocks_of_queries_change_nothing(monkeypatch):
    clips, is_target, queries = machine()
    for options in ({}, {"local_density": 2, "smote": None}):
        whole = KNNScorer(**options).fit(clips, is_target)
        monkeypatch.setattr(neighbors, "BLOCK", 7)
        parts = KNNScorer(**options).fit(clips, is_target)
        np.testing.assert_allclose(parts.anomaly_score(queries), whole.anomaly_score(queries), rtol=1e-12)
        blocked = parts.leave_one_out_scores()
        monkeypatch.undo()
        np.testing.assert_allclose(blocked, whole.leave_one_out_scores(), rtol=1e-12)


def test_a_nearer_bank_item_never_raises_the_score():
    clips, is_target, queries = machine()
    before = KNNScorer(smote=None).fit(clips, is_target).anomaly_score(queries)
    more = np.concatenate([clips, queries[:1]])
    after = KNNScorer(smote=None).fit(more, np.append(is_target, False)).anomaly_score(queries)
    assert after[0] == 0 < before[0]
    assert (after <= before + 1e-12).all()


def test_wanting_more_neighbors_than_clips_is_said(caplog):
    clips, is_target, queries = machine(target=3)
    scores = KNNScorer(k=5, smote=None).fit(clips, is_target).anomaly_score(queries)
    assert "k=5 is more than a bank holds" in caplog.text
    expected = np.minimum(
        knn(clips[~is_target], queries, 5, "cosine").mean(1), knn(clips[is_target], queries, 5, "cosine").mean(1)
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


@pytest.mark.parametrize(
    "bad", [{"k": 0}, {"metric": "manhattan"}, {"fusion": "max"}, {"local_density": 0}], ids=lambda bad: next(iter(bad))
)
def test_bad_settings_are_named(bad, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as installed: the checks are for tests
    with pytest.raises(UserError, match=next(iter(bad))):
        KNNScorer(**bad)


@pytest.mark.parametrize("bad", [{"ratio": 0.0}, {"ratio": 1.5}, {"neighbors": 0}])
def test_bad_smote_settings_are_named(bad):
    with pytest.raises(UserError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        Smote(**bad)
