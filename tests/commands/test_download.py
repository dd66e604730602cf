"""``asd download`` as it is typed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from asd_lightning.cli import main
from asd_lightning.download.years import YEARS
from tests.download.record_server import RecordServer, serving
from tests.download.year_archives import publish_year


@pytest.fixture
def server(tiny_data: Path) -> Iterator[RecordServer]:
    records = RecordServer()
    for year in YEARS.values():
        publish_year(records, year, tiny_data)
    with serving(records) as running:
        yield running


@pytest.mark.parametrize("year", YEARS)
def test_every_year_by_option_and_by_variable(
    server: RecordServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, year: int, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["download", f"dcase{year}", "--mirror", server.url]) == 0
    files = 4 + len(YEARS[year].truth_urls)
    out = capsys.readouterr().out
    assert f"data/dcase{year}: {files} files fetched, 0 were there already" in out
    assert ("not to be passed on" in out) == (year == 2026)
    monkeypatch.setenv("ASD_DOWNLOAD_MIRROR", server.url)
    assert main(["download", f"dcase{year}"]) == 0
    assert f"0 files fetched, {files} were there already" in capsys.readouterr().out


def test_what_was_downloaded_passes_the_check(
    server: RecordServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path / "mine")
    assert main(["download", "dcase2024", "-o", root, "--mirror", server.url, "--machines", "fan,bearing"]) == 0
    capsys.readouterr()
    # The small machines have fewer clips than the year's: each shortfall is an error, and nothing else is.
    assert main(["data", "check", root]) == 1
    errors = [line for line in capsys.readouterr().out.splitlines() if line.startswith("error")]
    assert errors
    assert all("clips instead of" in line for line in errors)


def test_parts_and_machines(server: RecordServer, tmp_path: Path) -> None:
    command = ["download", "2025", "-o", str(tmp_path), "--mirror", server.url]
    assert main([*command, "--parts", "dev", "--machines", "gearbox"]) == 0
    assert [path.name for path in (tmp_path / "dev_data" / "raw").iterdir()] == ["gearbox"]
    assert not (tmp_path / "eval_data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dcase2020"], "dcase2023, dcase2024, dcase2025, dcase2026"),
        (["dcase2025", "--parts", "dev,all"], "--parts all: choose from dev, train, test, truth"),
        (["dcase2025", "--machines", "pump"], "no archive for pump"),
        (["dcase2025", "--machines", " , "], "--machines names nothing: leave it out"),
        (["dcase2025", "--parts", ""], "--parts names nothing: leave it out"),
        (["dcase2025", "--jobs", "0"], "jobs=0"),
        (["dcase2025", "--file-list", "absent.json"], "absent.json"),
        (["dcase2025", "--mirror", "nonsense"], "http://"),
    ],
)
def test_mistakes_are_told_without_a_traceback(
    server: RecordServer, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", "-o", str(tmp_path), "--mirror", server.url, *arguments]) == 2
    assert message in capsys.readouterr().err
