"""File lists: what a Zenodo record holds, the machine and part of each archive, and a pinned copy of the list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import requests

from asd_lightning.atomic import write_atomically
from asd_lightning.download.retry import RetryPolicy, get_json
from asd_lightning.download.years import Part, Year
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, load_json

_DEV = re.compile(r"dev_([A-Za-z0-9]+?)(?:_r(\d+))?\.zip")
_TRUTH_OF_MACHINE = re.compile(r"ground_truth_([A-Za-z0-9_]+)_section_\d+_test\.csv")
_EVALUATION = re.compile(r"eval_data_([A-Za-z0-9]+?)_(train|test)(?:_r(\d+))?\.zip")
_MD5 = re.compile(r"[0-9a-f]{32}")
_MOST_PAGES = 100
_MOST_FILES = 10_000


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    ``size`` (bytes) and ``md5`` are None where nobody has published them; ``machine`` is empty for a truth file of all.
    """

    name: str
    url: str
    part: Part
    machine: str
    size: int | None = None
    md5: str | None = None


def list_year(
    session: requests.Session, year: Year, parts: Sequence[Part], mirror: str | None, policy: RetryPolicy
) -> list[RemoteFile]:
    """The files of ``parts``, as the records describe them now, newest revision of each archive only.

    ``mirror`` is asked for the records in the place of Zenodo; the addresses returned are those it names.

    Raises:
        UserError: a record cannot be read, or holds no archive of the expected name.
    """
    files: list[RemoteFile] = []
    for part in parts:
        if part == "truth":
            files += [_truth_file(url) for url in year.truth_urls]
            continue
        url = on_mirror(year.record_url(part), mirror)
        entries = _entries(session, url, policy)
        archives = [file for entry in entries if (file := _archive(entry, url, part)) is not None]
        if not archives:
            raise UserError(
                f"{url} lists no archive named like dev_fan.zip or eval_data_fan_train.zip: is it the right server?"
            )
        files += archives
    return newest_revisions(files)


def _truth_file(url: str) -> RemoteFile:
    """A list of all machines, or a file of the one that its name tells."""
    name = url.rpartition("/")[2]
    machine = _TRUTH_OF_MACHINE.fullmatch(name)
    return RemoteFile(name, url, "truth", machine[1] if machine else "")


def _entries(session: requests.Session, url: str, policy: RetryPolicy) -> list[dict[str, Any]]:
    """All file entries of a record.

    Zenodo's record form has ``files`` as a list; InvenioRDM's own form has ``files: {entries: ...}``, a mapping by name
    or a list, or leaves them to a page of their own, which may go on under ``links.next``.
    """
    found: list[dict[str, Any]] = []
    for _ in range(_MOST_PAGES):
        document = get_json(session, url, policy)
        if not isinstance(document, dict):
            raise _no_record(url)
        found += _listed(document, url)
        if len(found) > _MOST_FILES:
            raise UserError(f"{url}: the file list has more than {_MOST_FILES:,} files: is this a record of Task 2?")
        links = _links(document, url)
        following = links.get("next") or (None if found else links.get("files"))
        if following is None or _joined(url, following) == url:
            return found
        # The next page is asked of the server that gave this one: a mirrored document still names the original.
        url = urljoin(url, f"/{_path_and_query(following).lstrip('/')}")
    raise UserError(f"{url}: the file list has more than {_MOST_PAGES} pages: is this the address of a record server?")


def _joined(url: str, link: str) -> str:
    _split(link)
    return urljoin(url, link)


def _listed(document: dict[str, Any], url: str) -> list[dict[str, Any]]:
    files = document.get("files", document)
    entries = files.get("entries") or [] if isinstance(files, dict) else files
    rows = list(entries.values()) if isinstance(entries, dict) else entries
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _no_record(url)
    return [{"key": key} | row for key, row in entries.items()] if isinstance(entries, dict) else rows


def _links(document: dict[str, Any], url: str) -> dict[str, str]:
    links = document.get("links") or {}
    if not isinstance(links, dict):
        raise _no_record(url)
    # Other links of a record (its citation styles) may be anything.
    used = {name: link for name in ("next", "files", "content", "self") if (link := links.get(name))}
    if not all(isinstance(link, str) for link in used.values()):
        raise _no_record(url)
    return used


def _no_record(url: str) -> UserError:
    return UserError(f"{url} is not the description of a record: is this the address of a record server?")


def _path_and_query(url: str) -> str:
    split = _split(url)
    return f"{split.path}?{split.query}" if split.query else split.path


def _split(url: str) -> SplitResult:
    try:
        split = urlsplit(url)
        split.port  # noqa: B018 (it is read from the text, and may be none)
    except ValueError as error:
        raise UserError(f"{url!r:.200} is no address ({error}): correct the file list") from error
    return split


def _is_below(url: str, mirror: str) -> bool:
    """Whether ``url`` is on the mirror's own server, and below the mirror's path."""
    one, other = _split(url), _split(mirror)
    folder = f"{other.path.rstrip('/')}/"
    return _server(one) == _server(other) and one.path.startswith(folder) and ".." not in one.path.split("/")


def _server(split: SplitResult) -> tuple[str, str | None, int | None]:
    return split.scheme, split.hostname, split.port or {"http": 80, "https": 443}.get(split.scheme)


def _archive(entry: dict[str, Any], record_url: str, part: Part) -> RemoteFile | None:
    """The archive behind an entry; None for what is not a machine's archive (licences, other parts)."""
    name = str(entry.get("key", ""))
    located = _locate(name)
    if located is None or located[0] != part:
        return None
    md5 = str(entry.get("checksum", "")).removeprefix("md5:")
    size = entry.get("size")
    if not _MD5.fullmatch(md5) or type(size) is not int or size < 0:
        raise UserError(
            f"{record_url}: {name} has no size or md5 in the file list: give a pinned list with --file-list"
        )
    links = _links(entry, record_url)
    # In Zenodo's form "self" is the content; in InvenioRDM's form it describes the file and "content" is the content.
    url = links.get("content") or links.get("self") or f"{record_url}/files/{quote(name)}/content"
    return RemoteFile(name, url, part, located[1], size, md5)


def _locate(name: str) -> tuple[Part, str, int] | None:
    """Part, machine and revision that an archive's name tells."""
    if match := _DEV.fullmatch(name):
        return "dev", match[1], int(match[2] or 1)
    if match := _EVALUATION.fullmatch(name):
        return ("train" if match[2] == "train" else "test"), match[1], int(match[3] or 1)
    return None


def newest_revisions(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Drop ``dev_ToyCar.zip`` where ``dev_ToyCar_r2.zip`` is there too."""
    best: dict[tuple[str, str], tuple[int, RemoteFile]] = {}
    for file in files:
        located = _locate(file.name)
        revision = located[2] if located else 1
        key = (file.part, file.machine)
        if key not in best or revision > best[key][0]:
            best[key] = (revision, file)
    return [file for _, file in best.values()]


def on_mirror(url: str, mirror: str | None) -> str:
    """``url`` with its server replaced by ``mirror``, whose own path comes first; a relative ``url`` needs a mirror."""
    if not _split(url).scheme and mirror is None:
        raise UserError(f"the file list has the relative address {url}: name its server with --mirror")
    if mirror is None or _is_below(url, mirror):
        return url
    return f"{mirror.rstrip('/')}/{_path_and_query(url).lstrip('/')}"


def select(files: Sequence[RemoteFile], machines: Sequence[str] | None) -> list[RemoteFile]:
    """Only what belongs to ``machines`` (all, when None); the truth file covers every machine and stays.

    >>> fan, pump = (RemoteFile(f"{name}.zip", "", "dev", name) for name in ("fan", "pump"))
    >>> [file.machine for file in select([fan, pump], ["pump"])]
    ['pump']

    Raises:
        UserError: a machine that none of the files belongs to.
    """
    if machines is None:
        return list(files)
    known = {file.machine for file in files if file.machine}
    if not known:
        raise UserError("the truth file covers every machine: leave --machines out")
    if unknown := sorted(set(machines) - known):
        raise UserError(f"no archive for {', '.join(unknown)} in these parts: choose from {', '.join(sorted(known))}")
    return [file for file in files if not file.machine or file.machine in machines]


def write_file_list(path: Path, files: Sequence[RemoteFile]) -> None:
    """Pin ``files`` as JSON, for later use offline or with a mirror."""
    with write_atomically(path) as stream:
        stream.write(json.dumps([asdict(file) for file in files], indent=1).encode())


def read_file_list(path: Path) -> list[RemoteFile]:
    """Read a pinned list, as `write_file_list` wrote it; a ``url`` in it may also be relative, to a mirror.

    Raises:
        UserError: not such a list.
    """
    try:
        files = [RemoteFile(**row) for row in load_json(path)]
    except (ForeignFileError, TypeError) as error:
        raise UserError(
            f"{path} is no file list ({error}): use one that `asd download` wrote (.download/dcase2025.json)"
        ) from error
    for file in files:
        _check(file, path)
    return files


def _check(file: RemoteFile, path: Path) -> None:
    """Names become paths here, so they must be the plain ones that the records use."""
    located = _locate(str(file.name))
    plain_name = file.part == "truth" and re.fullmatch(r"[A-Za-z0-9_]+\.csv", str(file.name))
    if not plain_name and (located is None or located[:2] != (file.part, file.machine)):
        raise UserError(
            f"{path}: {file.name!r} does not belong to part {file.part!r} of {file.machine!r}: correct the list"
        )
    sized = file.size is None or (isinstance(file.size, int) and file.size >= 0)
    if not sized or not (file.md5 is None or _MD5.fullmatch(str(file.md5))) or not isinstance(file.url, str):
        raise UserError(
            f"{path}: {file.name} needs a size in bytes, an md5 in hexadecimal, and a url: correct the list"
        )
