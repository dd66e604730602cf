"""Poolings of each clip's tokens, kept beside the embeddings of the same test: other poolings need no second pass.

A file holds one pooling: of every clip a vector for each band of frequency, row for row with the clips of the
embeddings, whose key (model, preprocessing, recordings) it bears.  Without that key it is of another test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from numpy.typing import NDArray

from asd_lightning.atomic import write_atomically
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, load_npz, parse_json
from asd_lightning.scoring.embedding_cache import CacheKey, EmbeddingCache
from asd_lightning.scoring.heard import logger_of

logger = logger_of(__name__)

LARGEST_HALF = 6e4
"""Where a number is larger, all are kept in single precision: float16 ends at 65,504."""
# Halving numbers down to 6e-5 moves a vector by at most 2^-11 of its length.
_LARGEST_CHANGE = 2.0**-10
# Shorter vectors have no direction; see `asd_lightning.scoring.matching`.
_SHORTEST = 1e-12


@dataclass(frozen=True)
class StoredFeatures:
    """One pooling of the clips of a test.

    Attributes:
        pooling: its name.
        reference: of normal training clips.
        query: of test clips.
        key: that of the test's embeddings.
    """

    pooling: str
    reference: Float[ndarray, "n bands dim"]
    query: Float[ndarray, "m bands dim"]
    key: CacheKey

    @property
    def bands(self) -> int:
        """F."""
        return int(self.reference.shape[1])

    def instead_of(self, cache: EmbeddingCache) -> EmbeddingCache:
        """The clips of ``cache`` with these vectors, kept bands one behind the other, as their embeddings.

        Raises:
            UserError: they are of another test than ``cache``.
        """
        lengths = (len(self.reference), len(self.query))
        if self.key != cache.key or lengths != (len(cache.reference), len(cache.query)):
            raise UserError(f"stored features {self.pooling}: of another test than the embeddings beside them")
        reference, query = (part.reshape(len(part), -1) for part in (self.reference, self.query))
        return replace(cache, reference=reference, query=query)

    def merged(self) -> StoredFeatures:
        """The mean over the bands: of the mean over time what merged bands give, of other poolings it is not."""
        means = (part.mean(axis=1, keepdims=True, dtype=np.float64) for part in (self.reference, self.query))
        reference, query = (mean.astype(np.float32) for mean in means)
        return StoredFeatures(f"{self.pooling}_merged", reference, query, self.key)


def write_features(path: Path, features: StoredFeatures) -> bool:
    """Write one pooling as ``.npz``, whole or not at all.

    Returns:
        Whether in half precision: where that would change a band's vector by more than a thousandth of its length, or
        a number is larger than `LARGEST_HALF`, it is single precision.
    """
    parts = features.reference, features.query
    halved = all(map(fits_half, parts))
    reference, query = (part.astype(np.float16 if halved else np.float32) for part in parts)
    about = np.array(json.dumps({"pooling": features.pooling, "key": features.key.stored()}, sort_keys=True))
    with write_atomically(path) as file:
        np.savez(file, about=about, reference=reference, query=query)
    return halved


def read_features(path: Path) -> StoredFeatures:
    """Read what ``write_features`` wrote.

    Raises:
        UserError: no such file, or not a pooling of clips.
    """
    if not path.is_file():
        raise UserError(f"{path}: no stored features there")
    try:
        content = load_npz(path)
        about = parse_json(str(content["about"]), path)
        reference, query = _grid(content["reference"]), _grid(content["query"])
        if reference.shape[1:] != query.shape[1:]:
            raise ValueError(f"of {reference.shape[1:]} and of {query.shape[1:]} numbers a clip")
        return StoredFeatures(str(about["pooling"]), reference, query, CacheKey.of_stored(about["key"]))
    except ForeignFileError as error:
        raise UserError(f"{path}: not stored features ({error.reason}); store them again") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not stored features ({error}); store them again") from error


def fits_half(vectors: Float[ndarray, "n bands dim"]) -> bool:
    """Whether half precision keeps every number, and every vector that has a direction to a thousandth.

    >>> fits_half(np.full((1, 1, 2), 6e4)), fits_half(np.full((1, 1, 2), 7e4)), fits_half(np.full((1, 1, 2), 1e-7))
    (True, False, False)
    """
    # Some at a time: a copy of all in two more precisions would be thrice as large.
    return all(_fits_half(vectors[start : start + 256]) for start in range(0, len(vectors), 256))


def _fits_half(vectors: Float[ndarray, "n bands dim"]) -> bool:
    if not np.abs(vectors).max(initial=0.0) <= LARGEST_HALF:
        return False
    exact = vectors.astype(np.float64)
    length = np.linalg.norm(exact, axis=2)
    change = np.linalg.norm(vectors.astype(np.float16).astype(np.float64) - exact, axis=2)
    return bool((change <= np.where(length > _SHORTEST, _LARGEST_CHANGE * length, np.inf)).all())


def _grid(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 3 or array.dtype.kind != "f" or 0 in array.shape[1:]:
        raise ValueError(f"{array.dtype} of shape {array.shape} is no table of bands")
    if not np.isfinite(array).all():
        raise ValueError("some numbers are not finite")
    return array
