"""Files appear whole or not at all, and no link that somebody has planted is written through."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from asd_lightning.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
# Absent on Windows, where ordinary users may not make such links.
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def replaced(path: Path, *, keep_rights: bool = False) -> Iterator[Path]:
    """An empty file beside ``path`` to write to, renamed to it at the end; on an error nothing is left or replaced.

    Its name cannot be guessed, and the call fails where a file of that name exists already.

    Args:
        path: of the file.
        keep_rights: let those read and write it who may read and write the file that is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    rights = _rights(path) if keep_rights else None
    # Never more than it will have, and enough to write to it.
    mode = 0o666 if rights is None else rights | stat.S_IWUSR
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, mode))
    try:
        yield temporary
        if rights is not None:
            temporary.chmod(rights)
        temporary.replace(path)
    except OSError as error:
        # Writing to an open file raises an OSError without a file name.
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _rights(path: Path) -> int | None:
    """Permission bits of a regular file; ``None`` of a link, whose own say nothing, and where there is nothing."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return None
    return mode & 0o777 if stat.S_ISREG(mode) else None


@contextmanager
def write_atomically(path: Path, *, keep_rights: bool = False) -> Iterator[BinaryIO]:
    """A binary file beside ``path``, renamed to it when all is written; on an error nothing is left or replaced."""
    with replaced(path, keep_rights=keep_rights) as temporary, open_unlinked(temporary, "wb") as file:
        yield file
        # Close before renaming: a full disk may raise its error only here.
        file.close()


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, line ends as they are, whole or not at all."""
    with write_atomically(path) as file:
        file.write(text.encode())


def full_disk(error: BaseException) -> UserError | None:
    """The message for a write error that more free space would solve; ``None`` for any other error."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    return UserError(
        f"{error.filename or 'a file'}: cannot be written ({os.strerror(error.errno)}); free space and give the same "
        "command again: files are written whole or not at all"
    )


def refused_place(error: OSError) -> UserError | None:
    """The message for a file or folder that the system does not let be opened or made; ``None`` for any other error."""
    if error.errno not in _REFUSED or error.filename is None:
        return None
    return UserError(f"{os.fsdecode(error.filename)}: {os.strerror(error.errno)}; give another place, or mend this one")


def refuse_unwritable(path: Path) -> None:
    """Before the work: raise UserError where the file ``path`` could not be written, since its folder cannot be so.

    An empty file is made in the folder, or in the first above it that exists, and removed: what the rights say is not
    always so, such as in ``/proc`` or on a disk that is mounted for reading.
    """
    _refuse_unwritable_in(path.parent, path)


def refuse_unwritable_folder(folder: Path) -> None:
    """Before the work: raise UserError where no file could be written to ``folder``, see `refuse_unwritable`."""
    _refuse_unwritable_in(folder, folder)


def _refuse_unwritable_in(above: Path, path: Path) -> None:
    # What lies below a file does not exist.
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    if not above.is_dir():
        what = "it" if above == path else above
        raise UserError(f"{path}: cannot be written, {what} is no folder; give another place")
    trial = above / f".{secrets.token_hex(8)}.tmp"
    try:
        os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666))
        trial.unlink()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise full_disk(error) or UserError(
            f"{path}: cannot be written, since nothing can be in {above} ({why}); give another place"
        ) from None


def file_path(given: Path | str) -> Path:
    """A file that somebody names for an output.

    Raises:
        UserError: the name is a folder's, by its last character, which a ``Path`` forgets, or stands for the terminal.
    """
    if str(given).endswith(("/", os.sep)):
        raise UserError(f"{given}: is the name of a folder; give that of a file")
    if str(given) == "-":
        raise UserError("-: nothing is written to the terminal or a pipe here; give the name of a file")
    return Path(given)


def open_unlinked(path: Path, mode: str) -> BinaryIO:
    """Open ``path`` itself for writing in a binary ``mode``; raises OSError (ELOOP) where it is a link."""
    return cast("BinaryIO", open(path, mode, opener=lambda name, flags: os.open(name, flags | _NO_LINK, 0o666)))


def refuse_link(path: Path) -> None:
    """Raise UserError where ``path`` is a link: whoever made the link would choose which file is overwritten."""
    if path.is_symlink():
        raise UserError(f"{path} is a link, which nothing here makes: remove it, if you do not know what it is for")
