"""Decision thresholds: from the scores of normal training clips, each left out of what scored it.

A clip is called anomalous where its score is above the threshold.
"""

from __future__ import annotations

import math
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_between
from asd_lightning.scoring.heard import logger_of
from asd_lightning.scoring.normal_scores import NormalScores, fewest_recordings

LARGEST_MISPLACEMENT = 0.1

log = logger_of(__name__)


@runtime_checkable
class Threshold(Protocol):
    """A rule that turns normal clips' scores into a decision threshold."""

    def fit(self, training_scores: Float[np.ndarray, " n"], is_target: Bool[np.ndarray, " n"]) -> float:
        """The threshold; scores above it are anomalous.

        Args:
            training_scores: of normal training clips, each by a back-end that did not see the clip.
            is_target: whether each is of the target domain.
        """
        ...


@runtime_checkable
class RecordingThreshold(Threshold, Protocol):
    """A rule that has to know which scores are of one recording."""

    def fit_recordings(
        self,
        training_scores: Float[np.ndarray, " n"],
        is_target: Bool[np.ndarray, " n"],
        recording: Int[np.ndarray, " n"],
    ) -> float:
        """``fit``, where ``recording`` is the number of the recording that each clip was cut from."""
        ...


class GammaThreshold:
    """A percentile of the gamma distribution of most likelihood: the rule of the official DCASE baseline.

    Shape, location and scale are fitted by scipy, on scores divided by their standard deviation so that the result
    follows the unit of the scores.  The fit breaks down on scores with a second mode or many ties: where its percentile
    is more than ten points off the training scores' own, or above what any distribution of their mean and deviation
    allows (Cantelli's inequality), or where there are fewer than three different scores, the empirical percentile is
    used instead, with a warning.

    Args:
        percentile: of the fitted distribution, above 0 and below 100.

    Raises:
        UserError: the percentile is outside its range.
    """

    def __init__(self, percentile: float = 90.0) -> None:
        require_between("percentile", percentile, 0, 100)
        self.percentile = percentile

    def fit(self, training_scores: Float[np.ndarray, " n"], is_target: Bool[np.ndarray, " n"]) -> float:
        """The threshold.

        Raises:
            UserError: no scores, or NaN or infinite ones.
        """
        scores = np.sort(_checked(training_scores))
        unit = scores.std()
        if len(np.unique(scores)) > 2 and unit > np.finfo(np.float64).eps * np.abs(scores).max():
            threshold = self._of_gamma(scores / unit)
            if threshold is not None:
                return float(threshold * unit)
        log.warning("no gamma distribution fits the %d training scores: using their empirical percentile", len(scores))
        return float(np.percentile(scores, self.percentile))

    def _of_gamma(self, scores: Float[np.ndarray, " n"]) -> float | None:
        # Imported where it is used alone: it takes most of a second, and scoring has no use for it.
        from scipy import stats

        try:
            shape, location, scale = stats.gamma.fit(scores)
        except stats.FitError:
            return None
        share = self.percentile / 100
        threshold = float(stats.gamma.ppf(share, shape, loc=location, scale=scale))
        misplaced = abs(np.mean(scores <= threshold) - share) > LARGEST_MISPLACEMENT
        impossible = not threshold <= scores.mean() + scores.std() * math.sqrt(share / (1 - share))
        return None if misplaced or impossible else threshold


class QuantileThreshold:
    """The empirical quantile of the training scores, linearly interpolated.

    Args:
        quantile: above 0 and below 1.

    Raises:
        UserError: the quantile is outside its range.
    """

    def __init__(self, quantile: float = 0.9) -> None:
        require_between("quantile", quantile, 0, 1)
        self.quantile = quantile

    def fit(self, training_scores: Float[np.ndarray, " n"], is_target: Bool[np.ndarray, " n"]) -> float:
        """The threshold.

        Raises:
            UserError: no scores, or NaN or infinite ones.
        """
        return float(np.quantile(_checked(training_scores), self.quantile))


class ConformalThreshold:
    """Conformal threshold: a clip of a normal source-domain recording is above it with at most the stated probability.

    It is that of a detector (`asd_lightning.scoring.normal_scores`): the unit is the recording, since clips of one are
    alike.  Where each clip is a recording, it is the score of rank ``ceil((n + 1) (1 - rate))`` from below among the n
    source clips' (Vovk et al., "Algorithmic Learning in a Random World", 2005, chapter 4; Papadopoulos et al., ECML
    2002).  The promise holds on average over training sets, for recordings exchangeable with those of training, where
    the scores come from recordings that the back-end never saw.  Leave-one-out scores of nearest neighbours keep it
    too: one clip more in the bank would bring them down, if anything, and not up.  Other back-ends, and standardised
    embeddings, keep it nearly.

    Target clips are left out: they are too few, and too unlike the source, for a promise to either domain.

    Args:
        false_alarm_rate: above 0 and below 1.

    Raises:
        UserError: the rate is outside its range.
    """

    def __init__(self, false_alarm_rate: float = 0.1) -> None:
        require_between("false_alarm_rate", false_alarm_rate, 0, 1)
        self.false_alarm_rate = false_alarm_rate

    @property
    def fewest_recordings(self) -> int:
        """Source-domain recordings that are needed to promise the rate."""
        return fewest_recordings(self.false_alarm_rate)

    def fit(self, training_scores: Float[np.ndarray, " n"], is_target: Bool[np.ndarray, " n"]) -> float:
        """The threshold, each clip being a recording; see ``fit_recordings``."""
        return self.fit_recordings(training_scores, is_target, np.arange(len(training_scores)))

    def fit_recordings(
        self,
        training_scores: Float[np.ndarray, " n"],
        is_target: Bool[np.ndarray, " n"],
        recording: Int[np.ndarray, " n"],
    ) -> float:
        """The threshold.

        Raises:
            UserError: no scores, NaN or infinite ones, or too few recordings to promise the rate: n allow none below
                1 / (n + 1).
        """
        scores, source = _checked(training_scores)[~is_target], recording[~is_target]
        count = len(np.unique(source))
        if count < self.fewest_recordings:
            raise UserError(
                f"false_alarm_rate={self.false_alarm_rate} cannot be promised with {count} source-domain training "
                f"recordings: the lowest possible is 1 / {count + 1} = {1 / (count + 1):.4f}; use at least "
                f"{self.fewest_recordings} recordings or a higher rate"
            )
        return NormalScores.fit(scores, source).threshold(self.false_alarm_rate)


def _checked(scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    if scores.ndim != 1 or scores.size == 0:
        raise UserError(f"training scores have shape {scores.shape}: a threshold needs one score per training clip")
    if not np.isfinite(scores).all():
        raise UserError(f"training scores: {int((~np.isfinite(scores)).sum())} of {len(scores)} are NaN or infinite")
    return scores.astype(np.float64)
