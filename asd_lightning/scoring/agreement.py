"""Whether scores in a lower precision put normal recordings into the order that float32 puts them into."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

LEAST_AGREEMENT = 0.99
"""Of enrolled recordings, for a detector in a lower precision; `rank_agreement` of their left-out scores."""


def rank_agreement(one: Float[ndarray, " n"], other: Float[ndarray, " n"]) -> float:
    """Spearman's rank correlation of two scorings of the same recordings; nan where it is not defined.

    Ties share their mean rank.  The same scores agree fully, even where all are one number.

    >>> rank_agreement(np.array([0.1, 0.2, 0.3, 0.5]), np.array([1.0, 3.0, 2.0, 4.0]))
    0.8
    """
    if len(one) > 0 and np.array_equal(one, other):
        return 1.0
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    from scipy.stats import rankdata

    return round(float(np.corrcoef(rankdata(one), rankdata(other))[0, 1]), 12)


def agrees(correlation: float) -> bool:
    """Whether it is at least `LEAST_AGREEMENT`; nan is not."""
    return correlation >= LEAST_AGREEMENT
