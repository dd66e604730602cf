"""Where the organisers' truth about anonymous test clips lies: its place alone, nothing here opens it."""

from __future__ import annotations

from pathlib import Path

from asd_lightning.download.years import ATTRIBUTES, FLAGS
from asd_lightning.errors import UserError

NO_TRUTH = "none"
"""In the place of a truth: none is joined, not even what a download has left."""


def find_truth(root: Path | str) -> Path | None:
    """Where below ``root`` the organisers' truth about anonymous test clips lies: its place alone, it is not opened.

    ``eval_data_list_<year>.csv``, or the folder that holds ``ground_truth_data/`` or ``ground_truth_attributes/``, in
    ``root`` or ``root/eval_data``.

    Raises:
        UserError: there are several.
    """
    root = Path(root).expanduser()
    places = (root, root / "eval_data")
    found = [path for place in places for path in sorted(place.glob("eval_data_list_*.csv"))]
    found += [place for place in places if any((place / folder).is_dir() for folder in (FLAGS, ATTRIBUTES))]
    if len(found) > 1:
        raise UserError(
            f"{root}: several truths about the test clips: {', '.join(map(str, found))}; name the right one with "
            "data.truth, or remove the others"
        )
    return found[0] if found else None
