"""Work goes on where nobody reads what it says any more."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from asd_lightning.unread import outlive_readers

outlive_readers()
for _ in range(2):
    Console().print("a table\\n" * 10_000)
    print("a message", file=sys.stderr)
    print("a line")
Path(sys.argv[1]).write_text("done")
"""


def test_a_reader_that_has_gone_ends_nothing(tmp_path):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "results")]
    assert subprocess.run(command, stdout=write, stderr=write, check=False).returncode == 0
    os.close(write)
    assert (tmp_path / "results").read_text() == "done"


def test_a_reader_that_stays_reads_all(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "a message\n" * 2
    assert done.stdout.count("a table") == 20_000
    assert done.stdout.endswith("a line\n")


def test_commands_that_take_hours_outlive_their_readers(tmp_path):
    """Python would end with status 120 where it cannot flush what is left."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "asd_lightning.cli", "train", "data.root=nowhere"]
    assert subprocess.run(command, stdout=write, stderr=write, check=False, cwd=tmp_path).returncode == 2
    os.close(write)
