import numpy as np
import pytest
from scipy.spatial.distance import cdist

from asd_lightning.selection.normals import Bank, Normals
from asd_lightning.selection.pseudo_outliers import domain_balance, pseudo_scores


def normals(clips=24, target=6, dim=5, seed=0, attributes=("a", "b", "c")):
    rng = np.random.default_rng(seed)
    is_target = np.arange(clips) >= clips - target
    attribute = tuple(attributes[row % len(attributes)] for row in range(clips))
    # Two clips of each recording.
    return Normals(rng.normal(size=(clips, dim)) + 1 + is_target[:, None], is_target, attribute, np.arange(clips) // 2)


def distances(queries, bank):
    return 0.5 * cdist(queries, bank, "cosine")


def naive(queries, bank, density=None, kin=None):
    found = distances(queries, bank)
    if density is not None:
        found = found / density
    if kin is not None:
        found = np.where(kin, np.inf, found)
    return np.log(found.min(axis=1))


def naive_density(own):
    found = distances(own.embeddings, own.embeddings)
    found[own.recording[:, None] == own.recording] = np.inf
    return np.sort(found, axis=1)[:, :2].mean(axis=1)


@pytest.mark.parametrize("score", ["nearest", "ldn"])
def test_scores_against_a_loop(score):
    own, others = normals(), np.random.default_rng(1).normal(size=(7, 5))
    density = naive_density(own) if score == "ldn" else None
    bank = Bank(own, score)
    kin = own.recording[:, None] == own.recording
    np.testing.assert_allclose(bank.left_out(), naive(own.embeddings, own.embeddings, density, kin), rtol=1e-9)
    np.testing.assert_allclose(bank.score(others), naive(others, own.embeddings, density), rtol=1e-9)


def test_groups_are_scored_by_a_bank_without_them():
    own, others = normals(), np.random.default_rng(1).normal(size=(7, 5))
    scores = pseudo_scores(own, others)
    assert list(scores.outlier) == ["feature", "cross-class", "cross-domain", "cross-attribute"]
    np.testing.assert_allclose(scores.outlier["cross-class"], naive(others, own.embeddings), rtol=1e-9)
    target = own.is_target
    expected = naive(own.embeddings[target], own.embeddings[~target])
    np.testing.assert_allclose(scores.outlier["cross-domain"], expected, rtol=1e-9)
    names = np.array(own.attribute)
    expected = [naive(own.embeddings[names == name], own.embeddings[names != name]) for name in "abc"]
    np.testing.assert_allclose(scores.outlier["cross-attribute"], np.concatenate(expected), rtol=1e-9)
    assert len(scores.diverse()) == 24 + 7 + 6 + 24


def test_features_are_drawn_each_by_itself():
    own = normals()
    scores = pseudo_scores(own, own.embeddings[:0], seed=3)
    rows = np.random.default_rng(3).integers(24, size=(24, 5))
    drawn = np.array([[own.embeddings[rows[i, j], j] for j in range(5)] for i in range(24)])
    np.testing.assert_allclose(scores.outlier["feature"], naive(drawn, own.embeddings), rtol=1e-9)
    assert "cross-class" not in scores.outlier


def test_what_is_not_known_makes_no_stand_ins():
    own = normals(target=0, attributes=("",))
    assert list(pseudo_scores(own, own.embeddings[:0]).outlier) == ["feature"]
    # More than half is the machine itself.
    own = normals(target=18, attributes=("a",))
    assert list(pseudo_scores(own, own.embeddings[:0]).outlier) == ["feature", "cross-domain"]
    assert len(pseudo_scores(own, own.embeddings[:0]).outlier["cross-domain"]) == 6


def test_domain_balance():
    """Source and target alike are near each other; a target that lies apart is not."""
    rng = np.random.default_rng(0)
    is_target = np.arange(60) >= 40
    one = Normals(rng.normal(size=(60, 8)), is_target, ("",) * 60, np.arange(60))
    assert 0 < domain_balance(one) < 0.5
    near = np.where(is_target[:, None], one.embeddings, 5 + 0.1 * one.embeddings)
    assert domain_balance(Normals(near, is_target, ("",) * 60, np.arange(60))) == 1.0
    few = Normals(one.embeddings, np.arange(60) >= 57, ("",) * 60, np.arange(60))
    assert np.isnan(domain_balance(few))
    # Two clips of one recording are one.
    pairs = Normals(one.embeddings, np.arange(60) >= 54, ("",) * 60, np.arange(60) // 2)
    assert np.isnan(domain_balance(pairs))
