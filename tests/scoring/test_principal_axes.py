"""Axes of few and of many clips, against the covariances of scikit-learn."""

import numpy as np
import pytest
from sklearn.covariance import empirical_covariance, ledoit_wolf, shrunk_covariance

from asd_lightning.scoring.preparation import whitening_of
from asd_lightning.scoring.principal_axes import principal_axes


@pytest.fixture(params=[(3, 64), (10, 64), (31, 64), (32, 64), (100, 64), (5, 1)], ids=str)
def centered(request):
    clips = np.random.default_rng(2).normal(size=request.param) * np.geomspace(1, 1e-2, request.param[1])
    return clips - clips.mean(axis=0)


def test_they_are_those_of_the_covariance(centered):
    covariance = empirical_covariance(centered, assume_centered=True)
    axes = principal_axes(centered)
    np.testing.assert_allclose((axes.direction * axes.variance) @ axes.direction.T, covariance, rtol=0, atol=1e-14)
    np.testing.assert_allclose(axes.direction.T @ axes.direction, np.eye(len(covariance)), atol=1e-12)
    assert (np.diff(axes.variance) >= 0).all()


@pytest.mark.parametrize("shrinkage", [0.01, 0.5, 1.0])
def test_the_whitening_is_a_root_of_the_inverse_of_the_shrunk_covariance(centered, shrinkage):
    whitening = principal_axes(centered).whitening(shrinkage)
    wanted = np.linalg.inv(shrunk_covariance(empirical_covariance(centered, assume_centered=True), shrinkage))
    np.testing.assert_allclose(whitening @ whitening.T, wanted, rtol=1e-9, atol=1e-9 * wanted.max())


def test_ledoit_and_wolfs_too(centered):
    whitening = whitening_of(centered)
    wanted = np.linalg.inv(ledoit_wolf(centered, assume_centered=True)[0])
    np.testing.assert_allclose(whitening @ whitening.T, wanted, rtol=1e-9, atol=1e-9 * wanted.max())


@pytest.mark.parametrize("count", [2, 200])
def test_clips_that_do_not_differ_have_none(count):
    assert principal_axes(np.zeros((count, 8))).whitening(0.5) is None
