"""Archives: hostile ones leave nothing behind, interrupted ones are done again, nothing is overwritten."""

from __future__ import annotations

import shutil
import signal
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asd_lightning.download.archives import HostileArchiveError, Limits, extract, is_extracted
from asd_lightning.download.transfer import StoppedError
from asd_lightning.errors import UserError
from tests.download.small_disk import small_disk

NOISE = np.random.default_rng(1).bytes(20_000)
MEMBERS = {
    "fan/attributes_00.csv": b"file_name,d1p,d1v\n",
    **{f"fan/train/section_00_source_train_normal_{index:04d}.wav": NOISE[index:] for index in range(6)},
    **{f"fan/test/section_00_source_test_normal_{index:04d}.wav": NOISE[:-index] for index in range(1, 4)},
}


def write_zip(path: Path, members: dict[str, bytes], change: Callable[[zipfile.ZipInfo], None] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # as given: the constructor cuts at a zero byte
            info.compress_type = zipfile.ZIP_DEFLATED
            if change is not None:
                change(info)
            archive.writestr(info, content)
    return path


def unpack(
    archive: Path, root: Path, limits: Limits | None = None, stop: threading.Event | None = None
) -> dict[str, int]:
    return extract(archive, "fan", root / "raw" / "fan", root / "work", stop or threading.Event(), limits)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


EXPECTED = {name.removeprefix("fan/"): content for name, content in MEMBERS.items()}


@pytest.mark.parametrize("prefix", ["fan/", "", "dev_data/raw/fan/", "fan_r2/"])
def test_members_land_in_the_machines_folder(tmp_path: Path, prefix: str) -> None:
    members = {prefix + name: content for name, content in EXPECTED.items()}
    sizes = unpack(write_zip(tmp_path / "dev_fan.zip", members), tmp_path)
    assert contents(tmp_path / "raw" / "fan") == EXPECTED
    assert sizes == {name: len(content) for name, content in EXPECTED.items()}
    assert not (tmp_path / "work").exists()


def test_what_other_systems_add_is_left_out(tmp_path: Path) -> None:
    extra = {"__MACOSX/fan/train/._a.wav": b"x", "fan/.DS_Store": b"x"}
    unpack(write_zip(tmp_path / "dev_fan.zip", MEMBERS | extra), tmp_path)
    assert contents(tmp_path / "raw" / "fan") == EXPECTED


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def device(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFCHR | 0o666) << 16


HOSTILE = {
    "parent": ("fan/train/../../../../outside.wav", "outside its folder", None),
    "parent first": ("../outside.wav", "outside its folder", None),
    "absolute": ("/outside.wav", "outside its folder", None),
    "drive": ("C:/outside.wav", "outside its folder", None),
    "backslash": ("fan\\train\\..\\..\\outside.wav", "outside its folder", None),
    "zero byte": ("fan/train/a.wav\0/../../outside", "outside its folder", None),
    "link": ("fan/train/link.wav", "link or device", link),
    "device": ("fan/train/device.wav", "link or device", device),
    "deep": ("fan/train/" + "a/" * 20 + "b.wav", "deeper than 8", None),
    "other folder": ("fan/elsewhere/a.wav", "outside fan/train, test, supplemental", None),
    "archive in it": ("fan/inner.zip/train/a.wav", "outside fan/train, test, supplemental", None),
    "other machine": ("valve/train/a.wav", "outside fan/train, test, supplemental", None),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_refused_whole(tmp_path: Path, kind: str) -> None:
    name, message, change = HOSTILE[kind]
    root = tmp_path / "a" / "b" / "c"
    root.mkdir(parents=True)

    def change_last(info: zipfile.ZipInfo) -> None:
        if change is not None and info.filename == name:
            change(info)

    archive = write_zip(root / "dev_fan.zip", MEMBERS | {name: b"/etc/passwd"}, change_last)
    with pytest.raises(HostileArchiveError, match=f"{message}.*nothing was taken"):
        unpack(archive, root)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twin", ["fan/train/a.wav", "fan/train/A.WAV", "fan/train/./a.wav"])
def test_two_members_of_one_name_are_refused(tmp_path: Path, twin: str) -> None:
    archive = tmp_path / "dev_fan.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("fan/train/a.wav", b"one")
        opened.writestr(twin, b"two")
    with pytest.raises(HostileArchiveError, match="twice"):
        unpack(archive, tmp_path)


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    data = bytearray(archive.read_bytes())
    position = data.index(b"PK\x01\x02")
    data[position + 8] |= 0x1  # the flag in the central directory
    archive.write_bytes(data)
    with pytest.raises(HostileArchiveError, match="encrypted"):
        unpack(archive, tmp_path)


def test_a_bomb_by_ratio_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", {"fan/train/a.wav": bytes(20_000_000)})
    with pytest.raises(HostileArchiveError, match="would grow"):
        unpack(archive, tmp_path)
    assert not (tmp_path / "raw").exists()


def test_a_bomb_by_count_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", {f"fan/train/{index}.wav": b"" for index in range(101)})
    with pytest.raises(HostileArchiveError, match="holds 101 files, more than 100"):
        unpack(archive, tmp_path, Limits(members=100))


def test_a_bomb_by_total_size_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    with pytest.raises(HostileArchiveError, match="would grow"):
        unpack(archive, tmp_path, Limits(total_bytes=1000))


def test_a_member_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", {"fan/train/a.wav": bytes(1_000_000) + NOISE * 5})
    data = bytearray(archive.read_bytes())
    position = data.index(b"PK\x01\x02")
    data[position + 24 : position + 28] = (1000).to_bytes(4, "little")  # the size in the central directory
    archive.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        unpack(archive, tmp_path)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "not a zip"])
def test_damaged_archives_leave_nothing(tmp_path: Path, damage: str) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    data = bytearray(archive.read_bytes())
    if damage == "flipped":
        data[5000] ^= 0xFF
    archive.write_bytes({"flipped": data, "cut": data[:-3000], "not a zip": NOISE}[damage])
    with pytest.raises(UserError, match=r"damaged.*remove it and run the command again"):
        unpack(archive, tmp_path)
    assert not (tmp_path / "raw").exists()


def test_empty_archive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no file"):
        unpack(write_zip(tmp_path / "dev_fan.zip", {}), tmp_path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    own = tmp_path / "raw" / "fan" / "train" / "section_00_source_train_normal_0003.wav"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"0003.wav: there already with other content and not overwritten.*move away"):
        unpack(write_zip(tmp_path / "dev_fan.zip", MEMBERS), tmp_path)
    own_name = str(own.relative_to(tmp_path / "raw" / "fan"))
    assert contents(tmp_path / "raw" / "fan") == EXPECTED | {own_name: b"mine"}
    assert not (tmp_path / "work").exists()


def test_all_that_differs_is_told_at_once(tmp_path: Path) -> None:
    names = [name for name in EXPECTED if name.startswith("train")]
    assert len(names) == 6
    for name in names:
        (tmp_path / "raw" / "fan" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / "fan" / name).write_bytes(b"mine")
    with pytest.raises(UserError, match=r"0000.wav, .*0004.wav and 1 more: there already"):
        unpack(write_zip(tmp_path / "dev_fan.zip", MEMBERS), tmp_path)


def test_a_folder_on_another_disk_is_told(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    with small_disk(tmp_path / "raw", "512k"):
        with pytest.raises(UserError, match=r"lies on another disk than .*--output"):
            unpack(archive, tmp_path)
        assert contents(tmp_path / "raw") == {}
    assert not (tmp_path / "work").exists()


def test_a_link_in_place_of_a_split_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "raw" / "fan").mkdir(parents=True)
    (tmp_path / "raw" / "fan" / "train").symlink_to(outside)
    with pytest.raises(UserError, match="not overwritten"):
        unpack(write_zip(tmp_path / "dev_fan.zip", MEMBERS), tmp_path)
    assert list(outside.iterdir()) == []


def test_train_and_test_archives_meet_in_one_folder(tmp_path: Path) -> None:
    train = {name: content for name, content in MEMBERS.items() if "/test/" not in name}
    test = {name: content for name, content in MEMBERS.items() if "/test/" in name}
    unpack(write_zip(tmp_path / "eval_data_fan_train.zip", train), tmp_path)
    unpack(write_zip(tmp_path / "eval_data_fan_test.zip", test), tmp_path)
    assert contents(tmp_path / "raw" / "fan") == EXPECTED


def test_what_is_missing_is_completed(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    sizes = unpack(archive, tmp_path)
    folder = tmp_path / "raw" / "fan"
    assert is_extracted(folder, sizes)
    victim = folder / "train" / "section_00_source_train_normal_0003.wav"
    victim.unlink()
    assert not is_extracted(folder, sizes)
    unpack(archive, tmp_path)
    assert contents(folder) == EXPECTED


def test_a_shortened_file_is_noticed(tmp_path: Path) -> None:
    sizes = unpack(write_zip(tmp_path / "dev_fan.zip", MEMBERS), tmp_path)
    (tmp_path / "raw" / "fan" / "attributes_00.csv").write_bytes(b"")
    assert not is_extracted(tmp_path / "raw" / "fan", sizes)


def test_stopping_leaves_nothing_in_place(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(StoppedError):
        unpack(write_zip(tmp_path / "dev_fan.zip", MEMBERS), tmp_path, stop=stop)
    assert not (tmp_path / "raw").exists()


KILLED_WHILE_UNPACKING = """
import os, signal, sys, threading
from pathlib import Path
from asd_lightning.download.archives import extract

def die(done):
    if done > 70_000:
        os.kill(os.getpid(), signal.SIGKILL)

root = Path(sys.argv[1])
extract(root / "dev_fan.zip", "fan", root / "raw" / "fan", root / "work", threading.Event(), report=die)
"""

KILLED_WHILE_MOVING = """
import os, signal, sys, threading
from pathlib import Path
from asd_lightning.download.archives import extract

root = Path(sys.argv[1])
(root / "raw" / "fan").mkdir(parents=True)
rename = Path.rename

def rename_and_die(self, target):
    rename(self, target)
    if self.name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

Path.rename = rename_and_die
extract(root / "dev_fan.zip", "fan", root / "raw" / "fan", root / "work", threading.Event())
"""


def run_to_its_death(script: str, *arguments: str) -> None:
    ended = subprocess.run([sys.executable, "-c", script, *arguments], check=False)
    assert ended.returncode == -signal.SIGKILL


def test_killed_while_unpacking(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    run_to_its_death(KILLED_WHILE_UNPACKING, str(tmp_path))
    assert any((tmp_path / "work").rglob("*.wav"))
    assert not (tmp_path / "raw").exists()
    unpack(archive, tmp_path)
    assert contents(tmp_path / "raw" / "fan") == EXPECTED
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("last", ["attributes_00.csv", "test", "train"])
def test_killed_while_moving(tmp_path: Path, last: str) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    run_to_its_death(KILLED_WHILE_MOVING, str(tmp_path), last)
    # Each split is there whole or not at all.
    for split in ("train", "test"):
        found = contents(tmp_path / "raw" / "fan" / split)
        assert len(found) in (0, sum(name.startswith(split) for name in EXPECTED))
    unpack(archive, tmp_path)
    assert contents(tmp_path / "raw" / "fan") == EXPECTED


def test_no_room_to_unpack_is_told_before_the_first_byte(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    with small_disk(tmp_path / "small", "128k") as root:
        with pytest.raises(UserError, match=r"no space to unpack dev_fan.zip.*free some and run the command again"):
            unpack(archive, root)
        assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_disk_that_fills_up_while_unpacking_leaves_nothing_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_zip(tmp_path / "dev_fan.zip", MEMBERS)
    # Another program takes the space after it was found sufficient.
    plenty = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: plenty)
    with small_disk(tmp_path / "small", "128k") as root:
        with pytest.raises(UserError, match=r"no space left.*free some and run the command again"):
            unpack(archive, root)
        assert not (root / "raw").exists()
