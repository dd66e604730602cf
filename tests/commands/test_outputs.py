"""Where -o points: a place that cannot be written to is told in one line before a command does anything."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from asd_lightning import cli

FOLDERS = {
    "compare": ["a"],
    "select": ["a", "b"],
    "score-sweep": ["a", "scorer=knn"],
    "fuse": ["a", "b"],
    "reproduce": ["xju2025"],
    "synth": [],
    "submit": ["a", "--label", "b"],
    "download": ["dcase2025"],
}
FILES = {"report": ["a"], "data": ["stats", "a"], "enrol": ["a"], "export": ["a"], "explain": ["a", "b"]}


def _told(command: str, words: list[str], output: Path | str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main([command, *words, "-o", str(output)]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_in_place_of_a_folder(command, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    told = _told(command, FOLDERS[command], tmp_path / "file", capsys)
    assert told == f"asd: {tmp_path / 'file'}: cannot be written, it is no folder; give another place\n"
    below = _told(command, FOLDERS[command], tmp_path / "file" / "x", capsys)
    assert f"{tmp_path / 'file'} is no folder" in below
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", FILES)
def test_a_folder_in_place_of_a_file_and_the_terminal(command, tmp_path, capsys):
    assert "is a folder; name a file in it, such as -o " in _told(command, FILES[command], tmp_path, capsys)
    assert "asd: -: nothing is written to the terminal" in _told(command, FILES[command], "-", capsys)


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_a_disk_that_is_mounted_for_reading(command, tmp_path, monkeypatch, capsys):
    def refused(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("asd_lightning.atomic.os.open", refused)
    told = _told(command, (FOLDERS | FILES)[command], tmp_path / "x", capsys)
    assert f"asd: {tmp_path / 'x'}: cannot be written, since nothing can be in {tmp_path} (Read-only file" in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EEXIST])
def test_a_default_place_that_is_refused_later(number, monkeypatch, capsys):
    """Such as the folder of a run that may only be read."""

    def refused(_):
        raise OSError(number, os.strerror(number), "runs/a/score_sweep")

    monkeypatch.setattr("asd_lightning.commands.score_sweep.run", refused)
    assert cli.main(["score-sweep", "runs/a"]) == 2
    assert capsys.readouterr().err == (
        f"asd: runs/a/score_sweep: {os.strerror(number)}; give another place, or mend this one\n"
    )
