"""What a command says of a page that it has written."""

from __future__ import annotations

import sys
from pathlib import Path


def tell_page(page: Path) -> None:
    """Print where a page is and its size; in a terminal, where a person reads, also how to look at it."""
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB, loads nothing from the network")
    if sys.stdout.isatty():
        print(f"Look at it in a browser: {page.resolve().as_uri()}")
