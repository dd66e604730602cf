"""Which lines of the package the quick tests run, by room.

    make coverage

Reads what coverage has left of each process in ``.coverage.*``, and writes the table at the top of ``coverage.md``; the
words below it stay.  Lines are counted once, in whichever process they ran.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from coverage import CoverageData

from asd_lightning.tables import Row, Table, markdown_lines

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "benchmarks" / "coverage.md"
REST = "## What is not covered"
PACKAGE = "asd_lightning"


def main() -> None:
    """Write the table."""
    with tempfile.TemporaryDirectory() as folder:
        joined, report = Path(folder, "coverage"), Path(folder, "coverage.json")
        join(sorted(ROOT.glob(".coverage.*")), joined)
        command = [sys.executable, "-m", "coverage", "json", "-q", "--data-file", joined, "-o", report]
        subprocess.run(command, cwd=ROOT, check=True)
        files = json.loads(report.read_text(encoding="utf-8"))["files"]
    lines = table(
        {name: (file["summary"]["num_statements"], file["summary"]["covered_lines"]) for name, file in files.items()}
    )
    rest = PAGE.read_text(encoding="utf-8").partition(REST)[2] if PAGE.is_file() else "\n"
    PAGE.write_text("\n".join([*lines, "", REST]) + rest, encoding="utf-8")
    print("\n".join(lines))


def join(parts: Iterable[Path], into: Path) -> None:
    """All processes' lines, of an installed wheel's files as of the checkout's.

    ``coverage combine`` of release 7.17 fails on what the tests' processes leave ("user-defined function raised
    exception").  Templates are compiled too, and are no Python.
    """
    together = CoverageData(str(into))
    for part in parts:
        found = CoverageData(str(part))
        found.read()
        for name in found.measured_files():
            package = name.rfind(f"/{PACKAGE}/")
            if package >= 0 and name.endswith(".py"):
                together.add_lines({f"{ROOT}{name[package:]}": found.lines(name) or []})
    together.write()


def table(files: Mapping[str, tuple[int, int]]) -> list[str]:
    """The page's head.

    Args:
        files: path below the checkout -> lines that can run, and those that did.
    """
    lines: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    for name, (statements, run) in files.items():
        for room in (_room(name), "all"):
            lines[room] += statements
            covered[room] += run
    rooms = [*sorted(room for room in lines if room != "all"), "all"]
    rows = [
        Row((room, f"{lines[room]:,}", f"{lines[room] - covered[room]:,}", f"{covered[room] / lines[room]:.1%}"))
        for room in rooms
        if lines[room]
    ]
    _, total, _, share = rows[-1].cells
    version = ".".join(map(str, sys.version_info[:2]))
    return [
        "# Which lines the tests run",
        "",
        f"`make coverage`, Python {version}, without a GPU: {share} of the {total} lines that can run, by the quick "
        "tests alone (`make test`).",
        "",
        *markdown_lines(Table("", ("room", "lines", "not run", "run"), tuple(rows))),
    ]


def _room(name: str) -> str:
    """The folder below the package; files that stand alone are one room."""
    parts = Path(name).relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else "(the package's own files)"


if __name__ == "__main__":
    main()
