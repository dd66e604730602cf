"""Unpacking an archive that may be hostile, so that an interruption leaves no incomplete files.

Members go to a folder of their own, beside the data, and are renamed into place only when every one of them has been
written and its check sum has been found right. Whatever is there already stays as it is.
"""

from __future__ import annotations

import errno
import filecmp
import re
import shutil
import stat
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rich.filesize import decimal

from asd_lightning.download.transfer import StoppedError
from asd_lightning.errors import UserError

_IGNORED_NAMES = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db"})
_SPLITS = ("train", "test", "supplemental")
_CHUNK_BYTES = 1 << 20
_NAMED_AT_MOST = 5
_ENCRYPTED = 0x1
# The training and the test archive of one machine meet in one folder.
_moving = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """What an archive may expand to. Recorded sound shrinks by a factor of two at best, digital silence by a thousand.

    ``ratio`` compares the sum of the unpacked sizes with the archive's own size on disk, so members that overlap in the
    archive do not help a bomb.
    """

    members: int = 50_000
    ratio: float = 200.0
    total_bytes: int = 64 << 30
    depth: int = 8


class HostileArchiveError(UserError):
    """An archive that would write where it should not, or far more than it should; nothing of it was taken."""


def extract(
    archive: Path,
    machine: str,
    machine_folder: Path,
    work_folder: Path,
    stop: threading.Event,
    limits: Limits | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> dict[str, int]:
    """Unpack one machine's archive into ``machine_folder`` (``.../raw/<machine>``); sizes in bytes by relative name.

    ``work_folder`` must lie on the same file system; it is emptied first, so what an interrupted extraction left is
    done again. ``report`` receives the bytes unpacked so far.

    Raises:
        HostileArchiveError: a path outside the folder, a link, an encrypted or doubled member, too many or too large.
        UserError: a damaged archive, a full disk, or a file already there with other content.
        StoppedError: ``stop`` was set.
    """
    shutil.rmtree(work_folder, ignore_errors=True)
    work_folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _checked_members(opened, archive, machine, limits or Limits())
            _check_space(archive, work_folder, sum(info.file_size for info in members.values()))
            _unpack(opened, members, work_folder, stop, report)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{archive} is damaged ({error}): remove it and run the command again") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left on the disk of {work_folder}: free some and run the command again"
            ) from error
        raise
    try:
        with _moving:
            _take(work_folder, machine_folder)
    finally:
        shutil.rmtree(work_folder, ignore_errors=True)
    # The sizes were written by this very loop, so they are those of the files now moved.
    return {str(name): info.file_size for name, info in members.items()}


def is_extracted(machine_folder: Path, sizes: dict[str, int]) -> bool:
    """Whether every file that ``extract`` once reported is still there with its size."""
    paths = ((machine_folder / name, size) for name, size in sizes.items())
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _checked_members(
    opened: zipfile.ZipFile, archive: Path, machine: str, limits: Limits
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files of an archive by their name below the machine's folder."""
    infos = [info for info in opened.infolist() if not info.is_dir()]
    if len(infos) > limits.members:
        raise HostileArchiveError(_refusal(archive, f"holds {len(infos)} files, more than {limits.members}"))
    total = sum(info.file_size for info in infos)
    ratio = total / max(archive.stat().st_size, 1)
    if total > limits.total_bytes or ratio > limits.ratio:
        raise HostileArchiveError(_refusal(archive, f"would grow {ratio:.0f} times to {decimal(total)}"))
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    folded: set[str] = set()
    for info in infos:
        name = _name_below_machine(info, archive, machine, limits.depth)
        if name is None:
            continue
        # Folded: on a file system that ignores case the second would overwrite the first.
        if str(name).casefold() in folded:
            raise HostileArchiveError(_refusal(archive, f"holds {info.filename!r} twice"))
        folded.add(str(name).casefold())
        members[name] = info
    if not members:
        raise UserError(f"{archive} holds no file: remove it and run the command again")
    return members


def _name_below_machine(info: zipfile.ZipInfo, archive: Path, machine: str, depth: int) -> PurePosixPath | None:
    # orig_filename is what the archive says; ZipInfo.filename has been cut at a zero byte.
    name = info.orig_filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or any(character in name for character in "\\:\0"):
        raise HostileArchiveError(_refusal(archive, f"has a member that points outside its folder: {name!r}"))
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise HostileArchiveError(_refusal(archive, f"has a member that is a link or device: {name!r}"))
    if info.flag_bits & _ENCRYPTED:
        raise HostileArchiveError(_refusal(archive, f"has an encrypted member: {name!r}"))
    if len(path.parts) > depth:
        raise HostileArchiveError(_refusal(archive, f"nests folders deeper than {depth}: {name!r}"))
    if _IGNORED_NAMES.intersection(path.parts):
        return None
    # A revised archive may call the machine's folder ToyCar_r2.
    own = [re.fullmatch(rf"{re.escape(machine)}(_r\d+)?", part) is not None for part in path.parts[:-1]]
    parts = path.parts[own.index(True) + 1 :] if any(own) else path.parts
    # Only a machine's own rooms and the attribute table beside them: another folder would pose as another split.
    if len(parts) > 1 and parts[0] not in _SPLITS:
        raise HostileArchiveError(
            _refusal(archive, f"has a member outside {machine}/train, test, supplemental: {name!r}")
        )
    return PurePosixPath(*parts)


def _refusal(archive: Path, reason: str) -> str:
    return f"{archive} {reason}; nothing was taken from it: remove it and fetch it from a server you trust"


def _check_space(archive: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"no space to unpack {archive.name}: {decimal(needed)} needed, {decimal(free)} free: "
            "free some and run the command again"
        )


def _unpack(
    opened: zipfile.ZipFile,
    members: dict[PurePosixPath, zipfile.ZipInfo],
    folder: Path,
    stop: threading.Event,
    report: Callable[[int], None],
) -> None:
    done = 0
    for name, info in members.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # "xb" refuses to overwrite; zipfile itself stops at the declared size and checks the CRC at the end.
        with opened.open(info) as source, target.open("xb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                if stop.is_set():
                    raise StoppedError
                sink.write(chunk)
                done += len(chunk)
                report(done)


def _take(source: Path, destination: Path) -> None:
    """Move all that can be moved; what is there already with other content stays, and is told."""
    try:
        kept = [str(path) for path in _move_into_place(source, destination)]
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise UserError(
                f"{destination} lies on another disk than {source.parent}, so files cannot be renamed into it: "
                "name that disk's folder with --output"
            ) from error
        raise
    if kept:
        more = f" and {len(kept) - _NAMED_AT_MOST} more" if len(kept) > _NAMED_AT_MOST else ""
        raise UserError(
            f"{', '.join(kept[:_NAMED_AT_MOST])}{more}: there already with other content and not overwritten (the rest "
            "of the archive is in place): move away what should be fetched anew and run the command again"
        )


def _move_into_place(source: Path, destination: Path) -> Iterator[Path]:
    """Rename ``source`` to ``destination``; a folder already there is filled up, an equal file left alone.

    Yields what is there with other content; ``source`` then keeps what was to go there.
    """
    if not destination.exists() and not destination.is_symlink():
        destination.parent.mkdir(parents=True, exist_ok=True)
        source.rename(destination)
    elif source.is_dir() and destination.is_dir() and not destination.is_symlink():
        for child in sorted(source.iterdir()):
            yield from _move_into_place(child, destination / child.name)
    elif not (source.is_file() and destination.is_file() and filecmp.cmp(source, destination, shallow=False)):
        yield destination
