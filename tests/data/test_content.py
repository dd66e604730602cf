"""A recording is known by its content."""

import os
import shutil

import numpy as np
import pytest

from asd_lightning.data.content import Contents, content_digest


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(np.random.default_rng(0).bytes(1_000_000))
    return path


def overwrite(path, place, value=b"\0\1\2\3"):
    """Other bytes, the same size and time."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        file.write(value)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("place", [0, 999_990, 551_010])
def test_other_bytes_of_the_same_size_and_time_are_seen(recording, tmp_path, place):
    before, known = content_digest(recording), Contents(tmp_path)
    assert known.digests([recording]) == [before]
    known.keep()
    overwrite(recording, place)
    after = content_digest(recording)
    assert after != before
    assert Contents(tmp_path).digests([recording]) == [after]


@pytest.mark.parametrize("size", [0, 1, 8192, 8193, 81_920])
def test_a_small_file_is_read_whole(tmp_path, size):
    path = tmp_path / "a"
    content = bytearray(np.random.default_rng(size).bytes(size))
    path.write_bytes(content)
    before = content_digest(path)
    for place in {0, size // 3, size // 2, size - 1} if size else ():
        content[place] ^= 1
        path.write_bytes(content)
        assert content_digest(path) != before
        content[place] ^= 1


def test_a_copy_is_the_same_and_an_unchanged_file_is_not_read_again(recording, tmp_path, monkeypatch):
    known = Contents(tmp_path)
    copy = shutil.copy(recording, tmp_path / "b.wav")
    assert len(set(known.digests([recording, copy]))) == 1
    known.keep()
    monkeypatch.setattr("asd_lightning.data.content.content_digest", lambda _: pytest.fail("read again"))
    Contents(tmp_path).digests([recording])


@pytest.mark.parametrize("memo", [b"", b"[]", b'{"00": [1]}', b"[" * 100_000, b"\xff"])
def test_a_damaged_memo_costs_a_reading(recording, tmp_path, memo):
    (tmp_path / "contents.json").write_bytes(memo)
    assert Contents(tmp_path).digests([recording]) == [content_digest(recording)]


def test_what_cannot_be_read_says_so(tmp_path):
    assert content_digest(tmp_path / "absent") == "unreadable"
    assert Contents(tmp_path).digests([tmp_path / "absent"]) == ["unreadable"]
