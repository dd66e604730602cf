"""Tables in a folder say what they were made of: only the very same is written over."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from asd_lightning.atomic import write_text_atomically
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, load_json


def relative(places: Sequence[Path], folder: Path) -> list[str]:
    """How ``folder`` names what its tables were made of: what is moved together with it stays the same."""
    return [os.path.relpath(place.resolve(), folder.resolve()) for place in places]


def is_free(table: Path, record: str, made_of: Mapping[str, object]) -> bool:
    """Whether ``table`` is not there, or the file ``record`` beside it says that it was made of the same.

    Tables of earlier versions do not say what they were made of.
    """
    if not table.exists():
        return True
    try:
        return bool(load_json(table.with_name(record)) == made_of)
    except ForeignFileError:
        return False


def refuse_other(table: Path, record: str, made_of: Mapping[str, object], of_what: str) -> None:
    """Raise ``UserError`` where a folder holds tables of something else, which ``of_what`` names."""
    if not is_free(table, record, made_of):
        raise UserError(f"{table.parent}: holds {of_what}; give another folder with -o")


def write_made_of(path: Path, made_of: Mapping[str, object]) -> None:
    """Write down what the tables beside ``path`` are made of."""
    write_text_atomically(path, json.dumps(made_of, indent=2))
