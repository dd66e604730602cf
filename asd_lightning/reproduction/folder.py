"""The folder of a reproduction: of this very one, and for one process at a time."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from asd_lightning import __version__
from asd_lightning.atomic import write_text_atomically
from asd_lightning.comparison.settings import settings_of
from asd_lightning.configuration import plain
from asd_lightning.errors import UserError
from asd_lightning.experiment.claim import OccupiedError, claimed
from asd_lightning.foreign_files import ForeignFileError, load_json
from asd_lightning.reproduction.plan import Plan
from asd_lightning.run_folder import LOCK

logger = logging.getLogger(__name__)

MARKER = "reproduction.json"
_NAMED_AT_MOST = 3


@contextmanager
def output_of(plan: Plan, rehearsed: bool) -> Iterator[None]:
    """The folder of this very reproduction, for this process alone.

    A folder in which nothing has been run yet is anybody's: a call that could fetch nothing does not keep it.

    Raises:
        UserError: another reproduction's, one whose settings have come to be others, a folder of other things, or one
            that is in use.
    """
    folder = plan.output
    _refuse_strangers(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(claimed(folder))
        except OccupiedError:
            raise UserError(
                f"{folder}: another reproduction is going on in it; wait for its end, or give another folder with -o"
            ) from None
        told = _identity(plan, rehearsed)
        if _begun(folder):
            _refuse_another(folder, told)
        else:
            write_text_atomically(folder / MARKER, json.dumps(told, indent=2))
        try:
            yield
        except BaseException:
            if not _begun(folder):
                _leave_nothing(folder, made)
            raise


def _leave_nothing(folder: Path, made: Sequence[Path]) -> None:
    """Of a call that was refused before anything was fetched or run: its two files, and the folders that it made."""
    for name in (MARKER, LOCK):
        (folder / name).unlink(missing_ok=True)
    # Another call may have put something there meanwhile: that stays.
    with suppress(OSError):
        for path in made:
            path.rmdir()


def _refuse_strangers(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; give a folder with -o")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise UserError(f"{folder}: holds files and no reproduction; give another folder with -o")


def _begun(folder: Path) -> bool:
    return any(path.name not in (MARKER, LOCK) for path in folder.iterdir())


def _identity(plan: Plan, rehearsed: bool) -> dict[str, Any]:
    """What a finished run must have been made with to be taken for one of this reproduction."""
    configs = {one.system.name: one.config for one in plan.systems}
    if plan.clusters is not None:
        configs["clusters"] = plan.clusters
    return {
        "target": plan.target.name,
        "rehearsal": rehearsed,
        "changes": list(plan.changes),
        "version": __version__,
        "settings": {name: settings_of(plain(config), {}) for name, config in configs.items()},
    }


def _refuse_another(folder: Path, told: Mapping[str, Any]) -> None:
    before = _recorded(folder)
    if any(before.get(key) != told[key] for key in ("target", "rehearsal", "changes")):
        raise UserError(f"{folder}: holds another reproduction ({MARKER}); give another folder with -o")
    if differing := list(_differing(before.get("settings"), told["settings"])):
        raise UserError(
            f"{folder}: was begun with {', '.join(differing[:_NAMED_AT_MOST])}, so what is finished in it is of "
            "another system; give another folder with -o"
        )
    if before.get("version") != told["version"]:
        logger.warning(
            "%s: was begun by asd_lightning %s, now %s; what is finished in it is not run again",
            *(folder, before.get("version"), told["version"]),
        )


def _recorded(folder: Path) -> Mapping[str, Any]:
    try:
        found = load_json(folder / MARKER)
    except ForeignFileError:
        return {}
    return found if isinstance(found, dict) else {}


def _differing(before: Any, now: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    for name, settings in now.items():
        recorded = before.get(name) if isinstance(before, dict) else None
        old = recorded if isinstance(recorded, dict) else {}
        for key in sorted(old.keys() | settings.keys()):
            if old.get(key) != settings.get(key):
                yield f"{key}={old.get(key, '(absent)')} of {name} (now {settings.get(key, '(absent)')})"
