import dataclasses
import json

import numpy as np
import pytest
import torch

from asd_lightning.atomic import write_atomically
from asd_lightning.encoders.grid import TokenGrid
from asd_lightning.encoders.over_time import DeviationWeighted, Mean
from asd_lightning.encoders.pooling import GridPooling
from asd_lightning.errors import UserError
from asd_lightning.scoring import feature_store
from asd_lightning.scoring.feature_store import StoredFeatures, fits_half, read_features, write_features
from tests.scoring.runs import make_cache, make_clips

BANDS, DIM = 4, 6


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(make_clips(tmp_path_factory.mktemp("data"), "fan", each=2))


@pytest.fixture
def features(cache):
    rng = np.random.default_rng(0)
    parts = (rng.normal(size=(len(part), BANDS, DIM)).astype(np.float32) for part in (cache.reference, cache.query))
    return StoredFeatures("rdp_4", *parts, cache.key)


def test_what_is_written_is_read_in_half_precision(features, tmp_path):
    path = tmp_path / "features" / "rdp_4.npz"
    assert write_features(path, features)
    read = read_features(path)
    assert (read.pooling, read.key, read.bands) == ("rdp_4", features.key, BANDS)
    for part, exact in ((read.reference, features.reference), (read.query, features.query)):
        assert part.dtype == np.float16
        np.testing.assert_array_equal(part, exact.astype(np.float16))
    assert path.stat().st_size < 2 * (features.reference.size + features.query.size) + 2_000


@pytest.mark.parametrize("largest", [6.1e4, 7e4, 1e30])
@pytest.mark.parametrize("part", ["reference", "query"])
def test_what_half_precision_cannot_hold_stays_single(features, tmp_path, largest, part):
    getattr(features, part)[1, 2, 3] = largest
    assert not write_features(tmp_path / "x.npz", features)
    read = read_features(tmp_path / "x.npz")
    assert read.reference.dtype == read.query.dtype == np.float32
    np.testing.assert_array_equal(read.reference, features.reference)
    np.testing.assert_array_equal(read.query, features.query)


def test_small_numbers_stay_single_where_half_would_turn_them():
    one = np.full((1, 1, 2), 1.0)
    assert fits_half(one * 6e4)
    assert fits_half(one * 6e-5)
    assert not fits_half(one * 1e-6)
    # A small component beside a large one moves nothing, and neither does what is silence anyway.
    assert fits_half(np.array([[[1.0, 1e-9]]]))
    assert fits_half(one * 1e-14)
    assert fits_half(one * 0)
    assert fits_half(np.empty((0, 1, 2)))


def test_half_precision_leaves_the_order_of_distances(cache):
    """As far as it is said: a relative change of the cosine distances of some 1e-4, no other neighbour."""
    rng = np.random.default_rng(1)
    bank = 5 * rng.normal(size=768) + rng.normal(size=(200, 768))
    halved = bank.astype(np.float16).astype(np.float64)

    def distances(vectors):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return (0.5 * (1 - unit @ unit.T))[np.triu_indices(len(unit), 1)]

    np.testing.assert_allclose(distances(halved), distances(bank), rtol=1e-3)


def test_the_mean_with_merged_bands_follows_from_the_mean_and_rdp_does_not(cache):
    rng = np.random.default_rng(2)
    tokens = torch.from_numpy(rng.normal(size=(len(cache.reference), 7 * BANDS, DIM)).astype(np.float32))
    grid = TokenGrid(bands=BANDS, channels=DIM)
    found = {}
    for name, pooling in (("mean", Mean()), ("rdp", DeviationWeighted(4.0))):
        kept = GridPooling(grid, pooling)(tokens).numpy().reshape(-1, BANDS, DIM)
        merged = GridPooling(grid, pooling, bands="merge")(tokens).numpy()
        derived = StoredFeatures(name, kept, kept, cache.key).merged()
        assert (derived.bands, derived.pooling) == (1, f"{name}_merged")
        found[name] = np.abs(derived.reference[:, 0] - merged).max()
    assert found["mean"] < 1e-6
    assert found["rdp"] > 1e-2


def test_they_stand_in_for_the_embeddings_of_the_same_test_alone(features, cache):
    replaced = features.instead_of(cache)
    assert (replaced.reference_clips, replaced.query_clips) == (cache.reference_clips, cache.query_clips)
    np.testing.assert_array_equal(replaced.reference[3], features.reference[3].ravel())
    for other in (
        StoredFeatures("rdp_4", features.reference[1:], features.query, features.key),
        StoredFeatures("rdp_4", features.reference, features.query, dataclasses.replace(cache.key, model="x")),
    ):
        with pytest.raises(UserError, match="rdp_4: of another test"):
            other.instead_of(cache)


def test_a_file_is_whole_or_not_there(features, tmp_path, monkeypatch):
    def interrupted(file, **arrays):
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(feature_store.np, "savez", interrupted)
    with pytest.raises(OSError, match="No space left"):
        write_features(tmp_path / "x.npz", features)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"reference": np.zeros((3, 4), np.float16)},
        {"reference": np.zeros((3, 4, 5), np.float16)},
        {"query": np.full((3, BANDS, DIM), np.nan, np.float16)},
        {"query": np.zeros((3, BANDS, DIM), np.int64)},
        {"about": np.array("{}")},
        {"about": np.array("[]")},
        {"about": np.array('{"pooling": "mean", "key": 3}')},
        {"about": np.array("x")},
        {"reference": np.array([{}], dtype=object)},
    ],
    ids=str,
)
def test_what_is_no_pooling_is_told_in_one_line(features, tmp_path, change):
    path = tmp_path / "x.npz"
    about = np.array(json.dumps({"pooling": "mean", "key": features.key.stored()}))
    content = {"about": about, "reference": features.reference, "query": features.query}
    with write_atomically(path) as file:
        np.savez(file, **content | change)
    with pytest.raises(UserError, match=r"x\.npz: not stored features \(.*\); store them again") as caught:
        read_features(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no stored features there"):
        read_features(tmp_path / "y.npz")
