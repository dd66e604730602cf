"""Does a test notice?  Presets and decisive lines of all rooms, changed one at a time in a copy of the checkout.

    python benchmarks/mutations.py [--only NAME ...]

Runs the few test files that should go red, and writes which did to mutations.md, where changes that were not run keep
what an earlier run found.  Not part of the test suite: it runs parts of it many times.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mutated_lines import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
OUTCOME = ROOT / "benchmarks" / "mutations.md"
SURVIVED = "SURVIVED"
PATIENCE = 60
"""In s, for the test files of one mutation."""


def outcome(mutation: Mutation) -> str:
    """The test file that went red, ``SURVIVED``, or what else happened.

    Raises:
        ValueError: the text is not there once: correct the table.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "checkout")
        # Bytecode would stand for the file before its change where both were written in one second.
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "runs", "cache", "data/demo"))
        path = copy / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.before) != 1:
            raise ValueError(f"{mutation.name}: {mutation.before!r} is not once in {mutation.file}")
        path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
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


def table(outcomes: dict[str, str]) -> str:
    """The page of outcomes: row of a mutation -> what happened."""
    rows = [f"{mutation.row}| {outcomes.get(mutation.row, 'not run')} |" for mutation in MUTATIONS]
    ran = [outcomes[mutation.row] for mutation in MUTATIONS if mutation.row in outcomes]
    noticed = sum(one.startswith("tests/") for one in ran)
    return "\n".join(
        [
            "# Does a test notice?",
            "",
            f"`python benchmarks/mutations.py`: {noticed} of the {len(ran)} changes that were run turned a test red; "
            f"{len(rows)} stand in the table.",
            "Each is made alone, in a copy of the checkout, and a few test files run until the first red test.",
            "",
            "| change | file | before -> after | noticed by |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def kept(page: str) -> dict[str, str]:
    """Outcomes of an earlier run, of mutations that are still the same."""
    rows = {}
    for mutation in MUTATIONS:
        for line in page.splitlines():
            if line.startswith(f"{mutation.row}| ") and not line.endswith("| not run |"):
                rows[mutation.row] = line.removeprefix(f"{mutation.row}| ").removesuffix(" |")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[mutation.name for mutation in MUTATIONS])
    only = parser.parse_args().only
    outcomes = kept(OUTCOME.read_text(encoding="utf-8")) if OUTCOME.is_file() else {}
    missed = 0
    for mutation in MUTATIONS:
        if only is None or mutation.name in only:
            found = outcomes[mutation.row] = outcome(mutation)
            missed += not found.startswith("tests/")
            print(f"{mutation.name:<28} {found}", flush=True)
            OUTCOME.write_text(table(outcomes), encoding="utf-8")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
