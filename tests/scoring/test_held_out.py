import numpy as np
import pytest

from asd_lightning.errors import UserError
from asd_lightning.scoring.held_out import held_out_scores, scores_without_group


class Recorder:
    """Scores a clip by whether its number was among those fitted on."""

    def __init__(self, sizes):
        self.sizes = sizes

    def fit(self, embeddings, is_target):
        self.seen = set(embeddings[:, 0])
        self.sizes.append((int((~is_target).sum()), int(is_target.sum())))
        return self

    def anomaly_score(self, embeddings):
        return np.array([float(number in self.seen) for number in embeddings[:, 0]])

    def leave_one_out_scores(self):
        raise NotImplementedError


@pytest.mark.parametrize(("source", "target", "folds"), [(40, 10, 10), (33, 7, 5), (1, 1, 10), (3, 1, 2), (6, 0, 100)])
def test_no_clip_is_scored_by_a_back_end_that_saw_it(source, target, folds):
    sizes = []
    numbers = np.arange(float(source + target))[:, None]
    is_target = np.random.default_rng(0).permutation(source + target) < target
    scores = held_out_scores(Recorder(sizes), numbers, is_target, folds)
    np.testing.assert_array_equal(scores, np.zeros(source + target))
    assert len(sizes) == min(folds, source + target)
    for domain, clips in enumerate((source, target)):
        kept = [size[domain] for size in sizes]
        assert max(kept) - min(kept) <= 1, "the domains are dealt out evenly"
        assert sum(clips - one for one in kept) == clips, "each clip is left out once"


@pytest.mark.parametrize("folds", [3, 100])
def test_no_clip_is_scored_by_a_back_end_that_saw_its_recording(folds):
    # A clip's number is that of its recording, and the clips of a recording do not lie together.
    recording = np.random.default_rng(0).permutation(np.repeat(np.arange(7), 4))
    numbers, is_target = recording[:, None].astype(float), recording >= 5
    for scores in (
        held_out_scores(Recorder([]), numbers, is_target, folds, recording),
        scores_without_group(lambda: Recorder([]), numbers, is_target, recording),
    ):
        np.testing.assert_array_equal(scores, np.zeros(len(recording)))


def test_a_single_clip():
    with pytest.raises(UserError, match="at least two"):
        held_out_scores(Recorder([]), np.ones((1, 1)), np.array([True]), 10)
