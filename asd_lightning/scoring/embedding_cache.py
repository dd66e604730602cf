"""The embeddings of one test, kept with the clips they are of, so that other back-ends need no second pass.

A cache is valid for one model, one preprocessing, one state of the recordings and one precision; its key says which.
What may change freely is the back-end.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from asd_lightning.atomic import write_atomically
from asd_lightning.data.content import content_digest
from asd_lightning.data.layout import Clip
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, load_npz, parse_json

if TYPE_CHECKING:
    from torch import Tensor

_TEXT_COLUMNS = ("path", "machine", "name", "section", "split", "domain", "condition", "attribute")
# Column -> field; numpy's writer has an argument of its own called file.
_OF_RECORDINGS = {"scored_file": "file", "recording": "recording"}


@dataclass(frozen=True)
class CacheKey:
    """What embeddings depend on.

    Attributes:
        model: digest of weights and architecture, see ``model_digest``.
        preprocessing: from the recordings to what the model was fed.
        files: digest of the recordings' names and content, see ``files_digest``.
        precision: of the encoders, see `asd_lightning.low_precision`.
    """

    model: str
    preprocessing: Preprocessing
    files: str
    precision: str = "float32"

    def stored(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def of_stored(cls, stored: Any) -> CacheKey:
        """The key that was ``stored()``; raises as a mapping and `Preprocessing.of_options` do."""
        # Older runs kept further options of the data module here, which say nothing of what the model was fed.
        preprocessing = Preprocessing.of_options(stored["preprocessing"])
        # Nor did they have another precision.
        return cls(stored["model"], preprocessing, stored["files"], stored.get("precision", "float32"))


@dataclass(frozen=True)
class EmbeddingCache:
    """Embeddings of normal training clips (reference) and of test clips (query), row for row with their clips."""

    reference: Float[ndarray, "n dim"]
    query: Float[ndarray, "m dim"]
    reference_clips: tuple[Clip, ...]
    query_clips: tuple[Clip, ...]
    key: CacheKey


def write_embeddings(path: Path, cache: EmbeddingCache) -> None:
    """Write a cache as ``.npz``: the key, two arrays of embeddings, and one array for each column of the clip table."""
    clips = [*cache.reference_clips, *cache.query_clips]
    fields = {name: name for name in _TEXT_COLUMNS} | _OF_RECORDINGS
    columns: dict[str, Any] = {
        column: np.array([str(getattr(clip, field)) for clip in clips]) for column, field in fields.items()
    }
    columns["path"] = np.array([str(clip.path.absolute()) for clip in clips])
    columns["start"] = np.array([clip.start for clip in clips])
    columns["seconds"] = np.array([math.nan if clip.seconds is None else clip.seconds for clip in clips])
    key = np.array(json.dumps(cache.key.stored(), sort_keys=True))
    with write_atomically(path) as file:
        np.savez(file, key=key, reference=cache.reference, query=cache.query, **columns)


def read_embeddings(path: Path) -> EmbeddingCache:
    """Read what ``write_embeddings`` wrote.

    Raises:
        UserError: no such file, or not a file of embeddings with their clips.
    """
    if not path.is_file():
        raise UserError(f"{path}: no embeddings there; a finished test writes them")
    try:
        content = load_npz(path)
        key = CacheKey.of_stored(parse_json(str(content["key"]), path))
        columns = {name: content[name] for name in (*_TEXT_COLUMNS, "start", "seconds")}
        # Those of older runs have none of these: a file is a recording, and was scored whole.
        columns |= {field: content[column] for column, field in _OF_RECORDINGS.items() if column in content}
        clips = _clips(columns)
        reference, query = _vectors(content["reference"]), _vectors(content["query"])
        if reference.shape[1] != query.shape[1]:
            raise ValueError(f"of {reference.shape[1]} and of {query.shape[1]} dimensions")
    except ForeignFileError as error:
        raise UserError(f"{path}: not embeddings with their clips ({error.reason}); test the run again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not embeddings with their clips ({error}); test the run again") from error
    if len(clips) != len(reference) + len(query):
        raise UserError(f"{path}: {len(clips)} clips for {len(reference) + len(query)} embeddings; test the run again")
    return EmbeddingCache(reference, query, clips[: len(reference)], clips[len(reference) :], key)


def model_digest(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    """Digest of a module's weights and of what its configuration says about the way to an embedding."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    architecture = {name: config.get(name) for name in ("embedder", "score_after_head")}
    digest.update(json.dumps(architecture, sort_keys=True).encode())
    return digest.hexdigest()


def files_digest(clips: Sequence[Clip], contents: Mapping[Path, str] | None = None) -> str:
    """Digest of which pieces of which recordings the clips are, and of the recordings' content.

    Args:
        clips: all of them, in order.
        contents: path -> digest of its content; what is not in it is read.
    """
    known = dict(contents or {})
    digest = hashlib.blake2b(digest_size=16)
    for clip in clips:
        content = known.get(clip.path) or known.setdefault(clip.path, content_digest(clip.path))
        digest.update(repr((clip.machine, clip.split, clip.name, clip.start, clip.seconds, content)).encode())
    return digest.hexdigest()


def recordings_state(cache: EmbeddingCache) -> Literal["unchanged", "changed", "absent"]:
    """Whether the recordings are what they were when they were embedded; ``absent``: at least one is not there."""
    clips = [*cache.reference_clips, *cache.query_clips]
    if not all(clip.path.exists() for clip in clips):
        return "absent"
    found = files_digest(clips)
    return "unchanged" if found == cache.key.files else "changed"


def _vectors(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ValueError(f"{array.dtype} of {array.ndim} dimensions is no table of vectors")
    if not np.isfinite(array).all():
        raise ValueError("some numbers are not finite")
    return array


def _clips(columns: Mapping[str, NDArray[Any]]) -> tuple[Clip, ...]:
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return tuple(_clip(dict(zip(columns, row, strict=True))) for row in rows)


def _clip(row: dict[str, Any]) -> Clip:
    seconds = None if math.isnan(row["seconds"]) else row["seconds"]
    return Clip(**row | {"path": Path(row["path"]), "seconds": seconds})
