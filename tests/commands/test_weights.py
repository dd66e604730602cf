"""``asd weights`` from the command line."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from asd_lightning.cli import main
from asd_lightning.encoders.weights.catalogue import CATALOGUE
from asd_lightning.encoders.weights.checkpoints import load_encoder
from asd_lightning.encoders.weights.store import read_record
from tests.encoders import official


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "cache" / "weights"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    folder = tmp_path / "published"
    folder.mkdir()
    state = official.draw(official.beats_shapes(official.BEATS_CFG))
    return official.write_beats(folder / "BEATs_iter3.pt", state, official.BEATS_CFG)


@pytest.fixture
def address(published: Path) -> Iterator[str]:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(published.parent))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{published.name}"
    server.shutdown()
    server.server_close()


def test_path(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "path"]) == 0
    assert capsys.readouterr().out.strip() == str(cache)
    assert main(["weights", "path", "beats_iter3"]) == 2
    assert "asd weights fetch beats_iter3" in capsys.readouterr().err


def test_list_shows_names_and_what_is_here(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "import", str(published), "--as", "mine"]) == 0
    capsys.readouterr()
    assert main(["weights", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    listed = dict(line.split(": ") for line in lines if line.endswith("here"))
    assert listed == {**dict.fromkeys(CATALOGUE, "not here"), "mine": "here"}
    assert all(f"    {entry.origin}" in lines for entry in CATALOGUE.values())
    assert all(len(line) <= 80 for line in lines[:-1])


def test_fetch_downloads_verifies_and_converts(
    published: Path, address: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    entry = dataclasses.replace(CATALOGUE["beats_iter3"], url=address, sha256=digest)
    monkeypatch.setitem(CATALOGUE, "beats_iter3", entry)
    assert main(["weights", "fetch", "beats_iter3"]) == 0
    assert capsys.readouterr().out.strip() == f"beats_iter3: {cache / 'beats_iter3.safetensors'}"
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == [
        "beats_iter3.json",
        "beats_iter3.safetensors",
    ]
    record = read_record(cache / "beats_iter3.safetensors")
    assert (record["source"], record["source_sha256"], record["checksum"]) == (address, digest, "as published")
    assert record["licence"] == "MIT"
    expected = torch.load(published, weights_only=True)["model"]
    state = load_encoder("beats_iter3", architecture="beats").state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())
    published.unlink()
    assert main(["weights", "fetch", "beats_iter3"]) == 0  # already here: nothing is asked of the server


def test_fetch_from_a_mirror_is_verified_too(address: str, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "beats_iter3", "--url", address]) == 2
    assert f"expected {CATALOGUE['beats_iter3'].sha256}" in capsys.readouterr().err
    assert not list(cache.glob("*.safetensors"))


def test_fetch_without_a_published_checksum(address: str, caplog: pytest.LogCaptureFixture, published: Path) -> None:
    assert main(["weights", "fetch", "beats_iter3_plus_as2m_finetuned", "--url", address]) == 0
    assert f"has sha256 {hashlib.sha256(published.read_bytes()).hexdigest()}" in caplog.text


def test_fetch_of_what_has_no_address_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "eat_large"]) == 2
    message = capsys.readouterr().err
    assert CATALOGUE["eat_large"].origin in message
    assert "asd weights import FILE --as eat_large" in message
    assert main(["weights", "fetch", "eat_huge"]) == 2
    assert "no pretrained encoder is called 'eat_huge'; there are beats_iter3" in capsys.readouterr().err


def test_import_names_the_file_after_itself(published: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = published.rename(published.with_name("tiny.pt"))
    assert main(["weights", "import", str(file)]) == 0
    assert capsys.readouterr().out.strip() == f"tiny: {cache / 'tiny.safetensors'}"
    assert main(["weights", "path", "tiny"]) == 0
    assert main(["weights", "import", str(published)]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_every_entry_can_be_had() -> None:
    for name, entry in CATALOGUE.items():
        assert name == entry.name
        assert entry.url is None or entry.url.startswith("https://")
        assert entry.url or entry.how_to_get
        assert entry.sha256 is None or len(bytes.fromhex(entry.sha256)) == 32


def test_what_a_converted_file_says_of_itself_does_not_reach_the_terminal_raw(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir(parents=True)
    record = json.dumps({"architecture": "\x1b[2J", "origin": "\x1b]0;title\x07", "checksum": 3})
    save_file({"a": torch.zeros(1)}, cache / "mine.safetensors", metadata={"asd_lightning": record})
    assert main(["weights", "list"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r"\x1b[2J, licence unknown, checksum 3" in shown
