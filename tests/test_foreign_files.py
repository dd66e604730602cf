"""What a file of somebody else may cost, in every format: each attack is written out here."""

from __future__ import annotations

import io
import json
import os
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from asd_lightning import foreign_files
from asd_lightning.configuration import CONF_DIR
from asd_lightning.foreign_files import ForeignFileError, load_json, load_npz, load_yaml, parse_yaml, read_csv

BILLION_LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


def refused(reader: Callable[[Path], Any], path: Path, reason: str) -> None:
    """One line that names the file, at once."""
    start = time.process_time()
    with pytest.raises(ForeignFileError, match=reason) as error:
        reader(path)
    assert time.process_time() - start < 10
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 600


# --- any file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [load_yaml, load_json, read_csv, load_npz])
def test_only_files_that_end_are_read(reader: Callable[[Path], Any], tmp_path: Path) -> None:
    refused(reader, tmp_path / "absent", "no such file")
    refused(reader, tmp_path, "is not a file")
    os.mkfifo(tmp_path / "pipe")
    refused(reader, tmp_path / "pipe", "is not a file")
    (tmp_path / "endless").symlink_to("/dev/zero")
    refused(reader, tmp_path / "endless", "is not a file")
    (tmp_path / "loop").symlink_to("loop")
    refused(reader, tmp_path / "loop", "cannot be read")


@pytest.mark.parametrize(("reader", "most"), [(load_yaml, 1 << 20), (load_json, 4 << 20), (read_csv, 32 << 20)])
def test_sizes_end_somewhere(reader: Callable[[Path], Any], most: int, tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(most * 1000)  # a file of holes takes no room on the disk
    refused(reader, path, f"more than {most:,} bytes")


@pytest.mark.parametrize("reader", [load_yaml, load_json, read_csv])
def test_text_is_utf_8(reader: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"m\xfcller")
    refused(reader, path, "is not UTF-8 text: .* at byte 1")


# --- YAML -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BILLION_LAUGHS, r"aliases .*line 2"),
        ("a: &a [*a]", "aliases"),
        ("a: &a {b: 1}\nc:\n  <<: *a", "aliases"),
        ("[" * 20_000, "deeper than 40 levels"),
        ("".join(f"{'  ' * i}a:\n" for i in range(500)), "deeper than 40 levels"),
        ("- " * 5_000, "deeper than 40 levels"),
        ("? " * 5_000, "deeper than 40 levels"),
        ("- a\n" * 100_000, "more than 20,000 values"),
        ("!!python/object/apply:os.system [touch x]", r"tags \(tag:yaml.org,2002:python/object/apply:os.system\)"),
        ("a: !!binary aGFsbG8=", "tags"),
        ("a: !!timestamp 2025-99-99", "tags"),
        ("a: " + "9" * 5_000, "a number of 5,000 characters"),
        ("a: 1" + ":59" * 200_000, "a number of 600,001 characters"),
        ("a: 0b" + "1" * 500_000, "a number of 500,002 characters"),
        ("? [a]\n: b", "not YAML"),
        ("a: =", "not YAML"),
        ("a: 1\na: 2", "the key 'a' comes a second time"),
        ("a: [", "not YAML"),
        ("a: \x1b[31m", "not YAML"),
        ("%YAML 9.9\n---\na", "not YAML"),
        ("--- a\n--- b", "not YAML"),
        ("a: 0x_", "not YAML"),
    ],
)
def test_yaml_is_plain_and_small(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    refused(load_yaml, path, reason)


def test_dates_stay_text() -> None:
    assert parse_yaml("a: 2025-99-99\nb: 2025-01-01\nc: 2025-01-01T00:00:00Z", "here") == {
        "a": "2025-99-99",
        "b": "2025-01-01",
        "c": "2025-01-01T00:00:00Z",
    }


def test_own_configurations_read_as_hydra_reads_them() -> None:
    for path in CONF_DIR.rglob("*.yaml"):
        assert load_yaml(path) == OmegaConf.to_container(OmegaConf.load(path), resolve=False) or not load_yaml(path)
    numbers = "[1, 1.5, 1e-4, -2E3, .5, 1_000, .inf, -.inf, 0x1F, 1:30, yes, null, ~, '1', 1.e3, 12e, e5]"
    assert parse_yaml(numbers, "here") == OmegaConf.to_container(OmegaConf.create(numbers))


def test_what_is_written_here_is_read_here() -> None:
    shared = ["a"]
    tree = {"list": [1, {"b": None}], "text": "2025-01-01", "odd": "*x", "twice": [shared, shared.copy()]}
    assert parse_yaml(yaml.safe_dump(tree), "here") == tree
    assert parse_yaml(OmegaConf.to_yaml(OmegaConf.create(tree)), "here") == tree


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 300_000 + "]" * 300_000, "deeper than 40 levels"),
        ('{"a":' * 300_000 + "1" + "}" * 300_000, "deeper than 40 levels"),
        ("[" * 100 + "]" * 100, "deeper than 40 levels"),
        ("[" + "[]," * 600_000 + "[]]", "more than 500,000 values"),
        ("9" * 100_000, "not JSON"),
        ('{"a": 1', "not JSON"),
        ("", "not JSON"),
    ],
)
def test_json_is_small(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(text)
    refused(load_json, path, reason)


def test_json_of_a_usual_size_is_read(tmp_path: Path) -> None:
    content = {"list": list(range(100_000)), "nested": json.loads("[" * 30 + "]" * 30)}
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert load_json(tmp_path / "a.json") == content


# --- CSV --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n" * 1_000_001, "more than 1,000,000 rows"),
        ((",," * 1_000 + "\n") * 2_001, "4,000,000 fields"),
        ("," * 2_000_000, "line 1 has more than 1,048,576 characters"),
        ('"' + "a\n" * 100_000, "row 1: field larger than field limit"),
        ("a,b\n" + "x" * 200_000, "row 2: field larger than field limit"),
    ],
)
def test_csv_is_small(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    refused(read_csv, path, reason)


def test_csv_rows_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfa,"b\nc"\r\n\r\nd\r\n')
    assert read_csv(tmp_path / "a.csv", "utf-8-sig") == [["a", "b\nc"], [], ["d"]]


# --- NPZ --------------------------------------------------------------------------------------------------------------


def npy(shape: str, content: bytes = b"", descr: str = "'<f8'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (npy("(10**9,)"), "is not an array"),
        (npy("(1000000000000,)"), r"shape \(1000000000000,\) is more than the file holds"),
        (npy("(4294967296, 4294967296, 4294967296)"), "is more than the file holds"),
        (npy("(-1, -8)", b"x" * 64), "is more than the file holds"),
        (npy("(1,)", b"x" * 8, "'|O'"), "neither numbers nor text"),
        (npy("(1,)", b"x" * 8, "[('a', '<f8')]"), "neither numbers nor text"),
        (npy("(1,)", b"x" * 8, "'<M8[D]'"), "neither numbers nor text"),
        (npy("(1000000000000,)", b"", "'<U0'"), "neither numbers nor text"),
        (npy("(" * 3_000 + ")" * 3_000), "is not an array"),
        (npy("(True, 'a')", b"x" * 8), "is not an array"),
        (b"\x93NUMPY\x09\x00", "is not an array"),
        (b"", "is not an array"),
    ],
)
def test_arrays_are_plain_and_hold_what_they_say(member: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "embeddings.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", member)
    refused(load_npz, path, reason)


def test_pickled_arrays_do_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "a.npz", a=np.array([Touch()], dtype=object))
    refused(load_npz, tmp_path / "a.npz", "neither numbers nor text")
    assert not (tmp_path / "ran").exists()


def test_deflated_zeros_are_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        member.write(npy("(25000000,)"))
        for _ in range(200):
            member.write(bytes(1_000_000))
    refused(load_npz, path, r"unpack to 200,000,1\d\d: more than is read")


def test_members_in_one_place_count_each(tmp_path: Path) -> None:
    """A table of contents with the same bytes under ten thousand names."""
    path = tmp_path / "overlap.npz"
    content = npy("(125000,)", bytes(1_000_000))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
        member = archive.infolist()[0]
        for index in range(10_000):
            copy = zipfile.ZipInfo(f"a{index}.npy")
            copy.header_offset, copy.CRC = member.header_offset, member.CRC
            copy.file_size = copy.compress_size = member.file_size
            archive.filelist.append(copy)
        archive._didModify = True
    refused(load_npz, path, "more than is read")


def test_contents_of_a_zip_end_somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_files, "_ZIP_CONTENTS_BYTES", 100_000)
    path = tmp_path / "many.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(3_000):
            archive.writestr(f"a{index}.npy", b"")
    refused(load_npz, path, "damaged: its table of contents has more than")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_members_of_a_zip_may_be_larger_than_its_contents(
    save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_files, "_ZIP_CONTENTS_BYTES", 1_000)
    embeddings = np.random.default_rng(0).normal(size=(100, 20))
    save(tmp_path / "run.npz", embeddings=embeddings)
    np.testing.assert_array_equal(load_npz(tmp_path / "run.npz")["embeddings"], embeddings)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_packings_are_not_read(packing: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as archive:
        archive.writestr("a.npy", npy("(1,)", bytes(8)))
    refused(load_npz, tmp_path / "a.npz", "packed in a way that is not read")


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {
        "key": np.array("{}"),
        "text": np.array(["a", "bcd"]),
        "empty": np.zeros((0, 3), np.float32),
        "order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "flags": np.array([True, False]),
        "bytes": np.array([b"x"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        back = load_npz(tmp_path / "a.npz")
        assert back.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(back[name], array, strict=True)
            assert back[name].flags.writeable


def test_mutations_of_an_archive_never_end_in_another_error(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, a=np.arange(30.0), b=np.array(["x"]))
    original, rng = buffer.getvalue(), np.random.default_rng(0)
    for _ in range(300):
        content = bytearray(original)
        for position in rng.integers(len(content), size=3):
            content[position] = rng.integers(256)
        (tmp_path / "a.npz").write_bytes(content)
        with suppress(ForeignFileError):
            load_npz(tmp_path / "a.npz")
