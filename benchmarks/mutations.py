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
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

os.environ["OMP_NUM_THREADS"] = "1"

# Imported once: every mutation's tests run in a fork of this process.
import imblearn.over_sampling  # noqa: F401
import pytest
import pytorch_lightning  # noqa: F401
from mutated_lines import MUTATIONS, Mutation

from asd_lightning.tables import Row, Table, in_markdown, markdown_lines

ROOT = Path(__file__).resolve().parent.parent
OUTCOME = ROOT / "benchmarks" / "mutations.md"
SURVIVED, NOT_RUN = "SURVIVED", "not run"
PATIENCE = 900
"""In s, for the test files of one mutation: against hanging alone, on a busy machine too."""


def outcome(mutation: Mutation, copy: Path, number: int) -> str:
    """The test file that went red, ``SURVIVED``, or what else happened.

    Args:
        mutation: what is changed, for as long as its tests run.
        copy: the checkout that it is changed in.
        number: another one for each mutation.

    Raises:
        ValueError: the text is not there once: correct the table.
    """
    path = copy / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.before) != 1:
        raise ValueError(f"{mutation.name}: {mutation.before!r} is not once in {mutation.file}")
    path.write_text(text.replace(mutation.before, mutation.after), encoding="utf-8")
    # Bytecode is told by size and second: that of the file before its change, or of another, must not stand for it.
    os.utime(path, (number, number))
    try:
        return _first_red(copy, mutation.tests)
    finally:
        shutil.copy2(ROOT / mutation.file, path)


def _first_red(copy: Path, tests: tuple[str, ...]) -> str:
    report = copy / "report"
    child = os.fork()
    if not child:
        _test(copy, tests, report)
    until = time.monotonic() + PATIENCE
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"no answer in {PATIENCE} s"
        time.sleep(0.1)
    code = os.waitstatus_to_exitcode(ended[1])
    if code == 0:
        return SURVIVED
    red = re.search(r"^(?:FAILED|ERROR) ([^: ]+)", report.read_text(encoding="utf-8"), re.MULTILINE)
    return red[1] if red and code == 1 else f"pytest ended with {code}"


def _test(copy: Path, tests: tuple[str, ...], report: Path) -> NoReturn:
    """In a process of its own, in which the libraries are imported already, and nothing of this package."""
    os.setsid()
    with report.open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(copy)
    # The copy comes first, before an installed checkout.
    os.environ.clear()
    os.environ.update({"PYTHONPATH": str(copy), "PATH": "/usr/bin:/bin"})
    sys.path.insert(0, str(copy))
    for name in [name for name in sys.modules if name.partition(".")[0] == "asd_lightning"]:
        del sys.modules[name]
    status = pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests])
    sys.stdout.flush()
    os._exit(status)


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
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "checkout")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "runs", "cache", "data/demo"))
        for number, mutation in enumerate(MUTATIONS):
            if only is None or mutation.name in only:
                found = outcomes[mutation] = outcome(mutation, copy, number)
                missed += not found.startswith("tests/")
                print(f"{mutation.name:<28} {found}", flush=True)
                OUTCOME.write_text(page(outcomes), encoding="utf-8")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
