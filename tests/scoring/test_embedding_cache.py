import dataclasses
import json
import os

import numpy as np
import pytest
import torch

from asd_lightning.errors import UserError
from asd_lightning.scoring.embedding_cache import (
    model_digest,
    read_embeddings,
    recordings_state,
    write_embeddings,
)
from tests.scoring.runs import MODEL, make_cache, make_clips


@pytest.fixture
def cache(tmp_path):
    return make_cache(make_clips(tmp_path / "data", "fan"))


def test_what_is_written_is_read(cache, tmp_path):
    write_embeddings(tmp_path / "e.npz", cache)
    read = read_embeddings(tmp_path / "e.npz")
    assert (read.reference_clips, read.query_clips, read.key) == (cache.reference_clips, cache.query_clips, cache.key)
    np.testing.assert_array_equal(read.reference, cache.reference)
    np.testing.assert_array_equal(read.query, cache.query)


def test_pieces_of_recordings_keep_their_place(tmp_path):
    clips = [dataclasses.replace(clip, start=2.5, seconds=1.0) for clip in make_clips(tmp_path / "data", "fan")]
    write_embeddings(tmp_path / "e.npz", make_cache(clips))
    assert {(clip.start, clip.seconds) for clip in read_embeddings(tmp_path / "e.npz").query_clips} == {(2.5, 1.0)}


def test_recordings_unchanged_changed_absent(cache):
    assert recordings_state(cache) == "unchanged"
    path = cache.query_clips[3].path
    status, content = path.stat(), path.read_bytes()
    os.utime(path, ns=(0, 123_456_789))
    assert recordings_state(cache) == "unchanged", "a copy has another time"
    path.write_bytes(content[:-2] + b"\x01\x02")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert recordings_state(cache) == "changed", "of the same size and time"
    path.unlink()
    assert recordings_state(cache) == "absent"


def test_the_model_digest_sees_values_names_types_and_architecture():
    state = {"a": torch.zeros(2, 3), "b": torch.ones(())}
    digests = {
        model_digest(state, MODEL),
        model_digest({**state, "b": torch.zeros(())}, MODEL),
        model_digest({"c": state["a"], "b": state["b"]}, MODEL),
        model_digest({**state, "a": torch.zeros(3, 2)}, MODEL),
        model_digest({**state, "a": torch.zeros(2, 3, dtype=torch.bfloat16)}, MODEL),
        model_digest(state, {**MODEL, "score_after_head": False}),
        model_digest(state, {**MODEL, "embedder": {"branches": {"fft": {"normalize": "l2"}}}}),
    }
    assert len(digests) == 7
    # Neither the order of the weights nor the back-end matters.
    assert model_digest(dict(reversed(state.items())), MODEL | {"scorer": {"k": 5}}) == model_digest(state, MODEL)


def test_a_cache_of_an_older_version_is_read(cache, tmp_path):
    """It kept options that say nothing of what was heard, and no recordings."""
    path = tmp_path / "e.npz"
    write_embeddings(path, cache)
    with np.load(path) as content:
        columns = {name: content[name] for name in content.files if name not in ("scored_file", "recording")}
    key = json.loads(str(columns["key"]))
    key["preprocessing"] = {"clip_seconds": 1.0, "channel": 0, "pad": "tile", "some_old_option": 3}
    np.savez(path, **columns | {"key": np.array(json.dumps(key))})
    read = read_embeddings(path)
    assert read.key == cache.key
    assert read.query_clips == cache.query_clips


def test_a_file_that_is_no_cache_is_named(cache, tmp_path):
    path = tmp_path / "e.npz"
    with pytest.raises(UserError, match=r"e\.npz: no embeddings there"):
        read_embeddings(path)
    write_embeddings(path, cache)
    whole = path.read_bytes()
    for content in (b"", b"not a zip file", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"e\.npz: not embeddings with their clips"):
            read_embeddings(path)
    np.savez(path, reference=cache.reference, query=cache.query)
    with pytest.raises(UserError, match="test the run again"):
        read_embeddings(path)


@pytest.mark.parametrize("part", ["reference", "query"])
@pytest.mark.parametrize("spoil", ["nan", "infinite", "complex", "whole", "flat", "deep", "wide"])
def test_what_is_no_table_of_finite_vectors_is_refused(cache, tmp_path, part, spoil):
    path = tmp_path / "e.npz"
    write_embeddings(path, cache)
    with np.load(path) as stored:
        content = dict(stored)
    vectors = content[part]
    spoilt = {
        "nan": np.where(np.arange(vectors.shape[1]) == 1, np.float32("nan"), vectors),
        "infinite": np.where(np.arange(vectors.shape[1]) == 1, np.float32("inf"), vectors),
        "complex": vectors.astype(np.complex64),
        "whole": vectors.astype(np.int64),
        "flat": vectors[:, 0],
        "deep": vectors[..., None],
        "wide": np.concatenate([vectors, vectors], axis=1),
    }
    np.savez(path, **content | {part: spoilt[spoil]})
    with pytest.raises(UserError, match=r"e\.npz: not embeddings with their clips \(.*\); test the run again"):
        read_embeddings(path)


def test_nothing_in_the_file_is_unpickled(cache, tmp_path):
    path = tmp_path / "e.npz"
    np.savez(path, key=np.array({"model": "x"}, dtype=object), reference=cache.reference, query=cache.query)
    with pytest.raises(UserError, match="not embeddings"):
        read_embeddings(path)
