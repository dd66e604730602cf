"""Lines of a command, for a terminal and for other programs."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable

from asd_lightning.plain_text import printable


def print_lines(lines: Iterable[str]) -> None:
    """Print each as one line; in a terminal what is too long for one goes on below, indented and between words."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in map(printable, lines):
        indent = " " * (len(line) - len(line.lstrip()))
        if width is None or len(line) <= width:
            print(line)
        else:
            # A path or a hash is copied whole.
            print(
                textwrap.fill(
                    line, width, subsequent_indent=f"{indent}    ", break_long_words=False, break_on_hyphens=False
                )
            )
