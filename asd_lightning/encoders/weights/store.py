"""The folder of converted weights: one NAME.safetensors for each encoder, and NAME.json for people to read.

The file's header carries the same record as NAME.json, so that a file taken elsewhere still says what it is.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import save_file

from asd_lightning.atomic import replaced
from asd_lightning.encoders.weights import catalog
from asd_lightning.encoders.weights.catalog import PretrainedEncoder
from asd_lightning.encoders.weights.conversion import CONFIGS, EncoderWeights, fitting, read_official
from asd_lightning.encoders.weights.tensor_files import check_is_weights, is_safetensors, read_safetensors
from asd_lightning.encoders.weights.transfer import check_space, download, file_sha256, no_space_is_a_user_error
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import parse_json
from asd_lightning.plain_text import printable, without_credentials

_HEADER = "asd_lightning"
_LOG = logging.getLogger(__name__)


def weights_dir() -> Path:
    """``$ASD_CACHE/weights``, else ``asd_lightning/weights`` in the user's cache folder of the platform."""
    own = os.environ.get("ASD_CACHE")
    return (Path(own).expanduser() if own else _user_cache() / "asd_lightning") / "weights"


def _user_cache() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def stored_path(name: str) -> Path:
    """Where the converted weights called ``name`` are, or would be.

    Raises:
        UserError: ``name`` is not a plain file name.
    """
    if not name or name != Path(name).name or name.startswith(".") or name == catalog.RANDOM:
        raise UserError(f"{name!r} cannot name weights: use letters, digits, '_' and '-', without a folder")
    return weights_dir() / f"{name}.safetensors"


def stored_records() -> dict[str, dict[str, Any]]:
    """Name -> record, for all converted weights in the folder."""
    return {path.stem: read_record(path) for path in sorted(weights_dir().glob("*.safetensors"))}


def fetch_weights(name: str, *, url: str | None = None, console: Console | None = None) -> Path:
    """Download a catalog entry (or its copy at ``url``), verify and convert it; what is there already stays.

    Raises:
        UserError: unknown name, no known address, failed transfer (see ``transfer.download``) or unusable file.
    """
    entry = catalog.find(name)
    target = stored_path(name)
    if target.is_file():
        return target
    address = url or entry.url
    if address is None:
        raise UserError(
            f"no direct address of {name} is known: {entry.how_to_get} from {entry.origin}, then run "
            f"`asd weights import FILE --as {name}`; or give an address with --url"
        )
    download_path = weights_dir() / "downloads" / f"{name}-{entry.filename}"
    address, digest = _first_that_gives(
        [address] if url else [address, entry.second_url], entry, download_path, console
    )
    if entry.sha256 is None:
        _LOG.warning("no checksum of %s is published; the file from %s has sha256 %s", name, address, digest)
    path = _convert(download_path, digest, name, entry, address)
    download_path.unlink()
    return path


def _first_that_gives(
    addresses: Sequence[str | None], entry: PretrainedEncoder, target: Path, console: Console | None
) -> tuple[str, str]:
    """Download from the first address that gives the published bytes; returns it, and their sha256."""
    known = [address for address in addresses if address is not None]
    for address in known[:-1]:
        try:
            return address, download(address, target, sha256=entry.sha256, size=entry.size, console=console)
        except UserError as error:
            _LOG.warning("%s; trying its other address", error)
    return known[-1], download(known[-1], target, sha256=entry.sha256, size=entry.size, console=console)


def import_weights(file: Path, *, name: str | None = None, console: Console | None = None) -> Path:
    """Verify and convert a published file at hand.

    Without ``name`` it gets that of its catalog entry (recognised by checksum or file name), else its file's stem.

    Raises:
        UserError: unusable file; or, without ``name``, a file named like a published one with another checksum.
    """
    check_is_weights(file)
    digest = file_sha256(file, console=console)
    entry = catalog.CATALOG.get(name) if name else catalog.recognize(digest, file.name)
    if entry is not None and entry.sha256 not in (None, digest):
        difference = f"{file} is not the published {entry.filename}: sha256 {digest}, expected {entry.sha256}"
        if name is None:
            raise UserError(f"{difference}. Download it again, or import it as what it is with --as NAME")
        _LOG.warning("%s; imported as %s all the same, because --as says so", difference, name)
    return _convert(file, digest, name or (entry.name if entry else file.stem), entry, str(file))


def _convert(source: Path, digest: str, name: str, entry: PretrainedEncoder | None, address: str) -> Path:
    target = stored_path(name)
    weights = read_official(source)
    if entry is not None and entry.architecture != weights.architecture:
        raise UserError(
            f"{source} holds a {weights.architecture} encoder, but {name} is {entry.architecture}: use --as OTHER_NAME"
        )
    origin = (
        {"origin": entry.origin, "license": entry.license, "paper": entry.paper} if entry else {"origin": "own file"}
    )
    provenance = {
        "name": name,
        **origin,
        "source": without_credentials(address),
        "source_sha256": digest,
        "source_bytes": source.stat().st_size,
        "checksum": _verdict(entry, digest),
    }
    write_weights(weights, target, provenance)
    return target


def _verdict(entry: PretrainedEncoder | None, digest: str) -> str:
    if entry is None or entry.sha256 is None:
        return "none published"
    return "as published" if entry.sha256 == digest else "differs from the published file"


def write_weights(weights: EncoderWeights, target: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``target`` (.safetensors) and the .json beside it, each under a temporary name first.

    Raises:
        UserError: no space left.
    """
    record = {
        **provenance,
        "architecture": weights.architecture,
        "config": dataclasses.asdict(weights.config),
        "tensors": {name: list(tensor.shape) for name, tensor in sorted(weights.tensors.items())},
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    check_space(target.parent, sum(tensor.nbytes for tensor in weights.tensors.values()))
    with _written_then_renamed(target) as temporary:
        save_file(weights.tensors, temporary, metadata={_HEADER: json.dumps(record)})
    with _written_then_renamed(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1), encoding="utf-8")


@contextmanager
def _written_then_renamed(target: Path) -> Iterator[Path]:
    try:
        with no_space_is_a_user_error(target), replaced(target) as temporary:
            yield temporary
    except SafetensorError as error:
        raise UserError(
            f"cannot write {target}: {error}. Free some space, or set ASD_CACHE to another folder"
        ) from error


def read_record(path: Path) -> dict[str, Any]:
    """The record in the header of a converted file: name, architecture, config, origin, source checksum, tensors.

    Raises:
        UserError: damaged, or not a converted file.
    """
    return _record(read_safetensors(path)[1], path)


def read_weights(path: Path) -> EncoderWeights:
    """Read a converted file, or a published one.

    Raises:
        UserError: damaged, refused, or not fitting its encoder.
    """
    check_is_weights(path)
    if not is_safetensors(path):
        return read_official(path)
    stored, metadata = read_safetensors(path)
    if _HEADER not in metadata:
        return read_official(path)
    record = _record(metadata, path)
    try:
        config = CONFIGS[record["architecture"]](**record["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} was converted by another version ({printable(f'{error!s:.200}')}): run `asd weights import` or "
            "`fetch` again"
        ) from error
    return fitting(record["architecture"], config, stored, path)


def _record(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    if _HEADER not in metadata:
        raise UserError(f"{path} was not converted by asd: run `asd weights import` on it")
    record = parse_json(metadata[_HEADER], path)
    if not isinstance(record, dict):
        raise UserError(f"{path} says nothing about its weights: run `asd weights import` on it")
    return record
