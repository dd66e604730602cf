"""Several back-ends as one."""

from functools import partial

import numpy as np
import pytest

from asd_lightning.errors import UserError
from asd_lightning.scoring.combined import CombinedScorer
from asd_lightning.scoring.domains import DacoScorer, DomainScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.protocol import ScorerState
from asd_lightning.scoring.union import LedoitWolfScorer, ResidualScorer
from tests.scoring.clips import machine


def told(left_out, scores):
    """Makes a back-end that says what it is told."""

    class Told:
        def fit(self, embeddings, is_target):
            return self

        def anomaly_score(self, embeddings):
            return np.array(scores, dtype=float)

        def leave_one_out_scores(self):
            return np.array(left_out, dtype=float)

    return Told


def fused(parts, *options):
    scorer = CombinedScorer(parts, *options).fit(np.zeros((4, 2)), np.zeros(4, bool))
    return scorer.anomaly_score(np.zeros((2, 2)))


def test_the_smallest_z_worked_out():
    parts = {"a": told([0.1, 0.2, 0.3, 0.2], [0.5, 0.25]), "b": told([2, 3, 7, 4], [5, 9])}
    np.testing.assert_allclose(fused(parts, "min"), [0.534522, 0.707107], atol=6e-7)
    # A back-end without spread has no scale.
    still = parts | {"c": told([1, 1, 1, 1], [-9, -9])}
    np.testing.assert_allclose(fused(still, "min"), [0.534522, 0.707107], atol=6e-7)


def test_no_spread_at_all():
    with pytest.raises(UserError, match="of no back-end have a spread"):
        fused({"a": told([1, 1, 1, 1], [2, 3])})


@pytest.mark.parametrize("combination", ["mean", "min"])
@pytest.mark.parametrize("scale", ["identity", "log"])
def test_agrees_with_z_scores_by_hand(combination, scale):
    clips, is_target, queries = machine()
    makers = {"center": LedoitWolfScorer, "near": lambda: GridScorer("euclidean", whiten=True), "left": ResidualScorer}
    phi = np.log if scale == "log" else np.asarray
    expected, expected_left_out = [], []
    for make in makers.values():
        part = make().fit(clips, is_target)
        own = phi(part.leave_one_out_scores())
        expected.append((phi(part.anomaly_score(queries)) - own.mean()) / own.std())
        expected_left_out.append((own - own.mean()) / own.std())
    reduce = np.mean if combination == "mean" else np.min
    scorer = CombinedScorer(makers, combination, scale).fit(clips, is_target)
    np.testing.assert_allclose(scorer.anomaly_score(queries), reduce(expected, axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scorer.leave_one_out_scores(), reduce(expected_left_out, axis=0), rtol=1e-9, atol=1e-12)


def test_windows_of_a_recording_are_left_out_together_by_every_part():
    """Also by one that does not ask for recordings itself."""
    clips, is_target, _ = machine(source=20, target=4)
    clips = np.repeat(clips, 3, axis=0) + 1e-6 * np.random.default_rng(0).normal(size=(72, 12))
    is_target, recording = np.repeat(is_target, 3), np.arange(72) // 3
    for make in (GridScorer, KNNScorer, lambda: DomainScorer(KNNScorer, "min")):
        scorer = CombinedScorer({"one": make}).fit_recordings(clips, is_target, recording)
        seen, left_out = scorer.anomaly_score(clips), scorer.leave_one_out_scores()
        assert left_out.min() > seen.max()


def test_bad_settings_are_named(unchecked):
    for bad in ({"scorers": {}}, {"scorers": {"a/b": GridScorer}}):
        with pytest.raises(UserError, match="scorers: one or more back-ends"):
            CombinedScorer(**bad)
    wrong = partial(GridScorer, alpha=-1)
    for make in (lambda: DomainScorer(wrong), lambda: DacoScorer(wrong), lambda: CombinedScorer({"a": wrong})):
        with pytest.raises(UserError, match="alpha=-1"):
            make()
    for bad in ("combination", "scale"):
        with pytest.raises(UserError, match=f"{bad}='x': choose one of"):
            CombinedScorer({"a": GridScorer}, **{bad: "x"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda options: options.update(parts={}), "the parts of a back-end are missing"),
        (lambda options: options["parts"]["a"].update(scorer="os.system"), "unknown back-end 'os.system'"),
        (lambda options: options["parts"].update(b=options["parts"]["a"]), "array mean"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    clips, is_target, _ = machine()
    state = CombinedScorer({"a": GridScorer}).fit(clips, is_target).state()
    change(state.options)
    with pytest.raises(UserError, match=message):
        CombinedScorer.from_state(ScorerState(state.options, state.arrays))
