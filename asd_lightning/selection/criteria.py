"""How well scores keep normal clips apart from stand-ins for anomalies, and how alike they treat both domains.

Pseudo-AUC and its bound: Wilkinghoff and Tan, 2026.  Domain balance: arXiv 2607.04526.  Higher scores are more
anomalous.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def pseudo_auc(inlier: Float[np.ndarray, " n"], outlier: Float[np.ndarray, " m"]) -> float:
    """Share of pairs whose outlier has the higher score, ties half: from 0 to 1; nan where either is empty.

    >>> round(pseudo_auc(np.array([0.1, 0.2, 0.4, 0.5]), np.array([0.3, 0.5, 0.9])), 6)
    0.791667
    """
    if not len(inlier) or not len(outlier):
        return float("nan")
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(outlier, inlier, method="asymptotic").statistic) / (len(inlier) * len(outlier))


def separation_bound(inlier: Float[np.ndarray, " n"], outlier: Float[np.ndarray, " m"]) -> float:
    """``m^2 / (Var out + Var in + m^2)`` with the difference m of the means: the AUC is at least that (Cantelli).

    0 where the outliers' mean is not the higher one, which bounds nothing; nan where either is empty.  Variances are
    those of the population.

    >>> round(separation_bound(np.array([0.1, 0.2, 0.4, 0.5]), np.array([0.3, 0.5, 0.9])), 6)
    0.449123
    """
    if not len(inlier) or not len(outlier):
        return float("nan")
    difference = float(outlier.mean() - inlier.mean())
    if difference <= 0:
        return 0.0
    return difference**2 / float(outlier.var() + inlier.var() + difference**2)


def distribution_distance(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """Of Kolmogorov and Smirnov: the largest difference of the two distribution functions, 0 (alike) to 1.

    >>> distribution_distance(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.25, 0.5]))
    0.5
    """
    from scipy.stats import ks_2samp

    return float(ks_2samp(first, second, method="asymp").statistic)
