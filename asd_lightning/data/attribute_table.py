"""``attributes_00.csv``: the released table of a machine's attributes.

Rows are ``file_name,d1p,d1v,d2p,d2v,...``: parameter and value in turn. The file name comes with or without a
folder and with or without ``.wav``, depending on the year and the machine.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from asd_lightning.data.file_names import AUDIO_SUFFIXES
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, read_csv
from asd_lightning.plain_text import composed


def read_attribute_table(path: Path) -> dict[str, str]:
    """Map each file name, without folder and suffix, to its attributes joined as they stand in names (``""`` for none).

    Raises:
        UserError: not such a table, or a clip stands in it twice with different attributes.
    """
    try:
        rows = [[composed(cell.strip()) for cell in row] for row in read_csv(path, "utf-8-sig") if any(row)]
    except ForeignFileError as error:
        raise UserError(f"{path}: not readable as CSV ({error.reason}); unpack its archive again") from error
    if not rows or rows[0][0] != "file_name":
        raise UserError(f"{path}: does not begin with the column file_name; unpack its archive again")
    table: dict[str, str] = {}
    for row in rows[1:]:
        stem, attribute = _stem(row[0]), _joined(row[1:])
        if table.setdefault(stem, attribute) != attribute:
            raise UserError(f"{path}: {stem} stands there twice with different attributes; unpack its archive again")
    return table


def _stem(name: str) -> str:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in AUDIO_SUFFIXES else path.name


def _joined(cells: list[str]) -> str:
    present = [cell for cell in cells if cell]
    return "" if present == ["noAttribute"] else "_".join(present)
