"""Scores of several systems as one, against scipy and the definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import percentileofscore, zmap

from asd_lightning.errors import UserError
from asd_lightning.scoring.fusion import METHODS, Scored, fuse_scores, ranks, z_scores

GOLDEN = (
    Scored(np.array([0.1, 0.2, 0.3, 0.2]), np.array([0.5, 0.25])),
    Scored(np.array([2.0, 3.0, 7.0, 4.0]), np.array([5.0, 9.0])),
)


def drawn(seed: int = 0, clips: int = 40, decimals: int = 8) -> list[Scored]:
    """Three systems of different units and shapes; some scores are below 0, few decimals make ties."""
    rng = np.random.default_rng(seed)
    left_out = rng.normal(size=(3, 30)).round(decimals), rng.normal(scale=2, size=(3, clips)).round(decimals)
    shapes = (np.asarray, np.exp, lambda x: 1e-3 * x**3)
    return [Scored(*(shape(kind[row]) for kind in left_out)) for row, shape in enumerate(shapes)]


def test_the_smallest_z_worked_out() -> None:
    np.testing.assert_allclose(fuse_scores(GOLDEN, "z_min").query, [0.534522, 0.707107], atol=6e-7)


def test_left_out_z_worked_out() -> None:
    """Of one system: distances .35 and .6 among the left-out scores of two domains."""
    source, target = np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.7, 0.9])
    assert fuse_scores([Scored(source, np.array([0.35]))]).query == pytest.approx([1.837117], abs=6e-7)
    assert fuse_scores([Scored(target, np.array([0.6]))]).query == pytest.approx([-0.612372], abs=6e-7)


@pytest.mark.parametrize("weights", [(), (0.5, 0.3, 0.2), (5.0, 3.0, 2.0)])
@pytest.mark.parametrize("which", [0, 1], ids=["left out", "test"])
def test_z_scores_and_their_mean_by_scipy(which: int, weights: tuple[float, ...]) -> None:
    parts = drawn()
    z = np.array([zmap(part[which], part.left_out) for part in parts])
    mean = fuse_scores(parts, "mean_z", weights)[which]
    np.testing.assert_allclose(mean, np.average(z, axis=0, weights=weights or None), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fuse_scores(parts, "z_min")[which], z.min(axis=0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("unit", [1e308, 5e-324])
def test_weights_of_any_size_are_shares(unit: float) -> None:
    found = fuse_scores(drawn(), "mean_z", (unit, unit, unit))
    np.testing.assert_allclose(found.query, fuse_scores(drawn()).query, rtol=1e-12)


@pytest.mark.parametrize("decimals", [0, 1, 8], ids=["many ties", "ties", "no ties"])
def test_a_training_score_has_its_mid_rank(decimals: int) -> None:
    for part in drawn(decimals=decimals):
        expected = [percentileofscore(part.left_out, score, kind="mean") / 100 for score in part.left_out]
        np.testing.assert_allclose(ranks(part.left_out, part.left_out), expected, rtol=1e-12)


@pytest.mark.parametrize("decimals", [1, 8], ids=["ties", "no ties"])
def test_ranks_between_and_beyond_by_a_loop(decimals: int) -> None:
    for part in drawn(decimals=decimals):
        for score, found in zip(part.query, ranks(part.query, part.left_out), strict=True):
            assert found == pytest.approx(rank(score, part.left_out), abs=1e-12)
        # Scores apart stay apart, and in order, far beyond the largest and below the smallest too.
        spread = np.ptp(part.left_out)
        line = np.linspace(part.left_out.min() - 50 * spread, part.left_out.max() + 50 * spread, 2001)
        found = ranks(line, part.left_out)
        assert (np.diff(found) > 0).all()
        assert found[0] > 0
        assert found[-1] < 1


def rank(score: float, left_out: np.ndarray) -> float:
    """One score by the definition."""
    below, above = left_out[left_out <= score], left_out[left_out >= score]
    unit = float(np.sqrt(np.mean((left_out - left_out.mean()) ** 2)))

    def mid(value: float) -> float:
        return (np.sum(left_out < value) + np.sum(left_out == value) / 2) / len(left_out)

    if not len(above):
        return 1 - (1 - mid(below.max())) / (1 + (score - below.max()) / unit)
    if not len(below):
        return mid(above.min()) / (1 + (above.min() - score) / unit)
    low, high = below.max(), above.min()
    return mid(low) if low == high else mid(low) + (score - low) / (high - low) * (mid(high) - mid(low))


@pytest.mark.parametrize("by", METHODS)
def test_no_clip_depends_on_another_to_the_bit(by: str) -> None:
    parts = drawn(clips=301)
    whole = fuse_scores(parts, by).query
    rng = np.random.default_rng(1)
    for rows in (rng.permutation(301), np.arange(301)[::7], np.repeat(np.arange(50), 9), np.array([17])):
        some = fuse_scores([Scored(part.left_out, part.query[rows]) for part in parts], by)
        assert (some.query == whole[rows]).all()
        assert (some.left_out == fuse_scores(parts, by).left_out).all()
    others = fuse_scores([Scored(part.left_out, np.append(part.query[:1], 1e6 * part.query[1:])) for part in parts], by)
    assert others.query[0] == whole[0]


@pytest.mark.parametrize("by", METHODS)
def test_a_systems_unit_and_the_order_of_systems_do_not_matter(by: str) -> None:
    parts = drawn()
    other = [Scored(7 * part.left_out - 3, 7 * part.query - 3) for part in parts]
    for changed in (other, parts[::-1]):
        np.testing.assert_allclose(fuse_scores(changed, by).query, fuse_scores(parts, by).query, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("by", METHODS)
def test_without_a_spread_a_system_has_no_say(by: str) -> None:
    still = Scored(np.full(30, 0.1), np.full(40, -1e9))
    with_it = fuse_scores([still, *drawn()], by, () if by == "z_min" else (9.0, 1.0, 2.0, 3.0))
    without = fuse_scores(drawn(), by, () if by == "z_min" else (1.0, 2.0, 3.0))
    assert (with_it.query == without.query).all()
    with pytest.raises(UserError, match="of no system have a spread"):
        fuse_scores([still, still], by)


def test_z_scores_are_of_the_population() -> None:
    assert z_scores(np.array([3.0]), np.array([0.0, 2.0])).tolist() == [2.0]
