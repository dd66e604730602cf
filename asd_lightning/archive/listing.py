"""Which recordings an archive has, one after another: nothing is held but the folder that is being listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from asd_lightning.data.file_names import AUDIO_SUFFIXES
from asd_lightning.data.folders import recordings
from asd_lightning.errors import UserError

_MAGIC = frozenset("*?[")


def found(words: Sequence[str]) -> Iterator[Path]:
    """Recordings that the words name: files, folders with all below them, and patterns of either.

    In a pattern ``*``, ``?`` and ``[...]`` stand for parts of one name and ``**`` for any number of folders.  The order
    depends on the names alone.  A recording that two words name comes twice.

    Raises:
        UserError: a folder that cannot be listed.

    >>> import tempfile
    >>> archive = Path(tempfile.mkdtemp())
    >>> for name in ("pump/a.wav", "pump/notes.txt", "fan/old/b.flac"):
    ...     (archive / name).parent.mkdir(parents=True, exist_ok=True)
    ...     (archive / name).touch()
    >>> [path.name for path in found([f"{archive}/**"])], [path.name for path in found([f"{archive}/**/*.wav"])]
    (['b.flac', 'a.wav'], ['a.wav'])
    """
    for word in words:
        path = Path(word).expanduser().absolute()
        if path.is_dir():
            yield from recordings(path)
        elif not _MAGIC & set(word) or path.exists():
            yield path
        else:
            parts = path.parts
            fixed = next(number for number, part in enumerate(parts) if _MAGIC & set(part))
            yield from _matching(Path(*parts[:fixed]), parts[fixed:])


def refuse_absent(words: Sequence[str]) -> None:
    """Before anything is started: each word must name a recording.

    Raises:
        UserError: one that names none.
    """
    for word in words:
        path = next(found([word]), None)
        if path is None or not (path.exists() or path.is_symlink()):
            raise UserError(f"{word}: no recordings there; WAV and FLAC files are read, and a pattern needs quotes")


def _matching(folder: Path, pattern: Sequence[str]) -> Iterator[Path]:
    """Recordings below ``folder`` that fit, or that lie in a folder that fits; folders that cannot are not entered."""
    if pattern[0] == "**":
        for path in recordings(folder):
            if _fits(path.relative_to(folder).parts, pattern):
                yield path
        return
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); make it readable or remove it") from error
    for path in paths:
        if not fnmatchcase(path.name, pattern[0]):
            continue
        if path.is_dir():
            yield from _matching(path, pattern[1:]) if len(pattern) > 1 else recordings(path)
        elif len(pattern) == 1 and path.suffix.lower() in AUDIO_SUFFIXES:
            yield path


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern or not parts:
        return not pattern
    if pattern[0] == "**":
        return _fits(parts, pattern[1:]) or _fits(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
