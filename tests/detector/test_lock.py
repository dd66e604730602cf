"""One change of a detector's file at a time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from asd_lightning.detector import lock
from asd_lightning.detector.lock import locked
from asd_lightning.errors import UserError


def test_who_comes_second_waits_and_nothing_is_left(tmp_path):
    inside, order = threading.Event(), []

    def second():
        with locked(tmp_path / "x.asd"):
            inside.set()
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path / "x.asd"):
        thread.start()
        assert not inside.wait(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_removed_while_it_was_waited_for_is_none(tmp_path, monkeypatch):
    """Its holder removes it at the end: whoever waited for that file alone would keep nobody out."""
    at, seen = lock._is_at, []

    def removed(place, number):
        seen.append(place)
        if len(seen) == 1:
            place.unlink()
        return at(place, number)

    monkeypatch.setattr(lock, "_is_at", removed)
    with locked(tmp_path / "x.asd"):
        assert (tmp_path / ".x.asd.lock").exists()
    assert len(seen) == 2


def test_what_a_kill_has_left_is_used_again_and_a_link_is_refused(tmp_path):
    (tmp_path / ".x.asd.lock").touch()
    with locked(tmp_path / "x.asd"):
        pass
    (tmp_path / ".x.asd.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(UserError, match=r"\.x\.asd\.lock is a link"), locked(tmp_path / "x.asd"):
        pass
    assert not (tmp_path / "victim").exists()


def test_one_that_is_held_for_too_long_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_SECONDS", 0.0)

    def second():
        with pytest.raises(UserError, match="another process has held this lock"), locked(tmp_path / "x.asd"):
            pass
        return "told"

    with locked(tmp_path / "x.asd"), ThreadPoolExecutor() as pool:
        assert pool.submit(second).result() == "told"
