"""Which frequencies the dimensions of an embedding belong to, where an embedder keeps them apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from torch import nn

from asd_lightning.detector.hearing import Hearing
from asd_lightning.encoders.pooling import GridPooling
from asd_lightning.encoders.statistics import TemporalStatistics
from asd_lightning.features.mel_table import mel_edges

_LOWEST = 20.0
_OCCLUDED = 16


class Bands(NamedTuple):
    """Bands of frequency, one beside the next, in Hz."""

    low: Float[ndarray, " bands"]
    high: Float[ndarray, " bands"]


class Layout(NamedTuple):
    """Bands of an embedding, and the band of each of its dimensions."""

    bands: Bands
    of_dimension: Int[ndarray, " dim"]


def layout_of(hearing: Hearing) -> Layout | None:
    """Where the numbers of a detector's embedding lie.

    Statistics of mel bands lie in those; what a pooling keeps apart of an encoder's bands lies in the mel bands that
    the encoder's patches take together.  A convolution's bands see somewhat beyond their edges.

    Returns:
        ``None`` of an embedder of several branches, with a head or a projection, which mix all frequencies, of one that
        merges its bands, and of a front-end without mel bands.
    """
    branches = list(hearing.model.embedder.branches.values())
    if hearing.embedder.get("head", "none") != "none" or len(branches) > 1:
        return None
    branch = branches[0]
    edges = getattr(branch.front_end, "band_edges", None)
    pooling = branch.pooling if branch.scored_pooling is None else branch.scored_pooling
    if edges is None or (branch.scored_pooling is None and not isinstance(branch.projection, nn.Identity)):
        return None
    mels = len(edges) - 2
    if isinstance(branch.encoder, TemporalStatistics) and isinstance(pooling, nn.Identity):
        return Layout(_joined(edges, mels), np.tile(np.arange(mels), branch.encoder.out_dim // mels))
    if not isinstance(pooling, GridPooling) or pooling.out_dim != pooling.grid.bands * pooling.grid.channels:
        return None
    count = pooling.grid.bands
    if count < 2 or mels % count:
        return None
    return Layout(_joined(edges, count), np.repeat(np.arange(count), pooling.grid.channels))


def occluded_bands(sample_rate: int) -> Bands:
    """Sixteen bands, evenly on the mel scale up to half the rate, for embedders that keep none apart."""
    edges = mel_edges(_LOWEST, sample_rate / 2, _OCCLUDED - 1)
    return Bands(edges[:-1], edges[1:])


def _joined(edges: Float[ndarray, " edges"], count: int) -> Bands:
    """Neighboring triangles as ``count`` bands, from halfway between two peaks to halfway between two others."""
    middles = (edges[:-1] + edges[1:]) / 2
    limits = middles[:: (len(middles) - 1) // count]
    return Bands(limits[:-1], limits[1:])
