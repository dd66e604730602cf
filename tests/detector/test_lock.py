"""One change of a detector's file at a time, and what the file keeps."""

import contextlib
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import asd_lightning
from asd_lightning.detector import lock
from asd_lightning.detector.actions import ChangedMeanwhile, enrol
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.file import DetectorFile
from asd_lightning.detector.lock import locked
from asd_lightning.errors import UserError
from tests.detector.sounds import hum, write, write_normal


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


def test_of_two_that_accept_at_once_none_loses_what_the_other_did(own, tmp_path, monkeypatch):
    """Each reads the file before it is written; that both have read it when either writes, the lock forbids."""
    met, told = threading.Barrier(2), []

    class Met(DetectorFile):
        def __init__(self, path):
            super().__init__(path)
            with contextlib.suppress(threading.BrokenBarrierError):
                met.wait(timeout=0.3)

    def accept(number):
        try:
            asd_lightning.accept(own, write(tmp_path / f"{number}.wav", hum(500 + number)))
            told.append("done")
        except ChangedMeanwhile as error:
            told.append(str(error))

    monkeypatch.setattr("asd_lightning.detector.actions.DetectorFile", Met)
    threads = [threading.Thread(target=accept, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    changes = len(Detector.load(own).machines_["pump"].changes) - 1
    assert (len(told), told.count("done")) == (2, changes)
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_detector_that_appears_while_another_of_its_name_is_made_is_not_replaced(pump, own, tmp_path, monkeypatch):
    made = Detector.fit

    def meanwhile(*arguments):
        shutil.copy(own, tmp_path / "new.asd")
        return made(*arguments)

    monkeypatch.setattr(Detector, "fit", meanwhile)
    with pytest.raises(ChangedMeanwhile, match=r"new\.asd: was changed meanwhile"):
        enrol(pump / "pump/normal", tmp_path / "new.asd", clip_seconds=1.0, sounds=0)
    assert (tmp_path / "new.asd").read_bytes() == own.read_bytes()


def test_who_may_read_a_detector_and_a_link_to_it_stay_as_they_are(own, tmp_path):
    own.chmod(0o440)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere/link.asd"
    link.symlink_to("../pump.asd")
    clip = write(tmp_path / "a.wav", hum(500))
    for change in (lambda: asd_lightning.accept(link, clip), lambda: asd_lightning.undo(link)):
        before = own.read_bytes()
        change()
        assert own.read_bytes() != before
        assert link.is_symlink()
        assert stat.S_IMODE(own.stat().st_mode) == 0o440


def test_nothing_is_made_where_a_link_that_leads_nowhere_would_have_it(pump, tmp_path):
    link = tmp_path / "link.asd"
    link.symlink_to(tmp_path / "victim")
    enrol(write_normal(tmp_path / "pump/normal", 12), link, clip_seconds=1.0, sounds=0)
    assert not link.is_symlink()
    assert not (tmp_path / "victim").exists()
