"""Areas under the ROC curve of a few clips: scikit-learn's, to the last bit, without its checks of what it is given.

Those checks take most of the time where a machine has some hundred clips, and its import most of a command's.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


def auc(is_anomaly: Bool[ndarray, " clips"], anomaly_score: Float[ndarray, " clips"]) -> float:
    """Area under the ROC curve, in [0, 1]: how often an anomaly scores higher than a normal clip; ties count half.

    Both kinds of clips must occur, and every score must be finite.

    >>> auc(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    return _area(*_rates(is_anomaly, anomaly_score))


def partial_auc(is_anomaly: Bool[ndarray, " clips"], anomaly_score: Float[ndarray, " clips"], most: float) -> float:
    """Area where the false-positive rate is at most ``most``, standardised after McClish (1989): chance is 0.5.

    ``most`` is in (0, 1); what else is asked of the clips is asked by `auc`.

    >>> round(partial_auc(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]), 0.1), 4)
    0.7368
    """
    hits, false = _rates(is_anomaly, anomaly_score)
    stop = int(np.searchsorted(false, most, "right"))
    at_most = np.interp(most, false[stop - 1 : stop + 1], hits[stop - 1 : stop + 1])
    area = _area(np.append(hits[:stop], at_most), np.append(false[:stop], most))
    by_chance = 0.5 * most**2
    return 0.5 * (1 + (area - by_chance) / (most - by_chance))


def _area(heights: Float[ndarray, " corners"], places: Float[ndarray, " corners"]) -> float:
    """Below straight lines from corner to corner."""
    return float((np.diff(places) * (heights[1:] + heights[:-1]) / 2.0).sum())


def _rates(
    is_anomaly: Bool[ndarray, " clips"], anomaly_score: Float[ndarray, " clips"]
) -> tuple[Float[ndarray, " corners"], Float[ndarray, " corners"]]:
    """The ROC curve from (0, 0) to (1, 1), without points on a straight line: true- and false-positive rates."""
    order = np.argsort(-anomaly_score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(anomaly_score[order])), len(order) - 1)
    hits = np.cumsum(is_anomaly[order], dtype=np.float64)[last]
    false = 1 + last - hits
    if len(last) > 2:
        corners = np.flatnonzero(np.concatenate([[True], (np.diff(false, 2) != 0) | (np.diff(hits, 2) != 0), [True]]))
        hits, false = hits[corners], false[corners]
    return np.concatenate([[0.0], hits]) / hits[-1], np.concatenate([[0.0], false]) / false[-1]
