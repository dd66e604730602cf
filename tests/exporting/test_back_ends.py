"""Every back-end as a module scores as the back-end itself, which is numpy and scikit-learn."""

import numpy as np
import pytest
import torch

from asd_lightning.errors import UserError
from asd_lightning.exporting.fusions import Map, back_end
from asd_lightning.scoring.calibration import Map as Reference
from asd_lightning.scoring.combined import CombinedScorer
from asd_lightning.scoring.compressed import CompressedScorer
from asd_lightning.scoring.fitted import KINDS
from asd_lightning.scoring.gaussian import GaussianMixtureScorer
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.knn import KNNScorer
from asd_lightning.scoring.protocol import ScorerState
from tests.scoring.clips import machine
from tests.scoring.test_back_ends import BACK_ENDS

OTHERS = {
    **{f"gmm_{kind}": lambda kind=kind: GaussianMixtureScorer(3, kind) for kind in ("full", "tied", "spherical")},
    "compressed": lambda: CompressedScorer(KNNScorer, 20),
    "log_mean": lambda: CombinedScorer({"a.b": KNNScorer, "items": GridScorer}, scale="log"),
    "beam_last": lambda: GridScorer("beam", bands=4, band_order="last", band_fusion="max"),
}
EVERY = {**BACK_ENDS, **OTHERS}


def exported(scorer):
    module = back_end(type(scorer).__name__, scorer.state())
    return lambda x: module(torch.from_numpy(x.astype(np.float64))).detach().numpy()


@pytest.mark.parametrize("domains", ["both", "source", "target"])
@pytest.mark.parametrize("name", EVERY)
def test_scores_are_the_back_ends(name, domains):
    clips, is_target, queries = machine(target=24)
    if domains != "both":
        kept = is_target == (domains == "target")
        clips, is_target = clips[kept], is_target[kept]
    scorer = EVERY[name]().fit(clips, is_target)
    # With clips of the bank itself, at a distance of nothing, and one that is far out.
    queries = np.concatenate([queries, clips[:5], 30 * queries[:2]])
    wanted = scorer.anomaly_score(queries)
    np.testing.assert_allclose(exported(scorer)(queries), wanted, rtol=1e-9, atol=1e-9 * np.std(wanted))


def test_every_kind_that_a_file_holds_is_tried():
    assert {type(make()).__name__ for make in EVERY.values()} == set(KINDS)


def test_what_has_no_direction_has_no_score():
    """The back-end refuses such a clip, which is then not judged."""
    clips, is_target, queries = machine()
    queries[1] = 0
    for scorer in (KNNScorer(), GridScorer(), GridScorer("beam", bands=4), GridScorer("coupled", bands=4)):
        with pytest.raises(UserError, match="all zeros"):
            scorer.fit(clips, is_target).anomaly_score(queries)
        assert np.flatnonzero(np.isnan(exported(scorer)(queries))).tolist() == [1]


def test_a_silent_band_counts_as_in_the_back_end():
    clips, is_target, queries = machine()
    queries[1, :3] = clips[2, 3:6] = 0
    for match in ("beam", "coupled"):
        scorer = GridScorer(match, bands=4).fit(clips, is_target)
        np.testing.assert_allclose(exported(scorer)(queries), scorer.anomaly_score(queries), rtol=1e-9)


@pytest.mark.parametrize("calibration", ["zscore", "ratio", "conformal"])
def test_maps_with_ties_below_and_beyond_the_training_scores(calibration):
    scores = np.array([0.5, 0.2, 0.2, 0.9, 0.9, 0.4])
    queries = np.array([-1.0, 0.0, 0.1, 0.2, 0.3, 0.5, 0.9, 0.95, 7.0])
    found = Map(calibration, scores)(torch.from_numpy(queries)).detach().numpy()
    np.testing.assert_allclose(found, Reference.fit(calibration, scores)(queries), rtol=1e-12)


def test_a_kind_that_there_is_no_formula_for_is_refused():
    with pytest.raises(UserError, match=r"the back-end Forest cannot be exported; KNNScorer, .* can$"):
        back_end("Forest", ScorerState({}, {}))
