import glob
import itertools
from pathlib import Path

import pytest

from asd_lightning.archive.listing import found, refuse_absent
from asd_lightning.errors import UserError

FILES = ("a/x.wav", "a/b/y.flac", "a/b/c/z.wav", "b/x.wav", "b/c/x.wav", "b/c/notes.txt", "top.wav", "[odd]/x.wav")


@pytest.fixture
def tree(tmp_path):
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def by_glob(pattern):
    """The same by Python's own patterns: what fits, and what lies in a folder that fits."""
    fit = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207
    below = [path for one in fit for path in ([one] if one.is_file() else one.rglob("*"))]
    return {path for path in below if path.suffix in (".wav", ".flac")}


def test_patterns_are_those_of_glob(tree):
    words = ("**", "*", "b", "x.w?v")
    for pattern in (parts for n in (1, 2, 3) for parts in itertools.product(words, repeat=n)):
        word = "/".join([str(tree), *pattern])
        if pattern != ("b",) * len(pattern):
            assert set(found([word])) == by_glob(word), word


def test_the_order_is_that_of_names_and_nothing_is_left_out(tree):
    whole = list(found([str(tree)]))
    assert len(whole) == len(FILES) - 1
    assert whole == list(found([f"{tree}/**"])) == sorted(whole)
    assert list(found([f"{tree}/[odd]"])) == [tree / "[odd]/x.wav"]


def test_listing_takes_no_more_than_it_is_asked_for(tree, monkeypatch):
    entered = []
    plain = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: entered.append(path.name) or plain(path))
    next(found([f"{tree}/**"]))
    assert set(entered) == {tree.name, "[odd]"}


def test_what_is_not_there_is_told_at_once(tree):
    for word in (tree / "absent.wav", tree / "absent/**", tree / "b/*.mp3"):
        with pytest.raises(UserError, match="no recordings there"):
            refuse_absent([str(tree / "a"), str(word)])
