"""``asd data check`` and ``asd data stats`` as they are typed."""

from __future__ import annotations

import base64
import html.parser
import json
import shutil
from pathlib import Path

import pytest
import soundfile

from asd_lightning.cli import main

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def fan(tiny_data: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_data / "fan", tmp_path / "machines" / "fan")
    return tmp_path / "machines"


def test_check_of_a_whole_folder(tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tiny_data)]) == 0
    assert "bearing" in capsys.readouterr().out


def test_check_of_a_spoilt_folder(fan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = min((fan / "fan" / "train").iterdir())
    victim.write_bytes(b"")
    assert main(["data", "check", str(fan), "--json", str(tmp_path / "report.json")]) == 1
    assert f"{victim}: the file is empty" in "".join(capsys.readouterr().out.split("\n"))
    report = json.loads((tmp_path / "report.json").read_text())
    assert [finding["files"] for finding in report["findings"]] == [[str(victim)]]


def test_a_report_that_cannot_be_written_is_told(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", str(tiny_data), "--json", str(tmp_path)]) == 2
    assert "name another file with --json" in capsys.readouterr().err


def test_check_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err


class Page(html.parser.HTMLParser):
    """What a page shows, and everything it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data.strip())


def test_stats_are_one_page_that_loads_nothing(tiny_data: Path, tmp_path: Path) -> None:
    page = tmp_path / "sub" / "stats.html"
    assert main(["data", "stats", str(tiny_data), "-o", str(page)]) == 0
    shown = Page(page.read_text())
    assert shown.headings == ["bearing", "fan", "gearbox"]
    images = [source for source in shown.sources if source.startswith("data:image/png;base64,")]
    # Six kinds of clips, and two charts, for each machine.
    assert len(images) == 3 * 6
    assert page.read_text().count("<svg ") == 3 * 2
    assert all(base64.b64decode(image.partition(",")[2]).startswith(PNG) for image in images)
    assert all(source.startswith(("data:", "#")) for source in shown.sources)


def test_stats_live_with_bad_and_odd_clips(fan: Path, tmp_path: Path) -> None:
    first, second, third = sorted((fan / "fan" / "train").iterdir())[:3]
    first.write_bytes(b"")
    samples, rate = soundfile.read(second)
    soundfile.write(second, 0 * samples, rate)
    soundfile.write(third, samples[:300], rate)
    page = tmp_path / "stats.html"
    assert main(["data", "stats", str(fan), "-o", str(page)]) == 0
    assert "train source normal</th><td>20</td>" in page.read_text()


def test_names_are_escaped(fan: Path, tmp_path: Path) -> None:
    (fan / "fan").rename(fan / "<b>fan & co")
    page = tmp_path / "stats.html"
    assert main(["data", "stats", str(fan), "-o", str(page)]) == 0
    assert "<b>fan" not in page.read_text()
    assert "&lt;b&gt;fan &amp; co" in page.read_text()
