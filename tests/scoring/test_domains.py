"""Two domains on one scale: worked examples, plain loops, odd domains."""

import numpy as np
import pytest
from scipy.special import softmax

from asd_lightning.errors import UserError
from asd_lightning.scoring.calibration import Map
from asd_lightning.scoring.domains import DacoScorer, DomainScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.union import LedoitWolfScorer
from tests.scoring.clips import machine

LEFT_OUT = {False: [0.1, 0.2, 0.3], True: [0.5, 0.7, 0.9]}
CLIPS, IS_TARGET = np.arange(6.0)[:, None], np.arange(6) >= 3


def told(source, target):
    """Makes a back-end that says what it is told: its left-out scores, and a score by whose clips it was fitted to."""

    class Told:
        def fit(self, embeddings, is_target):
            self.is_target = is_target
            return self

        def anomaly_score(self, embeddings):
            one_domain = target if self.is_target.all() else source
            return np.full(len(embeddings), one_domain)

        def leave_one_out_scores(self):
            return np.concatenate([LEFT_OUT[flag] for flag in (False, True) if flag in set(self.is_target)])

    return Told


def score(scorer):
    return scorer.fit(CLIPS, IS_TARGET).anomaly_score(np.zeros((1, 1)))[0]


@pytest.mark.parametrize(
    ("fusion", "source", "target"), [("domain_z", 1.837117, -0.612372), ("domain_ratio", 1.75, 0.857143)]
)
def test_scales_of_domains_worked_out(fusion, source, target):
    """Distances .35 and .6; each alone by putting the other far away."""
    assert score(DomainScorer(told(0.35, 99.0), fusion)) == pytest.approx(source, abs=1e-6)
    assert score(DomainScorer(told(99.0, 0.6), fusion)) == pytest.approx(target, abs=1e-6)
    assert score(DomainScorer(told(0.35, 0.6), fusion)) == pytest.approx(target, abs=1e-6)
    assert score(DomainScorer(told(0.35, 0.6), "min")) == 0.35


@pytest.mark.parametrize(
    ("calibration", "weights", "expected"),
    [
        ("conformal", "soft", 0.603809),
        ("conformal", "hard", 0.833333),
        ("zscore", "soft", 0.449363),
        ("zscore", "hard", 1.837117),
        ("ratio", "soft", 1.314194),
    ],
)
def test_daco_worked_out(calibration, weights, expected):
    assert score(DacoScorer(told(0.35, 0.6), calibration, weights)) == pytest.approx(expected, abs=1e-6)


def test_the_quantile_map_worked_out():
    mapped = Map.fit("conformal", np.array([0.4, 0.1, 0.2]))(np.array([0, 0.15, 0.4, 0.6]))
    np.testing.assert_allclose(mapped, [0, 0.375, 0.75, 0.875])
    below_zero = Map.fit("conformal", np.array([-2.0, 1.0]))(np.array([-9.0, -2.0, 1.0]))
    np.testing.assert_allclose(below_zero, [0, 1 / 3, 2 / 3])
    far = Map.fit("conformal", np.array([0.1, 0.2, 0.4]))(np.array([1.0, 10.0, 1e6]))
    assert (np.diff(far) > 0).all()
    assert far[-1] < 1


def test_z_scores_of_domains_are_those_of_the_neighbors_back_end():
    """Whose cosine distance is twice as large, which a z-score does not see."""
    clips, is_target, queries = machine()
    one = DomainScorer(GridScorer, "domain_z").fit(clips, is_target)
    other = KNNScorer(fusion="domain_z", smote=None).fit(clips, is_target)
    np.testing.assert_allclose(one.anomaly_score(queries), other.anomaly_score(queries), rtol=1e-8)
    np.testing.assert_allclose(one.leave_one_out_scores(), other.leave_one_out_scores(), rtol=1e-8)


def left_out(clips):
    return np.array(
        [
            GridScorer("euclidean")
            .fit(np.delete(clips, i, 0), np.zeros(len(clips) - 1, bool))
            .anomaly_score(clips[i : i + 1])
            for i in range(len(clips))
        ]
    )[:, 0]


@pytest.mark.parametrize("weights", ["soft", "hard"])
@pytest.mark.parametrize("calibration", ["zscore", "ratio", "conformal"])
def test_daco_by_its_definition(calibration, weights):
    clips, is_target, queries = machine()
    scorer = DacoScorer(lambda: GridScorer("euclidean"), calibration, weights).fit(clips, is_target)
    nearest = lambda queries, bank: np.array([np.linalg.norm(bank - one, axis=1).min() for one in queries])  # noqa: E731
    base = left_out(clips)
    own = base[~is_target], base[is_target]
    banks = clips[~is_target], clips[is_target]

    def calibrated(scores, near):
        maps = {
            "zscore": lambda s, ref: (s - ref.mean()) / ref.std(),
            "ratio": lambda s, ref: s / np.median(ref),
            "conformal": lambda s, ref: quantile(s, np.sort(ref)),
        }
        each = np.stack([[maps[calibration](s, ref) for s in scores] for ref in own], axis=1)
        share = softmax(-near / np.median(base), axis=1)
        if weights == "hard":
            share = np.stack([near[:, 0] <= near[:, 1], near[:, 0] > near[:, 1]], axis=1)
        return (share * each).sum(axis=1)

    near = np.stack([nearest(queries, bank) for bank in banks], axis=1)
    expected = calibrated(nearest(queries, clips), near)
    np.testing.assert_allclose(scorer.anomaly_score(queries), expected, rtol=1e-8)
    near = np.stack([nearest(clips, bank) for bank in banks], axis=1)
    near[~is_target, 0], near[is_target, 1] = left_out(banks[0]), left_out(banks[1])
    np.testing.assert_allclose(scorer.leave_one_out_scores(), calibrated(base, near), rtol=1e-8)


def quantile(score, ordered):
    n = len(ordered)
    if score > ordered[-1]:
        x = score - ordered[-1]
        top = n / (n + 1)
        return top + (1 - top) * x / (x + max(ordered[-1] - np.median(ordered), 1e-9))
    return np.interp(score, [min(0, ordered[0]), *ordered], np.arange(n + 1) / (n + 1))


@pytest.mark.parametrize("make", [lambda: DomainScorer(GridScorer), lambda: DacoScorer(GridScorer)], ids=["z", "daco"])
@pytest.mark.parametrize(("source", "target"), [(30, 0), (0, 5), (1, 1), (1, 4), (2, 2), (30, 1), (30, 2)])
def test_few_clips_of_a_domain_borrow_the_others_scale(make, source, target, caplog):
    clips, is_target, queries = machine(source=source, target=target)
    scorer = make().fit(clips, is_target)
    assert np.isfinite(scorer.anomaly_score(queries)).all()
    assert np.isfinite(scorer.leave_one_out_scores()).all()
    assert ("on the other's scale" in caplog.text) == ((min(source, target) < 3) and max(source, target) >= 3)
    assert ("clips: scored against the other domain alone" in caplog.text) == (min(source, target) == 0)


def test_borrowed_numbers_are_the_others():
    clips, is_target, queries = machine(target=2)
    source = GridScorer().fit(clips[~is_target], is_target[~is_target])
    own = source.leave_one_out_scores()
    near = [
        GridScorer().fit(clips[flags], is_target[flags]).anomaly_score(queries) for flags in (~is_target, is_target)
    ]
    expected = (np.minimum(*near) - own.mean()) / own.std()
    np.testing.assert_allclose(
        DomainScorer(GridScorer).fit(clips, is_target).anomaly_score(queries), expected, rtol=1e-9
    )


@pytest.mark.parametrize("make", [lambda: DomainScorer(GridScorer), lambda: DacoScorer(GridScorer)], ids=["z", "daco"])
def test_windows_of_a_recording_are_left_out_together(make):
    """Also of one that is in both domains, where the other domain's bank has heard it."""
    clips, is_target, _ = machine(source=40, target=8)
    clips = np.repeat(clips, 3, axis=0) + 1e-6 * np.random.default_rng(0).normal(size=(144, 12))
    is_target, recording = np.repeat(is_target, 3), np.arange(144) // 3
    for crossed in (False, True):
        if crossed:
            is_target = is_target.copy()
            is_target[::3] = ~is_target[::3]
        scorer = make().fit_recordings(clips, is_target, recording)
        assert np.median(scorer.leave_one_out_scores()) > scorer.anomaly_score(clips).max()


def test_ratios_need_scores_above_zero():
    clips, is_target, _ = machine()
    for make in (DomainScorer, DacoScorer):
        with pytest.raises(UserError, match="ratios need scores above 0"):
            make(lambda: GridScorer(rescale="log"), "domain_ratio" if make is DomainScorer else "zscore").fit(
                clips, is_target
            )
    with pytest.raises(UserError, match="at least two training clips"):
        DacoScorer(GridScorer).fit(clips[:1], is_target[:1])
    with pytest.raises(UserError, match="at least two training clips"):
        DomainScorer(GridScorer).fit(clips[:1], is_target[:1]).leave_one_out_scores()


def test_bad_settings_are_named(unchecked):
    for make, bad in ((DomainScorer, "fusion"), (DacoScorer, "calibration"), (DacoScorer, "weights")):
        with pytest.raises(UserError, match=f"{bad}='x': choose one of"):
            make(LedoitWolfScorer, **{bad: "x"})
