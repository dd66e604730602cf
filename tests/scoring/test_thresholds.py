import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asd_lightning.errors import UserError
from asd_lightning.scoring.thresholds import ConformalThreshold, GammaThreshold, QuantileThreshold


def fit(rule, scores):
    """The threshold of source-domain scores."""
    return rule.fit(scores, np.zeros(len(scores), dtype=bool))


@pytest.mark.parametrize("percentile", [50.0, 90.0, 99.0])
def test_gamma_is_scipys_fit(percentile):
    scores = stats.gamma(3.0, loc=0.5, scale=0.7).rvs(1000, random_state=0)
    shape, location, scale = stats.gamma.fit(scores)
    expected = stats.gamma.ppf(percentile / 100, shape, loc=location, scale=scale)
    assert fit(GammaThreshold(percentile), scores) == pytest.approx(expected, rel=1e-3)


def test_gamma_finds_the_percentile_of_a_gamma_distribution():
    known = stats.gamma(4.0, loc=0.1, scale=0.02)
    assert fit(GammaThreshold(), known.rvs(5000, random_state=1)) == pytest.approx(known.ppf(0.9), rel=0.01)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e6])
def test_gamma_follows_the_unit_of_the_scores(unit):
    scores = stats.gamma(3.0, loc=0.5, scale=0.7).rvs(300, random_state=2)
    assert fit(GammaThreshold(), unit * scores) == pytest.approx(unit * fit(GammaThreshold(), scores), rel=1e-6)


def test_gamma_of_negative_scores():
    scores = stats.norm.rvs(size=500, random_state=3)
    assert fit(GammaThreshold(), scores) == pytest.approx(stats.norm.ppf(0.9), abs=0.15)


def test_gamma_with_zeros_among_the_scores():
    scores = np.concatenate([np.zeros(50), stats.gamma(3.0, scale=0.1).rvs(950, random_state=4)])
    assert fit(GammaThreshold(), scores) == pytest.approx(np.quantile(scores, 0.9), rel=0.15)


@pytest.mark.parametrize(("zeros", "far"), [(500, 0), (0, 5)])
def test_gamma_gives_way_where_its_fit_breaks_down(zeros, far, caplog):
    """Half of the scores tied at zero, or a few target clips far from all others: scipy's threshold is far too low."""
    near = 0.1 + stats.gamma(9.0, scale=0.02).rvs(500, random_state=5)
    scores = np.concatenate([np.zeros(zeros), near, 1 + stats.gamma(9.0, scale=1.0).rvs(far, random_state=6)])
    shape, location, scale = stats.gamma.fit(scores / scores.std())
    fitted = stats.gamma.ppf(0.9, shape, loc=location, scale=scale) * scores.std()
    assert (scores <= fitted).mean() < 0.8, "nothing broke down: the test would not see the remedy"
    assert fit(GammaThreshold(), scores) == np.percentile(scores, 90)
    assert "no gamma distribution fits" in caplog.text


@pytest.mark.parametrize("value", [0.0, 1e-300, 0.3, -5.0])
def test_scores_all_the_same_give_that_score(value, caplog):
    assert fit(GammaThreshold(), np.full(20, value)) == pytest.approx(value, rel=1e-12)
    assert "no gamma distribution fits" in caplog.text


@given(
    st.lists(st.integers(-1_000_000, 1_000_000).map(lambda n: n / 1000), min_size=1, max_size=20),
    st.integers(0, 20),
)
@settings(max_examples=40, deadline=None)
def test_gamma_of_any_scores_stays_near_them(scores, zeros):
    scores = np.array(scores + [0.0] * zeros)
    threshold = fit(GammaThreshold(), scores)
    assert threshold == np.percentile(scores, 90) or (scores <= threshold).mean() >= 0.8
    # The 90th percentile of any distribution is within three deviations of its mean.
    assert threshold <= scores.mean() + 3 * scores.std() + 1e-9 * abs(scores).max()


def test_quantile_is_the_empirical_one():
    assert fit(QuantileThreshold(0.9), np.arange(11.0)) == 9.0


@pytest.mark.parametrize(("count", "rate"), [(9, 0.1), (19, 0.05), (99, 0.1), (99, 0.01), (50, 0.3)])
def test_conformal_rank_keeps_the_promise_and_wastes_none(count, rate):
    scores = np.random.default_rng(0).permutation(np.arange(float(count)))
    threshold = fit(ConformalThreshold(rate), scores)
    # A new clip's rank among n + 1 is uniform: it is above with probability (number above + 1) / (n + 1).
    above = (scores > threshold).sum() + 1
    assert above / (count + 1) <= rate + 1e-12
    assert (above + 1) / (count + 1) > rate


def test_conformal_false_alarms_on_average_over_calibration_sets():
    rng = np.random.default_rng(1)
    alarms = [
        (rng.exponential(size=50) > fit(ConformalThreshold(0.2), rng.exponential(size=19))).mean() for _ in range(2000)
    ]
    assert np.mean(alarms) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("count", "rate", "enough"), [(8, 0.1, 9), (98, 0.01, 99), (1, 0.4, 2), (10, 0.05, 19)])
def test_conformal_refuses_a_rate_too_few_clips_can_promise(count, rate, enough):
    with pytest.raises(UserError, match=f"use at least {enough} recordings"):
        fit(ConformalThreshold(rate), np.arange(float(count)))
    fit(ConformalThreshold(rate), np.arange(float(enough)))


def test_conformal_counts_recordings():
    """By a plain loop: the least score where the recordings' shares above it, and one more, are within the rate."""
    rng = np.random.default_rng(2)
    recording = np.repeat(np.arange(12), rng.integers(1, 6, 12))
    scores = rng.normal(size=len(recording)) + rng.normal(size=12)[recording]
    none = np.zeros(len(scores), bool)

    def share(limit):
        return sum((scores[recording == one] > limit).mean() for one in range(12))

    for rate in (0.1, 0.2, 0.35):
        wanted = min(limit for limit in scores if share(limit) + 1 <= rate * 13)
        assert ConformalThreshold(rate).fit_recordings(scores, none, recording) == wanted
    with pytest.raises(UserError, match=r"with 12 source-domain training recordings.* use at least 19 recordings"):
        ConformalThreshold(0.05).fit_recordings(scores, none, recording)
    fit(ConformalThreshold(0.05), scores)


def test_conformal_is_calibrated_by_source_clips_alone():
    scores = np.arange(29.0)
    is_target = np.arange(29) >= 19
    assert ConformalThreshold(0.1).fit(scores, is_target) == fit(ConformalThreshold(0.1), scores[:19]) == 17
    with pytest.raises(UserError, match="with 0 source-domain training recordings"):
        ConformalThreshold(0.1).fit(scores, np.ones(29, dtype=bool))


@pytest.mark.parametrize("rule", [GammaThreshold(), QuantileThreshold(), ConformalThreshold()])
def test_bad_scores_are_named(rule):
    with pytest.raises(UserError, match="one score per training clip"):
        fit(rule, np.empty(0))
    with pytest.raises(UserError, match="2 of 3 are NaN or infinite"):
        fit(rule, np.array([np.nan, 1.0, np.inf]))


@pytest.mark.parametrize("rule", [GammaThreshold, QuantileThreshold, ConformalThreshold])
@pytest.mark.parametrize("bad", [0.0, 100.0, -1.0])
def test_bad_settings_are_named(rule, bad):
    with pytest.raises(UserError, match="must be above 0 and below"):
        rule(bad)
