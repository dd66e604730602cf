"""Which recordings a report may read: a run that somebody has sent names paths, and its page shows what lies there."""

from __future__ import annotations

import os
from pathlib import Path

from asd_lightning.foreign_files import ForeignFileError, load_yaml
from asd_lightning.pages.runs import ReportedRun, parsed_config
from asd_lightning.run_folder import CHOICES


def data_folder(run: ReportedRun) -> Path | None:
    """The folder that the run says its recordings are in; ``None`` where it names none, or a whole disk."""
    data = parsed_config(run.config).get("data")
    root = data.get("root") if isinstance(data, dict) else None
    if not isinstance(root, str) or "${" in root or "\0" in root:
        return None
    # Without `..`, and with the links that a clip's path has too.
    folder = Path(os.path.abspath(_started_in(run.folder) / root))  # noqa: PTH100
    return None if folder == Path(folder.anchor) else folder


def lies_below(path: Path, folder: Path) -> bool:
    """Whether ``path`` is written as something below ``folder``; links inside the folder are its owner's own."""
    return path.is_absolute() and ".." not in path.parts and path.is_relative_to(folder)


def _started_in(folder: Path) -> Path:
    """Where the run was started, from which a relative data folder counts."""
    for place in (folder, folder.absolute().parent):
        if (place / CHOICES).is_file():
            try:
                return Path(str(load_yaml(place / CHOICES)["hydra"]["runtime"]["cwd"]))
            except (ForeignFileError, KeyError, TypeError):
                break
    return Path.cwd()
