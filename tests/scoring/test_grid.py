"""Nearest neighbours in one bank: worked examples to six digits, plain loops, and odd banks."""

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist, cosine, euclidean
from scipy.stats import linregress
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

from asd_lightning.errors import UserError
from asd_lightning.scoring import search
from asd_lightning.scoring.grid import GridScorer
from asd_lightning.scoring.mixup import MemMixup, mixtures
from tests.scoring.clips import machine


def at(*degrees):
    """Vectors of length 1."""
    angle = np.deg2rad(np.array(degrees, dtype=float))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


BANDS = at(0, 12, 30, 61, 105, 140), at(3, 41, 50, 62, 95, 120)
BANK, QUERY = np.concatenate(BANDS, axis=1), np.concatenate([at(20), at(85)], axis=1)
SOURCE = np.zeros(6, bool)


def fitted(match="beam", bands=2, **options):
    return GridScorer(match, bands, fewest=2, **options).fit(BANK, SOURCE)


def one_band(band, match="cosine", **options):
    scorer = GridScorer(match, fewest=2, **options).fit(BANDS[band], SOURCE)
    return scorer.state().arrays["alpha"][0], scorer.anomaly_score(QUERY[:, 2 * band : 2 * band + 2])[0]


def test_beam_and_coupled_worked_out():
    assert fitted().anomaly_score(QUERY)[0] == pytest.approx(0.006231, abs=1e-6)
    assert fitted("coupled").anomaly_score(QUERY)[0] == pytest.approx(0.049010, abs=1e-6)
    for band, nearest in enumerate((0.004866, 0.007596)):
        assert one_band(band) == (0, pytest.approx(nearest, abs=1e-6))
    each = [
        (0.030154, 0.004866, 0.007596, 0.122645, 0.456422, 0.750000),
        (0.430413, 0.140330, 0.090424, 0.039748, 0.007596, 0.090424),
    ]
    for band, expected in enumerate(each):
        alone = [GridScorer().fit(one[None], SOURCE[:1]) for one in BANDS[band]]
        scores = [scorer.anomaly_score(QUERY[:, 2 * band : 2 * band + 2])[0] for scorer in alone]
        np.testing.assert_allclose(scores, expected, atol=6e-7)


WORKED_OUT = {
    "identity": {
        1: ((0.859618, 0.357284), (-0.013440, -0.009141), -0.011291),
        2: ((0.327981, 0.166120), (-0.007402, -0.002995), -0.005199),
        4: ((0.160419, 0.101185), (-0.024552, -0.004548), -0.014550),
        9: ((0.133769, 0.101588), (-0.036372, -0.012671), -0.024521),
    },
    "log": {
        1: ((0.867332, 0.578738), (-1.662109, -3.108666), -2.385387),
        2: ((0.751112, 0.646246), (-2.562928, -3.101194), -2.832061),
        4: ((0.797701, 1.243168), (-3.972452, -2.244441), -3.108447),
        9: ((0.800491, 1.634083), (-4.383498, -2.246096), -3.314797),
    },
}
RATIOS = {1: (0.310404, 0.162151), 2: (0.166110, 0.119145), 4: (0.026534, 0.063292), 9: (0.015785, 0.038075)}


@pytest.mark.parametrize("form", WORKED_OUT)
@pytest.mark.parametrize("neighbors", RATIOS)
def test_varmin_worked_out(form, neighbors):
    alphas, bands, score = WORKED_OUT[form][neighbors]
    options = {"rescale": form, "alpha": "fitted", "neighbors": neighbors}
    for band in (0, 1):
        assert one_band(band, **options) == pytest.approx((alphas[band], bands[band]), abs=1e-6)
    scorer = fitted(**options)
    np.testing.assert_allclose(scorer.state().arrays["alpha"], alphas, atol=6e-7)
    assert scorer.anomaly_score(QUERY)[0] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("neighbors", RATIOS)
def test_local_density_worked_out(neighbors):
    options = {"rescale": "ratio", "alpha": 1, "neighbors": neighbors}
    for band in (0, 1):
        assert one_band(band, **options)[1] == pytest.approx(RATIOS[neighbors][band], abs=1e-6)
    assert fitted(**options).anomaly_score(QUERY)[0] == pytest.approx(np.mean(RATIOS[neighbors]), abs=1e-6)


def test_densities_and_left_out_scores_worked_out():
    scorer = fitted(alpha="fitted", neighbors=2)
    density = (0.038957, 0.017699, 0.045730, 0.105873, 0.115377, 0.247510)
    np.testing.assert_allclose(scorer.state().arrays["density"][0], density, atol=6e-7)
    left_out = scorer.leave_one_out_scores()
    np.testing.assert_allclose(left_out, (0.053923, 0.001443, 0.010776, 0.032963, 0.016339, 0.044419), atol=6e-7)
    assert np.quantile(left_out, 0.9) == pytest.approx(0.049171, abs=1e-6)
    # Without densities: the distance to the nearest other.
    nearest = GridScorer().fit(BANDS[0], SOURCE).leave_one_out_scores()
    np.testing.assert_allclose(nearest, (0.010926, 0.010926, 0.024472, 0.071416, 0.090424, 0.090424), atol=6e-7)


def test_logarithms_of_lengths_worked_out():
    """For vectors of length 1 the same alpha as of (1 - cosine) / 2, which is a quarter of the squared length."""
    options = {"rescale": "log", "neighbors": 1}
    alpha, score = one_band(1, "euclidean", alpha="fitted", **options)
    assert (alpha, score) == pytest.approx((0.578738, -1.262336), abs=1e-6)
    assert one_band(1, "euclidean", alpha=1, **options)[1] == pytest.approx(-0.909615, abs=1e-6)
    of_angle = one_band(1, alpha="fitted", **options)
    assert of_angle == pytest.approx((alpha, 2 * score - (1 - alpha) * np.log(4)), abs=1e-9)


def test_mixtures_worked_out():
    clips, is_target = np.array([[0.0, 0], [4, 0], [0, 10], [2, 1]]), np.array([False, False, False, True])
    made = mixtures(clips, is_target, MemMixup(neighbors=2))
    np.testing.assert_allclose(made.clips, [[1.8, 0.9], [2.2, 0.9]], atol=1e-12)
    query = np.array([[1.5, 0.5]])
    mixed, plain = GridScorer("euclidean", mixup=MemMixup(neighbors=2)), GridScorer("euclidean")
    assert mixed.fit(clips, is_target).anomaly_score(query)[0] == pytest.approx(0.5, abs=1e-9)
    assert plain.fit(clips, is_target).anomaly_score(query)[0] == pytest.approx(0.707107, abs=1e-6)
    assert plain.fit(clips[:3], is_target[:3]).anomaly_score(query)[0] == pytest.approx(1.581139, abs=1e-6)


def test_whitened_neighbor_worked_out():
    clips = np.array([[0.0, 0], [1, 1], [2, 1], [3, 4], [4, 4]])
    scorer = GridScorer("euclidean", whiten=True).fit(clips, SOURCE[:5])
    assert scorer.anomaly_score(np.array([[1.0, 3.0]]))[0] == pytest.approx(1.518464, abs=1e-6)


def distances(left, right, match, bands, order="first"):
    """Of each band, by scipy, a pair at a time."""
    if match == "euclidean":
        return np.array([[[euclidean(a, b) for b in right] for a in left]])
    bands = 1 if match == "cosine" else bands
    shape, axes = ((-1, bands, left.shape[1] // bands), (0, 1, 2))
    if order == "last":
        shape, axes = (-1, left.shape[1] // bands, bands), (0, 2, 1)
    left, right = (some.reshape(shape).transpose(axes) for some in (left, right))
    each = np.array([[[cosine(a[f], b[f]) / 2 for b in right] for a in left] for f in range(bands)])
    return each if match == "beam" else each.mean(axis=0, keepdims=True)


def slow(clips, queries, recording, match, bands, rescale, fuse=np.mean):
    """Scores of queries, and of the clips left out, by loops over the definitions."""
    form, alpha, neighbors = rescale
    within, across = distances(clips, clips, match, bands), distances(queries, clips, match, bands)
    log = np.log if form != "identity" else lambda value: value
    scores, left_out = [], []
    for own, others in zip(within, across, strict=True):
        n = len(clips)
        allowed = [[j for j in range(n) if recording[j] != recording[i]] for i in range(n)]
        b = np.array([np.sort(own[i, allowed[i]])[:neighbors].mean() for i in range(n)])
        slope = alpha
        if alpha == "fitted":
            nearest = [min(allowed[i], key=lambda j, i=i: own[i, j]) for i in range(n)]
            u = np.array([own[i, j] for i, j in enumerate(nearest)])
            slope = linregress(log(b[nearest]), log(u)).slope
        values = [log(d) - slope * log(b) for d in (others, own)]
        if form == "ratio":
            values = [np.exp(value) for value in values]
        scores.append(values[0].min(axis=1))
        left_out.append([values[1][i, allowed[i]].min() for i in range(n)])
    return fuse(scores, axis=0), fuse(left_out, axis=0)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("match", ["cosine", "euclidean", "coupled", "beam"])
@pytest.mark.parametrize(
    ("form", "alpha", "neighbors"),
    [("identity", 0, 1), ("identity", "fitted", 4), ("log", "fitted", 1), ("ratio", 1, 2), ("ratio", "fitted", 16)],
)
def test_agrees_with_plain_loops(match, form, alpha, neighbors):
    """Three clips cut from each recording: none of its own is a neighbour."""
    clips, is_target, queries = machine(source=36, target=6, queries=8)
    recording = np.random.default_rng(1).permutation(42) // 3
    scorer = GridScorer(match, 3, rescale=form, alpha=alpha, neighbors=neighbors, fewest=10)
    scorer.fit_recordings(clips, is_target, recording)
    scores, left_out = slow(clips, queries, recording, match, 3, (form, alpha, neighbors))
    np.testing.assert_allclose(scorer.anomaly_score(queries), scores, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(scorer.leave_one_out_scores(), left_out, rtol=1e-8, atol=1e-12)


def test_the_largest_band_and_the_other_order_of_numbers():
    clips, is_target, queries = machine(queries=5)
    worst, _ = slow(clips, queries, np.arange(68), "beam", 4, ("identity", 0, 1), np.max)
    scorer = GridScorer("beam", 4, band_fusion="max").fit(clips, is_target)
    np.testing.assert_allclose(scorer.anomaly_score(queries), worst, rtol=1e-9)
    turned = GridScorer("beam", 4, "last").fit(clips, is_target).anomaly_score(queries)
    np.testing.assert_allclose(turned, distances(queries, clips, "beam", 4, "last").min(2).mean(0), rtol=1e-9)


@pytest.mark.parametrize("standardize", [False, True])
def test_whitened_neighbors_agree_with_scikit_learn(standardize):
    clips, is_target, queries = machine()
    if standardize:
        mean, deviation = clips.mean(axis=0), clips.std(axis=0) + 1e-3
        plain, test = (clips - mean) / deviation, (queries - mean) / deviation
    else:
        plain, test = clips, queries
    precision = LedoitWolf().fit(plain).precision_
    expected = cdist(test, plain, "mahalanobis", VI=precision).min(axis=1)
    scorer = GridScorer("euclidean", standardize=standardize, whiten=True).fit(clips, is_target)
    np.testing.assert_allclose(scorer.anomaly_score(queries), expected, rtol=1e-8)


def test_what_is_fitted_before_comparing_is_fitted_without_the_recording():
    clips, is_target, _ = machine(source=16, target=4)
    recording = np.arange(20) // 2
    scorer = GridScorer("euclidean", whiten=True, folds=10).fit_recordings(clips, is_target, recording)
    for number in range(10):
        own = recording == number
        rest = GridScorer("euclidean", whiten=True).fit_recordings(clips[~own], is_target[~own], recording[~own])
        np.testing.assert_allclose(scorer.leave_one_out_scores()[own], rest.anomaly_score(clips[own]), rtol=1e-9)


def test_mixtures_agree_with_scikit_learn_and_leave_out_what_was_made_of_the_clip():
    clips, is_target, queries = machine(source=30, target=5)
    source, target = clips[~is_target], clips[is_target]
    _, position = NearestNeighbors(n_neighbors=7).fit(source).kneighbors(target)
    made = {(t, s): 0.9 * target[t] + 0.1 * source[s] for t in range(5) for s in position[t]}
    bank = np.concatenate([clips, list(made.values())])
    scorer = GridScorer("euclidean", mixup=MemMixup(neighbors=7)).fit(clips, is_target)
    np.testing.assert_allclose(scorer.anomaly_score(queries), cdist(queries, bank).min(axis=1), rtol=1e-9)
    left_out = scorer.leave_one_out_scores()
    for row, clip in enumerate(clips):
        number = int(is_target[:row].sum() if is_target[row] else (~is_target[:row]).sum())
        kept = [mixed for pair, mixed in made.items() if pair[0 if is_target[row] else 1] != number]
        others = np.concatenate([np.delete(clips, row, axis=0), kept])
        assert left_out[row] == pytest.approx(cdist(clip[None], others).min(), rel=1e-9)


def test_beam_is_at_most_coupled_and_equal_for_one_clip_or_one_band():
    clips, is_target, queries = machine()
    of = {(match, bands): GridScorer(match, bands).fit(clips, is_target).anomaly_score(queries)
          for match, bands in itertools.product(("beam", "coupled"), (1, 4))}  # fmt: skip
    assert (of["beam", 4] <= of["coupled", 4] + 1e-15).all()
    assert (of["beam", 4] < of["coupled", 4] - 1e-3).any()
    np.testing.assert_allclose(of["beam", 1], of["coupled", 1], rtol=1e-12)
    one = [GridScorer(match, 4).fit(clips[:1], is_target[:1]).anomaly_score(queries) for match in ("beam", "coupled")]
    np.testing.assert_allclose(*one, rtol=1e-12)


def test_beam_does_not_care_which_clip_a_band_is_of():
    clips, is_target, queries = machine()
    mixed = clips.copy()
    mixed[:, 3:6] = np.random.default_rng(0).permutation(clips[:, 3:6])
    for alpha in (0, "fitted"):
        scores = [
            GridScorer("beam", 4, alpha=alpha).fit(bank, is_target).anomaly_score(queries) for bank in (clips, mixed)
        ]
        np.testing.assert_array_equal(*scores)


def test_another_unit_of_length():
    """Differences follow it, ratios do not; alpha stays."""
    clips, is_target, queries = machine()

    def of(factor, **options):
        scorer = GridScorer("euclidean", **options).fit(factor * clips, is_target)
        return scorer.anomaly_score(factor * queries), scorer.state().arrays["alpha"]

    for factor in (0.01, 300):
        varmin, alpha = of(factor, alpha="fitted")
        np.testing.assert_allclose(varmin, factor * of(1, alpha="fitted")[0], rtol=1e-8)
        np.testing.assert_allclose(alpha, of(1, alpha="fitted")[1], rtol=1e-8)
        ratio = {"rescale": "ratio", "alpha": 1}
        np.testing.assert_allclose(of(factor, **ratio)[0], of(1, **ratio)[0], rtol=1e-9)


def test_a_bank_of_one_density_ranks_as_the_nearest_neighbor():
    clips = at(*range(0, 360, 15))
    queries = at(1, 17, 34, 51, 68)
    plain, ratio = (
        GridScorer(rescale=form, alpha=alpha).fit(clips, np.zeros(24, bool)).anomaly_score(queries)
        for form, alpha in (("identity", 0), ("ratio", 1))
    )
    np.testing.assert_array_equal(np.argsort(plain), np.argsort(ratio))


FORMS = [("identity", 0.0), ("identity", "fitted"), ("log", "fitted"), ("ratio", 1.0)]


@pytest.mark.parametrize("match", ["euclidean", "coupled", "beam"])
@pytest.mark.parametrize(("form", "alpha"), FORMS)
def test_neither_order_nor_company_changes_the_last_digit(match, form, alpha, monkeypatch):
    clips, is_target, queries = machine()
    clips = np.concatenate([clips, clips[:5]])  # ties, too
    is_target = np.append(is_target, is_target[:5])
    order = np.random.default_rng(3).permutation(len(clips))
    scorers = [
        GridScorer(match, 4, rescale=form, alpha=alpha).fit(clips[rows], is_target[rows])
        for rows in (np.arange(len(clips)), order)
    ]
    whole, permuted = (scorer.anomaly_score(queries) for scorer in scorers)
    np.testing.assert_array_equal(whole, permuted)
    left_out = scorers[0].leave_one_out_scores()
    np.testing.assert_array_equal(left_out[order], scorers[1].leave_one_out_scores())
    alone = [scorers[0].anomaly_score(query[None])[0] for query in queries]
    np.testing.assert_array_equal(whole, alone)
    monkeypatch.setattr(search, "_BLOCK", 7)
    monkeypatch.setattr(search, "_NUMBERS_AT_ONCE", 50)
    np.testing.assert_array_equal(scorers[0].anomaly_score(queries), whole)
    np.testing.assert_array_equal(scorers[0].leave_one_out_scores(), left_out)


# Banks of no or few clips, twins, silence.


@pytest.mark.parametrize(("form", "alpha"), FORMS)
def test_a_single_clip_gives_plain_distances_and_no_left_out_scores(form, alpha):
    clip, query = at(0), at(60)
    scorer = GridScorer(rescale=form, alpha=alpha).fit(clip, SOURCE[:1])
    expected = np.log(0.25) if form == "log" else 0.25
    assert scorer.anomaly_score(query)[0] == pytest.approx(expected, rel=1e-12)
    with pytest.raises(UserError, match="at least two training clips"):
        scorer.leave_one_out_scores()
    windows = GridScorer(rescale=form, alpha=alpha).fit_recordings(at(0, 1), SOURCE[:2], np.zeros(2, int))
    with pytest.raises(UserError, match="at least two training clips"):
        windows.leave_one_out_scores()


@pytest.mark.parametrize("form", ["identity", "log"])
def test_two_clips_tell_nothing_of_alpha(form):
    scorer = GridScorer(rescale=form, alpha="fitted", fewest=2).fit(at(0, 40), SOURCE[:2])
    assert scorer.state().arrays["alpha"].tolist() == [0]
    assert np.isfinite(scorer.leave_one_out_scores()).all()


def test_more_neighbors_than_others_are_all_others_and_said_once(caplog):
    many = fitted(rescale="ratio", alpha=1, neighbors=50)
    assert [record.message for record in caplog.records] == ["neighbors=50: a bank of 6 clips has 5 others"]
    all_of_them = fitted(rescale="ratio", alpha=1, neighbors=5)
    np.testing.assert_array_equal(many.anomaly_score(QUERY), all_of_them.anomaly_score(QUERY))


def test_alpha_is_not_fitted_to_few_recordings(caplog):
    clips, is_target, queries = machine(source=15, target=4)
    few = GridScorer(alpha="fitted").fit(clips, is_target)
    assert "19 training recordings, and it is fitted to 20 or more: it is 0" in caplog.text
    np.testing.assert_array_equal(few.anomaly_score(queries), GridScorer().fit(clips, is_target).anomaly_score(queries))
    caplog.clear()
    clips, is_target, _ = machine(source=16, target=4)
    assert GridScorer(alpha="fitted").fit(clips, is_target).state().arrays["alpha"][0] != 0
    assert not caplog.records
    windows = GridScorer(alpha="fitted").fit_recordings(clips, is_target, np.arange(20) // 2)
    assert windows.state().arrays["alpha"].tolist() == [0], "windows are no recordings"


def test_windows_that_overlap_are_no_measure_of_a_density():
    """Nor of new recordings: a threshold on scores against one's own windows alarms on nearly all of them."""
    rng = np.random.default_rng(0)
    windows = lambda count: np.repeat(rng.normal(size=(count, 8)), 4, axis=0) + 0.01 * rng.normal(size=(4 * count, 8))  # noqa: E731
    clips, new, recording = windows(40), windows(200), np.arange(160) // 4
    for options in ({}, {"rescale": "ratio", "alpha": 1.0, "neighbors": 1}, {"alpha": "fitted"}):
        alarms = []
        for numbers in (recording, np.arange(160)):
            scorer = GridScorer(**options).fit_recordings(clips, np.zeros(160, bool), numbers)
            threshold = np.quantile(scorer.leave_one_out_scores(), 0.9)
            alarms.append((scorer.anomaly_score(new) > threshold).mean())
        assert alarms[0] < 0.25
        assert alarms[1] > 0.5


def test_twins_in_the_bank():
    clips, is_target, queries = machine()
    clips[1] = clips[0]
    ratio = GridScorer(rescale="ratio", alpha=1, neighbors=1).fit(clips, is_target)
    assert ratio.anomaly_score(clips[:1])[0] == 0
    assert ratio.state().arrays["density"][0, 0] == 1e-12
    for form, alpha in FORMS:
        scorer = GridScorer(rescale=form, alpha=alpha, neighbors=1).fit(clips, is_target)
        assert np.isfinite(scorer.anomaly_score(queries)).all()
        assert np.isfinite(scorer.leave_one_out_scores()).all()


@pytest.mark.parametrize("form", ["identity", "log", "ratio"])
def test_a_bank_of_twins_alone(form):
    clips = np.tile([[1.0, 2.0, 3.0]], (25, 1))
    scorer = GridScorer(rescale=form, alpha="fitted").fit(clips, np.zeros(25, bool))
    assert scorer.state().arrays["alpha"].tolist() == [0]
    near, far = scorer.anomaly_score(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    assert near < far
    assert np.isfinite(scorer.leave_one_out_scores()).all()


def test_a_silent_band_is_at_right_angles_to_everything(caplog):
    clips = BANK.copy()
    clips[0, :2] = 0
    scorer = GridScorer("beam", 2).fit(clips, SOURCE)
    assert caplog.text.count("1 bands of training clips are all zeros") == 1
    silent = QUERY.copy()
    silent[:, :2] = 0
    # Also to a band that is silent itself.
    assert scorer.anomaly_score(silent)[0] == pytest.approx((0.5 + 0.007596) / 2, abs=1e-6)
    coupled = GridScorer("coupled", 2).fit(clips, SOURCE).anomaly_score(silent)[0]
    band = (1 - BANDS[1] @ QUERY[0, 2:]) / 2
    assert coupled == pytest.approx((0.5 + band.min()) / 2, abs=1e-9)
    with pytest.raises(UserError, match=r"row 1 is all zeros .* cannot be judged"):
        scorer.anomaly_score(np.concatenate([QUERY, np.zeros((1, 4))]))
    with pytest.raises(UserError, match="training embeddings: row 2 is all zeros"):
        GridScorer("beam", 2).fit(np.concatenate([BANK[:2], np.zeros((1, 4))]), SOURCE[:3])


def test_embeddings_that_do_not_divide_into_bands():
    with pytest.raises(UserError, match="bands=3: embeddings of 4 numbers do not divide"):
        GridScorer("beam", 3).fit(BANK, SOURCE)


@pytest.mark.parametrize(
    "bad",
    [{"match": "manhattan"}, {"bands": 0}, {"band_order": "middle"}, {"band_fusion": "min"}, {"rescale": "square"},
     {"alpha": -1}, {"alpha": "best"}, {"alpha": np.inf}, {"alpha": True}, {"neighbors": 0}, {"fewest": 0},
     {"folds": 1}, {"mixup": MemMixup(), "alpha": 1}],
    ids=str,
)  # fmt: skip
def test_bad_settings_are_named(bad, unchecked):
    with pytest.raises(UserError, match=next(iter(bad))):
        GridScorer(**bad)


@pytest.mark.parametrize("bad", [{"share": 1.0}, {"neighbors": 0}])
def test_bad_mixtures_are_named(bad):
    with pytest.raises(UserError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        MemMixup(**bad)
