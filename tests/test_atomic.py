"""Files that are written, and links that somebody has planted where they are written."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from unittest import mock

import pytest

from asd_lightning.atomic import open_unlinked, replaced, write_atomically, write_text_atomically
from asd_lightning.download.pipeline import download_year
from asd_lightning.download.retry import RetryPolicy, new_session
from asd_lightning.download.transfer import Wanted, fetch
from asd_lightning.download.years import find_year
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import claimed
from tests.download.record_server import RecordServer, serving


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    write_text_atomically(path, "one\r\n")
    assert path.read_bytes() == b"one\r\n"
    with pytest.raises(TypeError), write_atomically(path) as file:
        file.write(b"two" + "half")  # type: ignore[operator]
    assert path.read_bytes() == b"one\r\n"
    assert [file.name for file in path.parent.iterdir()] == ["b.txt"]


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text_atomically(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_link_at_the_place_is_replaced_not_followed(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "out").symlink_to(victim)
    write_text_atomically(tmp_path / "out", "new")
    assert (tmp_path / "out").read_text() == "new"
    assert not (tmp_path / "out").is_symlink()
    assert victim.read_text() == "precious"


def test_links_under_the_names_of_before_are_not_written_through(tmp_path: Path, victim: Path) -> None:
    (tmp_path / f".out.{os.getpid()}.tmp").symlink_to(victim)
    write_text_atomically(tmp_path / "out", "new")
    assert victim.read_text() == "precious"
    assert (tmp_path / f".out.{os.getpid()}.tmp").is_symlink()


def test_even_a_guessed_name_is_not_written_through(tmp_path: Path, victim: Path) -> None:
    (tmp_path / ".out.guess.tmp").symlink_to(victim)
    with mock.patch("secrets.token_hex", return_value="guess"), pytest.raises(FileExistsError):
        write_text_atomically(tmp_path / "out", "new")
    assert victim.read_text() == "precious"
    assert (tmp_path / ".out.guess.tmp").is_symlink()


def test_a_temporary_file_that_becomes_a_link_is_not_written_through(tmp_path: Path, victim: Path) -> None:
    with replaced(tmp_path / "out") as temporary:
        temporary.unlink()
        temporary.symlink_to(victim)
        with pytest.raises(OSError, match="symbolic links"):
            open_unlinked(temporary, "wb")
    assert victim.read_text() == "precious"


def test_a_link_in_place_of_an_unfinished_transfer(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "a.zip.part").symlink_to(victim)
    with serving(RecordServer({"/a.zip": b"content"})) as server, new_session() as session:
        fetch(session, Wanted(f"{server.url}/a.zip", size=7), tmp_path / "a.zip", RetryPolicy(tries=1))
    assert (tmp_path / "a.zip").read_bytes() == b"content"
    assert victim.read_text() == "precious"


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path, victim: Path) -> None:
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download" / "lock").symlink_to(victim)
    with pytest.raises(UserError, match=r"lock is a link, .*remove it"):
        download_year(find_year("dcase2025"), tmp_path)
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(UserError, match=r"\.lock is a link"), claimed(tmp_path):
        pass
    assert victim.read_text() == "precious"
