"""Scores of several systems for the same clips as one score, each on the scale of its left-out training scores.

What a system's score is worth is told by the scores of its normal training recordings, each by a back-end without it.
Test clips have no part in that: the fused score of one depends on no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float

from asd_lightning.errors import UserError

Method = Literal["mean_z", "z_min", "rank"]
METHODS: tuple[Method, ...] = get_args(Method)


class Scored(NamedTuple):
    """What one system says of one machine's recordings.

    Attributes:
        left_out: scores of its normal training recordings, each by a back-end without it.
        query: scores of test recordings.
    """

    left_out: Float[np.ndarray, " n"]
    query: Float[np.ndarray, " m"]


def fuse_scores(parts: Sequence[Scored], by: Method = "mean_z", weights: Sequence[float] = ()) -> Scored:
    """The fused scores of the training recordings and of the test recordings; higher is more anomalous.

    - ``mean_z``: the mean of the z-scores, each score less the mean of its system's left-out scores, over their
      standard deviation;
    - ``z_min``: the smallest of them (Z-MIN, arXiv 2606.19269);
    - ``rank``: the mean of ``ranks``.

    A system whose left-out scores have no spread has no say.

    Args:
        parts: of each system, the same recordings in the same order.
        by: the method.
        weights: of the systems in a mean, above 0, as many as there are; none for equal ones.

    Raises:
        UserError: no system has a spread.

    >>> one, other = [0.1, 0.2, 0.3, 0.2], [2.0, 3.0, 7.0, 4.0]
    >>> parts = Scored(np.array(one), np.array([0.5, 0.25])), Scored(np.array(other), np.array([5.0, 9.0]))
    >>> fuse_scores(parts, "z_min").query.round(6).tolist()
    [0.534522, 0.707107]
    """
    given = list(weights) or [1.0] * len(parts)
    told = [(part, weight) for part, weight in zip(parts, given, strict=True) if np.ptp(part.left_out) > 0]
    if not told:
        raise UserError("the left-out training scores of no system have a spread: look for identical clips")
    place = ranks if by == "rank" else z_scores
    placed = [Scored(place(part.left_out, part.left_out), place(part.query, part.left_out)) for part, _ in told]
    share = [weight for _, weight in told]
    left_out, query = ([part[which] for part in placed] for which in (0, 1))
    if by == "z_min":
        return Scored(lowest(left_out), lowest(query))
    return Scored(mean_of(left_out, share), mean_of(query, share))


def z_scores(scores: Float[np.ndarray, " m"], left_out: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """How many (population) standard deviations of the left-out scores the scores are above their mean.

    >>> z_scores(np.array([0.35]), np.array([0.1, 0.2, 0.3])).round(6).tolist()
    [1.837117]
    """
    return np.asarray((scores - left_out.mean()) / left_out.std())


def ranks(scores: Float[np.ndarray, " m"], left_out: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """The share of the left-out scores that is below each score, those equal to it counting half: above 0, below 1.

    Linear between neighbouring left-out scores, since a share of n steps would tie most clips.  Beyond the largest
    (and below the smallest) what is left of the share halves with the first standard deviation of the left-out scores,
    and goes on as 1 / (1 + x): the order stays, as far as floating point has numbers for it.

    Args:
        scores: to be placed.
        left_out: with a spread.

    >>> ranks(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0, 3.0])).tolist()
    [0.125, 0.5, 0.875]
    """
    value, count = np.unique(left_out, return_counts=True)
    share = (np.cumsum(count) - count / 2) / count.sum()
    unit = left_out.std()
    # Not np.interp, which rounds otherwise for many scores than for few.
    right = np.clip(np.searchsorted(value, scores), 1, len(value) - 1)
    between = (scores - value[right - 1]) / (value[right] - value[right - 1])
    inside = share[right - 1] + between * (share[right] - share[right - 1])
    above = 1 - (1 - share[-1]) / (1 + np.maximum(scores - value[-1], 0) / unit)
    below = share[0] / (1 + np.maximum(value[0] - scores, 0) / unit)
    return np.asarray(np.where(scores >= value[-1], above, np.where(scores <= value[0], below, inside)))


def mean_of(scores: Sequence[Float[np.ndarray, " m"]], weights: Sequence[float]) -> Float[np.ndarray, " m"]:
    """The weighted mean of several systems' scores, clip by clip, to the bit the same whatever clips are beside it."""
    # Their sum may be past what a float holds.
    shares = [weight / max(weights) for weight in weights]
    total = np.zeros(len(scores[0]))
    for values, share in zip(scores, shares, strict=True):
        total += share * values
    return total / sum(shares)


def lowest(scores: Sequence[Float[np.ndarray, " m"]]) -> Float[np.ndarray, " m"]:
    """The lowest of several systems' scores, clip by clip."""
    return np.asarray(np.min(scores, axis=0))
