"""How embeddings are compared: as a whole, or band of frequency by band of frequency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Shaped

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_at_least, require_choice
from asd_lightning.scoring.search import Measure, View

Match = Literal["cosine", "euclidean", "coupled", "beam"]
BandOrder = Literal["first", "last"]

SHORTEST = 1e-12
"""A vector no longer than this has no direction."""


@dataclass(frozen=True)
class Matching:
    """Embeddings to the views that are searched, one for each vector that may choose a neighbour of its own.

    Attributes:
        match: ``cosine`` of the whole embedding, ``euclidean`` distance of the whole, ``coupled``: the mean over the
            bands of the cosine distances to one clip, ``beam``: each band finds its own nearest clip.
        bands: of frequency that the embedding holds.
        band_order: ``first`` where all numbers of a band lie together (bands x dim), ``last`` for dim x bands.

    Raises:
        UserError: a setting outside its range.
    """

    match: Match = "cosine"
    bands: int = 1
    band_order: BandOrder = "first"

    def __post_init__(self) -> None:
        require_choice("match", self.match, Match)
        require_at_least("bands", self.bands, 1)
        require_choice("band_order", self.band_order, BandOrder)

    @property
    def measure(self) -> Measure:
        """Of the distances between the views' vectors."""
        return "length" if self.match == "euclidean" else "angle"

    def views(self, embeddings: Float[np.ndarray, "n dim"], name: str) -> list[View]:
        """The views of some clips.

        Raises:
            UserError: the embedding's length is no multiple of the bands, or a clip has no direction in any band.
        """
        if self.match == "euclidean":
            return [View(embeddings, np.zeros(len(embeddings)))]
        bands = 1 if self.match == "cosine" else self.bands
        vectors, missing = _directions(_split(embeddings, bands, self.band_order))
        if missing.all(axis=1).any():
            row = int(np.argmax(missing.all(axis=1)))
            raise UserError(
                f"{name}: row {row} is all zeros and has no cosine distance, so it cannot be judged (a silent "
                "recording?); use the euclidean metric"
            )
        if self.match == "beam":
            return [View(vectors[:, band], missing[:, band]) for band in range(bands)]
        joined = vectors.reshape(embeddings.shape) / np.sqrt(bands)
        return [View(joined, missing.mean(axis=1))]

    def places(self, dim: int) -> list[Int[np.ndarray, " _"]]:
        """Of each view, which dimensions of an embedding its vectors' numbers are."""
        every = np.arange(dim)[None]
        if self.match in ("cosine", "euclidean"):
            return [every[0]]
        bands = _split(every, self.bands, self.band_order)[0]
        return list(bands) if self.match == "beam" else [bands.ravel()]


def _split(embeddings: Shaped[np.ndarray, "n dim"], bands: int, order: BandOrder) -> Shaped[np.ndarray, "n bands _"]:
    dim = embeddings.shape[1]
    if dim % bands:
        raise UserError(f"bands={bands}: embeddings of {dim} numbers do not divide into so many bands")
    if order == "first":
        return embeddings.reshape(-1, bands, dim // bands)
    return np.ascontiguousarray(embeddings.reshape(-1, dim // bands, bands).swapaxes(1, 2))


def _directions(
    vectors: Float[np.ndarray, "n bands dim"],
) -> tuple[Float[np.ndarray, "n bands dim"], Float[np.ndarray, "n bands"]]:
    """Vectors of length 1, zeros where there is no direction, and 1.0 there."""
    # Dividing by the largest value first keeps the squares of tiny and huge rows within float64.
    largest = np.abs(vectors).max(axis=2, keepdims=True)
    scaled = vectors / np.where(largest > 0, largest, 1)
    length = np.linalg.norm(scaled, axis=2, keepdims=True)
    missing = largest * length <= SHORTEST
    unit = np.where(missing, 0, scaled / np.where(length > 0, length, 1))
    return unit, missing[:, :, 0].astype(np.float64)
