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
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from asd_lightning.cli import main
from asd_lightning.encoders.weights.catalog import CATALOG, recognize
from asd_lightning.encoders.weights.checkpoints import load_encoder
from asd_lightning.encoders.weights.store import read_record
from tests.encoders import official
from tests.golden import golden_mn04_state


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


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, file: Path, **changes: Any) -> None:
    """Let the catalogue say that ``file`` is what was published under ``name``."""
    content = file.read_bytes()
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    monkeypatch.setitem(CATALOG, name, dataclasses.replace(CATALOG[name], **(known | changes)))


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
    assert listed == {**dict.fromkeys(CATALOG, "not here"), "mine": "here"}
    assert all(f"    {entry.origin}" in lines for entry in CATALOG.values())
    assert all(len(line) <= 80 for line in lines[:-1])


def test_fetch_downloads_verifies_and_converts(
    published: Path, address: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    stand_in(monkeypatch, "beats_iter3", published, url=address)
    assert main(["weights", "fetch", "beats_iter3"]) == 0
    assert capsys.readouterr().out.strip() == f"beats_iter3: {cache / 'beats_iter3.safetensors'}"
    assert sorted(path.name for path in cache.rglob("*") if path.is_file()) == [
        "beats_iter3.json",
        "beats_iter3.safetensors",
    ]
    record = read_record(cache / "beats_iter3.safetensors")
    assert (record["source"], record["source_sha256"], record["checksum"]) == (address, digest, "as published")
    assert record["license"] == "MIT"
    expected = torch.load(published, weights_only=True)["model"]
    state = load_encoder("beats_iter3", architecture="beats").state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())
    published.unlink()
    assert main(["weights", "fetch", "beats_iter3"]) == 0  # already here: nothing is asked of the server


def test_fetch_from_a_mirror_is_verified_too(
    published: Path, address: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "beats_iter3", published, sha256="8d" * 32)
    assert main(["weights", "fetch", "beats_iter3", "--url", address]) == 2
    assert f"expected {'8d' * 32}" in capsys.readouterr().err
    assert not list(cache.glob("*.safetensors"))


@pytest.mark.parametrize("first", ["missing.pt", "other.pt"])
def test_fetch_takes_the_second_address_where_the_first_gives_nothing(
    first: str,
    published: Path,
    address: str,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published.with_name("other.pt").write_bytes(published.read_bytes()[::-1])
    wrong = address.replace(published.name, first)
    stand_in(monkeypatch, "beats_iter3", published, url=wrong, second_url=address)
    assert main(["weights", "fetch", "beats_iter3"]) == 0
    assert "trying its other address" in caplog.text
    assert read_record(cache / "beats_iter3.safetensors")["source"] == address
    (cache / "beats_iter3.safetensors").unlink()
    stand_in(monkeypatch, "beats_iter3", published, url=wrong, second_url=wrong)
    assert main(["weights", "fetch", "beats_iter3"]) == 2
    stand_in(monkeypatch, "beats_iter3", published, second_url=address)
    capsys.readouterr()
    assert main(["weights", "fetch", "beats_iter3", "--url", wrong]) == 2  # an address that was given is the only one
    assert capsys.readouterr().err.count("asd: ") == 1


def test_fetch_of_mn04(
    published: Path, address: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = golden_mn04_state()
    state |= {name: torch.tensor(291_900) for name in state if name.endswith("num_batches_tracked")}
    file = published.with_name("mn04.pt")
    torch.save(state, file)
    stand_in(monkeypatch, "mn04_as", file, url=address.replace(published.name, file.name))
    assert main(["weights", "fetch", "mn04_as"]) == 0
    assert capsys.readouterr().out.strip() == f"mn04_as: {cache / 'mn04_as.safetensors'}"
    encoder = load_encoder("mn04_as", architecture="mn04")
    loaded = encoder.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def test_fetch_without_a_published_checksum(
    address: str, caplog: pytest.LogCaptureFixture, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, "beats_iter3_plus_as2m_finetuned", published, size=None, sha256=None)
    assert main(["weights", "fetch", "beats_iter3_plus_as2m_finetuned", "--url", address]) == 0
    assert f"has sha256 {hashlib.sha256(published.read_bytes()).hexdigest()}" in caplog.text


def test_fetch_of_what_has_no_address_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "fetch", "beats_iter2_finetuned_cpt1"]) == 2
    message = capsys.readouterr().err
    assert "get BEATs_iter2_finetuned_on_AS2M_cpt1.pt, whose checksum is known, from https://github.com/" in message
    assert "asd weights import FILE --as beats_iter2_finetuned_cpt1" in message
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
    for name, entry in CATALOG.items():
        assert name == entry.name
        assert entry.url is None or entry.url.startswith("https://")
        assert entry.url or entry.how_to_get
        assert entry.sha256 is None or len(bytes.fromhex(entry.sha256)) == 32
        # A second source, and a branch that may move, are trusted for the bytes alone.
        assert entry.sha256 or (entry.second_url is None and "/main/" not in str(entry.url))
        assert entry.sha256 is None or recognize(entry.sha256, "any name") is entry


def test_the_15_files_of_beats_are_known_by_their_bytes() -> None:
    beats = [entry for entry in CATALOG.values() if entry.architecture == "beats"]
    assert len({entry.sha256 for entry in beats}) == len({entry.filename for entry in beats}) == 15
    assert {entry.size for entry in beats if "finetuned" in entry.filename} == {363_145_291}
    assert {entry.size for entry in beats if "finetuned" not in entry.filename} == {361_499_833}
    files = {
        "beats_iter3_plus_as2m_finetuned": "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
        "beats_iter3_plus_as2m_finetuned_cpt1": "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt1.pt",
        "beats_iter3_plus_as20k": "BEATs_iter3_plus_AS20K.pt",
        "beats_iter1_finetuned_cpt2": "BEATs_iter1_finetuned_on_AS2M_cpt2.pt",
    }
    assert {name: CATALOG[name].filename for name in files} == files
    # Stated by independent sources.
    for name, start in (("beats_iter3", "8d1b"), ("beats_iter3_plus_as2m", "d43c"), (next(iter(files)), "e581")):
        assert str(CATALOG[name].sha256).startswith(start)


def test_what_a_converted_file_says_of_itself_does_not_reach_the_terminal_raw(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir(parents=True)
    record = json.dumps({"architecture": "\x1b[2J", "origin": "\x1b]0;title\x07", "checksum": 3})
    save_file({"a": torch.zeros(1)}, cache / "mine.safetensors", metadata={"asd_lightning": record})
    assert main(["weights", "list"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r"\x1b[2J, license unknown, checksum 3" in shown
