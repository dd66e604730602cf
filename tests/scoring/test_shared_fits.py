"""Fits that are shared while many back-ends are compared: nothing of the scores changes."""

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ClassVar

import numpy as np
import pytest

from asd_lightning.scoring.combined import CombinedScorer
from asd_lightning.scoring.domains import DomainScorer
from asd_lightning.scoring.gaussian import MahalanobisScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.held_out import left_out_scores
from asd_lightning.scoring.parts import SIMPLE
from asd_lightning.scoring.shared_fits import fitted_once, shared_fits
from asd_lightning.scoring.union import LedoitWolfScorer, ResidualScorer
from tests.scoring.clips import machine

WHITENED = partial(GridScorer, "euclidean", standardize=True, whiten=True)
MAKE = (
    LedoitWolfScorer,
    WHITENED,
    partial(WHITENED, rescale="ratio", alpha=1.0),
    partial(GridScorer, "euclidean", whiten=True),
    ResidualScorer,
    partial(ResidualScorer, share=0.5),
    MahalanobisScorer,
    partial(MahalanobisScorer, shrinkage=0.5),
    partial(MahalanobisScorer, "per_domain"),
    partial(DomainScorer, LedoitWolfScorer),
    partial(CombinedScorer, {"own": LedoitWolfScorer, "other": partial(ResidualScorer, folds=5)}),
)


def scored(seed):
    clips, is_target, queries = machine(seed)
    fitted = [make().fit(clips, is_target) for make in MAKE]
    return [np.concatenate([one.anomaly_score(queries), one.leave_one_out_scores()]) for one in fitted]


@pytest.mark.parametrize("most_bytes", [1 << 20, 3000, 0])
def test_scores_are_the_same_to_the_last_bit(most_bytes):
    alone = [scored(seed) for seed in (0, 1)]
    with shared_fits(most_bytes):
        # Twice, so that everything is asked for again; two machines, whose fits must not be mistaken for each other's.
        together = [[scored(seed) for seed in (0, 1)] for _ in range(2)]
    for shared in together:
        np.testing.assert_array_equal(shared, alone)


def test_the_same_fit_is_made_once_and_another_anew():
    clips, calls = np.arange(6.0).reshape(3, 2), []

    def fit():
        calls.append(1)
        return (np.ones(2),)

    with shared_fits():
        first = fitted_once("a", clips, fit)
        assert fitted_once("a", clips.copy(), fit) is first
        assert len(calls) == 1
        for what, others in (("b", clips), ("a", clips.reshape(2, 3)), ("a", clips + 1), ("a", clips.astype("f4"))):
            fitted_once(what, others, fit)
        assert len(calls) == 5
        with pytest.raises(ValueError, match="read-only"):
            first[0][0] = 2.0
    fitted_once("a", clips, fit)
    assert len(calls) == 6


@pytest.mark.parametrize("kind", SIMPLE)
def test_all_that_decides_a_back_end_is_among_its_options(kind):
    """Left-out scores are shared by those: an argument that is not among them would be overlooked."""
    clips, is_target, _ = machine(source=16, target=4)
    options = SIMPLE[kind]().fit(clips, is_target).state().options
    assert set(inspect.signature(SIMPLE[kind]).parameters) <= set(options)


class Counting(ResidualScorer):
    counted: ClassVar[list[float]] = []

    def leave_one_out_scores(self):
        self.counted.append(self.share)
        return super().leave_one_out_scores()


def test_left_out_scores_of_one_back_end_are_found_once(monkeypatch):
    """Of the same settings, clips, domains and recordings; and each time of a back-end of one's own."""
    clips, is_target, _ = machine(source=16, target=4)
    recording = np.arange(20)

    def counts(*, own):
        monkeypatch.setattr(Counting, "__module__", "mine" if own else "asd_lightning.scoring.union")
        Counting.counted.clear()
        with shared_fits():
            for share, flags, number in (
                (0.5, is_target, recording),
                (0.5, is_target, recording),
                (0.6, is_target, recording),
                (0.5, ~is_target, recording),
                (0.5, is_target, recording // 2),
            ):
                make = partial(Counting, share)
                fitted = make().fit_recordings(clips, flags, number)
                assert left_out_scores(fitted, make, clips, flags, number) == pytest.approx(
                    ResidualScorer(share).fit_recordings(clips, flags, number).leave_one_out_scores(), rel=1e-12
                )
        return Counting.counted

    assert counts(own=False) == [0.5, 0.6, 0.5, 0.5]
    assert counts(own=True) == [0.5, 0.5, 0.6, 0.5, 0.5]


class Bent(ResidualScorer):
    """Of one's own, with a setting that its state does not have."""

    def __init__(self, power=1):
        super().__init__()
        self.power = power

    def leave_one_out_scores(self):
        return super().leave_one_out_scores() ** self.power


def test_a_back_end_with_a_part_of_ones_own_is_asked_each_time():
    clips, is_target, _ = machine(source=16, target=4)
    makes = [partial(CombinedScorer, {"own": partial(Bent, power)}) for power in (1, 3)]

    def found(make):
        return left_out_scores(make().fit(clips, is_target), make, clips, is_target, np.arange(20))

    alone = [found(make) for make in makes]
    assert not np.allclose(*alone)
    with shared_fits():
        np.testing.assert_array_equal([found(make) for make in makes], alone)


def test_what_has_not_been_asked_for_the_longest_goes_first():
    calls = []

    def fit(number):
        calls.append(number)
        return (np.zeros(10),)

    with shared_fits(160):
        for number in (1, 2, 1, 3, 1, 2):
            fitted_once("a", np.full((1, 1), float(number)), partial(fit, number))
    assert calls == [1, 2, 3, 2]


def test_a_thread_that_asks_for_what_another_computes_waits_for_it():
    computing, calls = threading.Event(), []

    def fit():
        calls.append(1)
        computing.set()
        # The other has long asked, or asks later and finds it: once either way.
        threading.Event().wait(0.05)
        return (np.ones(2),)

    with shared_fits(), ThreadPoolExecutor(2) as pool:
        first = pool.submit(copy_context().run, fitted_once, "a", np.zeros((2, 2)), fit)
        assert computing.wait(60)
        second = pool.submit(copy_context().run, fitted_once, "a", np.zeros((2, 2)), fit)
        assert second.result(60) is first.result(60)
    assert calls == [1]
