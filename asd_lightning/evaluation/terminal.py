"""Tables on a terminal, or whole in a file or a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_UNBOUNDED = 10_000


def print_table(table: Table) -> None:
    """Print a table; where the output has no width of its own, such as a pipe, no column is folded."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=_UNBOUNDED).measure(table).maximum)
    console.print(table)
