"""Does a test notice?  Presets and decisive lines of all rooms, changed one at a time in a copy of the checkout.

    python benchmarks/mutations.py [--only NAME ...]

Runs the few test files that should go red, and writes which did to mutations.md, where changes that were not run keep
what an earlier run found.  Not part of the test suite: it runs parts of it many times.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mutated_lines import MUTATIONS, Mutation

from asd_lightning.tables import Row, Table, in_markdown, markdown_lines

ROOT = Path(__file__).resolve().parent.parent
OUTCOME = ROOT / "benchmarks" / "mutations.md"
SURVIVED, NOT_RUN = "SURVIVED", "not run"
PATIENCE = 60
"""In s, for the test files of one mutation."""


def outcome(mutation: Mutation) -> str:
    """The test file that went red, ``SURVIVED``, or what else happened.

    Raises:
        ValueError: the text is not there once: correct the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "checkout")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "cache", "data/demo"))
        path = copy / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.before) != 1:
            raise ValueError(f"{mutation.name}: {mutation.before!r} is not once in {mutation.file}")
        path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
        # Bytecode is told by size and second: that of the file before its change must not stand for it.
        os.utime(path, (0, 0))
        return _first_red(copy, mutation.tests)


def _first_red(copy: Path, tests: tuple[str, ...]) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    # The copy comes first, before an installed checkout.
    environment = {"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"}
    try:
        run = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {PATIENCE} s"
    if run.returncode == 0:
        return SURVIVED
    red = re.search(r"^(?:FAILED|ERROR) ([^: ]+)", run.stdout, re.MULTILINE)
    return red[1] if red and run.returncode == 1 else f"pytest ended with {run.returncode}"


def page(outcomes: Mapping[Mutation, str]) -> str:
    """What happened, in Markdown."""
    rows = [Row((*mutation.cells, outcomes.get(mutation, NOT_RUN))) for mutation in MUTATIONS]
    noticed = sum(found.startswith("tests/") for found in outcomes.values())
    return "\n".join(
        [
            "# Does a test notice?",
            "",
            f"`python benchmarks/mutations.py`: {noticed} of the {len(outcomes)} changes that were run turned a test "
            f"red; {len(rows)} stand in the table.",
            "Each is made alone, in a copy of the checkout, and a few test files run until the first red test.",
            "",
            *markdown_lines(Table("", ("change", "file", "before", "after", "noticed by"), tuple(rows), words=5)),
            "",
        ]
    )


def kept(text: str) -> dict[Mutation, str]:
    """Outcomes of an earlier run, of mutations that are still the same: of another text it says nothing."""
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()]
    found = {tuple(cells[:-1]): cells[-1] for cells in lines if cells and cells[-1] != NOT_RUN}
    written = {mutation: tuple(map(in_markdown, mutation.cells)) for mutation in MUTATIONS}
    return {mutation: found[cells] for mutation, cells in written.items() if cells in found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[mutation.name for mutation in MUTATIONS])
    only = parser.parse_args().only
    outcomes = kept(OUTCOME.read_text(encoding="utf-8")) if OUTCOME.is_file() else {}
    missed = 0
    for mutation in MUTATIONS:
        if only is None or mutation.name in only:
            found = outcomes[mutation] = outcome(mutation)
            missed += not found.startswith("tests/")
            print(f"{mutation.name:<28} {found}", flush=True)
            OUTCOME.write_text(page(outcomes), encoding="utf-8")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
