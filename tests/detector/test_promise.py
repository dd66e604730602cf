"""The promise is kept: exactly where all orders are enumerated, and on average over draws of recordings."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asd_lightning.detector.promise import blocks, promise, share_bound
from asd_lightning.errors import UserError
from asd_lightning.scoring.normal_scores import NormalScores, fewest_recordings

RECORDINGS = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=4), min_size=2, max_size=6)


def fitted(recordings):
    recording = np.repeat(np.arange(len(recordings)), [len(clips) for clips in recordings])
    return NormalScores.fit(np.concatenate(recordings).astype(float), recording)


def share(clips, threshold):
    """Exact share of a recording's clips above the threshold."""
    return Fraction(sum(clip > threshold for clip in clips), len(clips))


@settings(max_examples=100, deadline=None)
@given(RECORDINGS, st.integers(1, 99))
def test_each_recording_in_turn_is_the_new_one(recordings, per_cent):
    """Over all orders of any recordings, the mean share above the threshold is at most the rate: exact coverage."""
    rate = Fraction(per_cent, 100)
    others = [recordings[:new] + recordings[new + 1 :] for new in range(len(recordings))]
    if rate * len(recordings) < 1:
        with pytest.raises(UserError, match="cannot be promised"):
            fitted(others[0]).threshold(float(rate))
        return
    shares = [share(new, fitted(rest).threshold(float(rate))) for new, rest in zip(recordings, others, strict=True)]
    assert sum(shares) / len(shares) <= rate


@settings(max_examples=100, deadline=None)
@given(RECORDINGS, st.integers(1, 99), st.integers(-1, 7))
def test_threshold_and_p_value_by_definition(recordings, per_cent, score):
    """Both by fractions from their definition, and a p-value is at most R exactly above the threshold of R."""
    normal, rate, count = fitted(recordings), Fraction(per_cent, 100), len(recordings)
    above_or_at = sum(Fraction(sum(clip >= score for clip in clips), len(clips)) for clips in recordings)
    p_value = normal.p_value(np.array([float(score)]))[0]
    assert p_value == pytest.approx(float((1 + above_or_at) / (count + 1)))
    if rate * (count + 1) < 1:
        return
    kept = [
        value
        for value in sorted(set(itertools.chain(*recordings)))
        if sum(share(clips, value) for clips in recordings) + 1 <= rate * (count + 1)
    ]
    threshold = normal.threshold(float(rate))
    assert threshold == kept[0]
    assert (score > threshold) == (p_value <= float(rate) + 1e-9)


def test_recordings_of_equal_clips_use_up_the_promise():
    """Where clips of a recording are the same, the share is exactly the largest multiple of 1 / (n + 1) allowed."""
    for rate in (0.1, 0.2, 0.25, 0.5):
        count = 20
        rows = [[float(number)] * 3 for number in range(count)]
        shares = [share(rows[new], fitted(rows[:new] + rows[new + 1 :]).threshold(rate)) for new in range(count)]
        assert sum(shares) / count == Fraction(int(rate * count), count)


def test_by_hand():
    # 9 recordings allow 10 % exactly: nothing may lie above.  19 allow 1 recording, or two halves.
    nine = fitted([[i, i + 0.5] for i in range(9)])
    assert (nine.threshold(0.1), nine.smallest_rate) == (8.5, 0.1)
    nineteen = fitted([[i, i + 0.5] for i in range(19)])
    assert nineteen.threshold(0.1) == 17.5
    assert fitted([[0, i + 0.5] for i in range(19)]).threshold(0.1) == 16.5
    assert nineteen.share_above(17.5) == pytest.approx(1 / 19)
    assert nineteen.share_above(17.0) == pytest.approx(1.5 / 19)
    # Unequal sizes: a long recording weighs no more than a short one.
    unequal = fitted([[0.0] * 50 + [9.0] * 50, [1.0], [2.0]])
    assert unequal.p_value(np.array([9.0, 2.0, 1.5])) == pytest.approx([1.5 / 4, 2.5 / 4, 2.5 / 4])


def test_too_few_recordings_are_refused_in_one_line():
    eight = fitted([[i] for i in range(8)])
    line = (
        "a rate of 0.1 cannot be promised with 8 recordings: the lowest possible is 1 / 9 (0.1112); "
        "use at least 9 recordings, or a higher rate"
    )
    with pytest.raises(UserError) as refused:
        eight.threshold(0.1)
    assert str(refused.value) == line
    assert eight.threshold(0.1112) == 7
    assert [fewest_recordings(rate) for rate in (0.5, 0.1, 0.05, 0.01, 0.3, 0.9)] == [1, 9, 19, 99, 3, 1]
    with pytest.raises(UserError, match="no left-out scores"):
        NormalScores.fit(np.empty(0), np.empty(0, int))
    with pytest.raises(UserError, match="1 of 2 are not finite"):
        NormalScores.fit(np.array([1.0, np.nan]), np.arange(2))
    with pytest.raises(UserError, match="rate=0"):
        eight.threshold(0.0)


def drawn(rng, runs, count, clips, between):
    """Scores of ``runs`` machines, standard normal; a share ``between`` of the variance is the recordings'."""
    offset = rng.normal(size=(runs, count, 1)) * np.sqrt(between)
    return offset + rng.normal(size=(runs, count, clips)) * np.sqrt(1 - between)


@pytest.mark.parametrize("between", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("count", [9, 15])
def test_kept_on_average_whatever_the_recordings_share(between, count):
    """600 machines.  Where clips of a recording are equal, all that the promise allows is used.

    The bound for one training holds in 90 % of them.
    """
    rng = np.random.default_rng(count)
    shares = np.array([stats.norm.sf(fitted(machine).threshold(0.1)) for machine in drawn(rng, 600, count, 5, between)])
    slack = 3 * shares.std() / np.sqrt(len(shares))
    assert shares.mean() <= 0.1 + slack
    if between == 1.0:
        assert shares.mean() >= int(0.1 * (count + 1)) / (count + 1) - slack
    assert shares.mean() >= 0.02
    within = np.mean(shares <= share_bound(count, 0.1))
    assert within >= 0.9 - 3 * np.sqrt(0.09 / 600)


def test_the_old_way_breaks_what_this_keeps():
    """Counting clips as if each were a recording: the share is far above the promise where recordings differ."""
    rng = np.random.default_rng(0)
    by_clip = []
    for machine in drawn(rng, 500, 9, 20, 0.9):
        clips = machine.ravel()
        by_clip.append(stats.norm.sf(NormalScores.fit(clips, np.arange(len(clips))).threshold(0.1)))
    assert np.mean(by_clip) > 0.12
    assert np.quantile(by_clip, 0.9) > share_bound(180, 0.1)


def test_bound_is_clopper_and_pearsons():
    """Where nothing may lie above: exact, and by the textbook's formula."""
    assert share_bound(9, 0.1) == pytest.approx(1 - 0.1 ** (1 / 9))
    textbook = stats.binomtest(0, 9).proportion_ci(0.8, "exact").high
    assert share_bound(9, 0.1) == pytest.approx(textbook)
    # Of 15, shares of 0.6 in all: no draw is above with 0.4 (Markov).  Of 19, shares of 1: one at most (Hoeffding).
    assert share_bound(15, 0.1) == pytest.approx(1 - (0.1 * 0.4) ** (1 / 15))
    one_at_most = (18 / 19) ** 19 + (18 / 19) ** 18
    assert share_bound(19, 0.1) == pytest.approx(stats.beta.isf(0.1 * one_at_most, 2, 18))
    assert share_bound(19, 0.1, 0.5) < share_bound(19, 0.1, 0.9) < share_bound(19, 0.1, 0.99) < 1
    with pytest.raises(UserError, match="at least 9 recordings, not 8"):
        share_bound(8, 0.1)


def test_sums_of_draws_are_no_wider_than_a_binomial():
    """What the bound rests on: Markov's inequality, and that unequal chances exceed K >= m no more often than equal."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = int(rng.integers(2, 12))
        chances = rng.beta(0.3, 1.0, count)
        exact = np.array([1.0])
        for chance in chances:
            exact = np.convolve(exact, [1 - chance, chance])
        least = int(np.ceil(chances.sum()))
        for most in range(count):
            assert exact[: most + 1].sum() >= 1 - chances.sum() / (most + 1) - 1e-12
        for most in range(least, count):
            assert exact[: most + 1].sum() >= stats.binom.cdf(most, count, chances.mean()) - 1e-12


@pytest.mark.parametrize(("draw", "most"), [("exponential", 0.012), ("normal", 0.01)])
def test_extrapolated_alarms(draw, most):
    """At 1 % with 9 recordings that differ much: nearly kept for an exponential tail, kept for a Gaussian one."""
    rng = np.random.default_rng(2)
    shares = []
    for _ in range(1500):
        center = getattr(rng, draw)(size=9)
        alarm = fitted(center[:, None] + np.zeros((9, 3))).extrapolated(0.01)
        shares.append(np.exp(-alarm) if draw == "exponential" else stats.norm.sf(alarm))
    assert np.mean(shares) <= most + 3 * np.std(shares) / np.sqrt(1500)
    assert np.mean(shares) >= 0.001


def test_extrapolation_by_hand():
    """Median 1 (of 0, 1, 2, 4), mean excess 2, known from 2 recordings: 1 + 2 * 2 * (sqrt(50) - 1)."""
    four = fitted([[0], [1], [2], [4]])
    assert four.extrapolated(0.01) == pytest.approx(1 + 4 * (50**0.5 - 1))
    assert fitted([[3], [3], [3]]).extrapolated(0.01) == 3


def test_promise_has_two_levels():
    normal = fitted([[i, i + 0.5] for i in range(19)])
    made = promise(normal, 0.1)
    assert (made.warning, made.alarm_rate, made.alarm_promised) == (17.5, pytest.approx(0.01), False)
    assert made.alarm == normal.extrapolated(made.alarm_rate) > made.warning
    assert made.sentence() == (
        "warnings on at most 10 % of normal sound, on average (it rests on 19 recordings: had you recorded others, it "
        "might be more, in 9 of 10 cases at most 21 %); alarms on 1 %, estimated (a promise takes 99 recordings)"
    )
    promised = promise(normal, 0.2, 0.05)
    assert (promised.alarm, promised.alarm_promised) == (18.5, True)
    assert promised.sentence().endswith("alarms on 5 %")
    with pytest.raises(UserError, match="at most the rate of warnings"):
        promise(normal, 0.1, 0.2)


@settings(max_examples=50, deadline=None)
@given(RECORDINGS)
def test_kept_and_read_again(recordings):
    normal = fitted(recordings)
    again = NormalScores.from_dict(normal.to_dict())
    assert again.to_dict() == normal.to_dict()
    assert again.threshold(0.5) == normal.threshold(0.5)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"scores": [2.0, 1.0]},
        {"scores": [1.0, float("nan")]},
        {"weights": [1.0]},
        {"recordings": 3},
        {"scores": "x"},
        {"scores": [], "weights": []},
        {"weights": [-1.0, 3.0]},
    ],
)
def test_a_broken_state_is_refused(broken):
    state = {"scores": [1.0, 2.0], "weights": [1.0, 1.0], "recordings": 2}
    with pytest.raises(UserError, match="fit the detector again"):
        NormalScores.from_dict({**state, **broken} if broken else {})


def test_blocks_leave_out_their_neighbors():
    """Against every pair of clips, for clips that overlap and come in any order."""
    rng = np.random.default_rng(3)
    starts = rng.permutation(np.arange(40) * 0.5)
    for gap in (0.0, 1.2):
        made = blocks(starts, 1.0, 4, gap)
        assert np.bincount(made.group).tolist() == [10] * 4
        assert (np.diff(made.group[np.argsort(starts)]) >= 0).all()
        for block, clip in itertools.product(range(4), range(40)):
            own = starts[made.group == block]
            # Blocks are contiguous, so the nearest of its clips tells how far the block is.
            apart = np.abs(own - starts[clip]).min() - 1.0
            assert made.left_out[block, clip] == (made.group[clip] == block or apart < gap)
    assert [len(set(row)) for row in blocks(np.arange(7.0), 1.0, 3, 0.0).left_out] == [2, 2, 2]


@pytest.mark.parametrize(
    ("count", "seconds", "gap", "message"),
    [
        (1, 1.0, 0.0, "at least two"),
        (9, 1.0, 0.0, "9 blocks of 8"),
        (2, 1.0, 9.0, "no clip"),
        (2, 0.0, 0.0, "a length"),
    ],
)
def test_blocks_that_cannot_be(count, seconds, gap, message):
    with pytest.raises(UserError, match=message):
        blocks(np.arange(8.0), seconds, count, gap)
