"""The embeddings of one test, kept with the clips they are of, so that other back-ends need no second pass.

A cache is valid for one model, one preprocessing and one state of the recordings; its key says which.  What may change
freely is the back-end.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from asd_lightning.atomic import write_atomically
from asd_lightning.data.layout import Clip
from asd_lightning.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

# Options of the data module that leave the embedding of a given recording as it is.  Whatever else there is counts.
_WITHOUT_EFFECT = frozenset(
    {"_target_", "_convert_", "root", "machines", "labels", "batch_size", "test_batch_size", "sampler", "on_bad_file"}
    | {"cache_dir", "num_workers", "seed", "truth", "supplemental", "supplemental_snr_db"}
)
_TEXT_COLUMNS = ("path", "machine", "name", "section", "split", "domain", "condition", "attribute")


@dataclass(frozen=True)
class CacheKey:
    """What embeddings depend on.

    Attributes:
        model: digest of weights and architecture, see ``model_digest``.
        preprocessing: options of the data module that change what the model is fed.
        files: digest of the recordings' names, sizes and modification times, see ``files_digest``.
    """

    model: str
    preprocessing: dict[str, Any]
    files: str


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
    columns: dict[str, Any] = {name: np.array([str(getattr(clip, name)) for clip in clips]) for name in _TEXT_COLUMNS}
    columns["path"] = np.array([str(clip.path.absolute()) for clip in clips])
    columns["start"] = np.array([clip.start for clip in clips])
    columns["seconds"] = np.array([math.nan if clip.seconds is None else clip.seconds for clip in clips])
    key = np.array(json.dumps(asdict(cache.key), sort_keys=True))
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
        with np.load(path, allow_pickle=False) as content:
            key = CacheKey(**json.loads(str(content["key"])))
            clips = _clips({name: content[name] for name in (*_TEXT_COLUMNS, "start", "seconds")})
            reference, query = content["reference"], content["query"]
    except (OSError, EOFError, BadZipFile, KeyError, TypeError, ValueError) as error:
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


def preprocessing_options(data: Mapping[str, Any]) -> dict[str, Any]:
    """Of the data module's options, those that change what the model is fed."""
    return {name: value for name, value in data.items() if name not in _WITHOUT_EFFECT}


def files_digest(clips: Sequence[Clip]) -> str:
    """Digest of which pieces of which recordings the clips are, and of the recordings' sizes and modification times.

    Raises:
        FileNotFoundError: a recording is not there any more.
    """
    digest = hashlib.blake2b(digest_size=16)
    for clip in clips:
        status = clip.path.stat()
        piece = (clip.machine, clip.split, clip.name, clip.start, clip.seconds, status.st_size, status.st_mtime_ns)
        digest.update(repr(piece).encode())
    return digest.hexdigest()


def recordings_state(cache: EmbeddingCache) -> Literal["unchanged", "changed", "absent"]:
    """Whether the recordings are what they were when they were embedded; ``absent``: at least one is not there."""
    try:
        found = files_digest([*cache.reference_clips, *cache.query_clips])
    except OSError:
        return "absent"
    return "unchanged" if found == cache.key.files else "changed"


def _clips(columns: Mapping[str, NDArray[Any]]) -> tuple[Clip, ...]:
    rows = zip(*(columns[name].tolist() for name in (*_TEXT_COLUMNS, "start", "seconds")), strict=True)
    return tuple(
        Clip(
            path=Path(path),
            machine=machine,
            name=name,
            section=section,
            split=split,
            domain=domain,
            condition=condition,
            attribute=attribute,
            start=start,
            seconds=None if math.isnan(seconds) else seconds,
        )
        for path, machine, name, section, split, domain, condition, attribute, start, seconds in rows
    )
