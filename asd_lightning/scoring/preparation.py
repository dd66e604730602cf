"""What is done to all embeddings before they are compared: standardised, and whitened by a shrunk covariance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from asd_lightning.errors import UserError
from asd_lightning.scoring.principal_axes import principal_axes
from asd_lightning.scoring.protocol import ScorerState, kept_array
from asd_lightning.scoring.shared_fits import Arrays, fitted_once

# Added to a deviation before dividing by it: a dimension that hardly varies must not decide.
DEVIATION_FLOOR = 1e-3


class Preparation(NamedTuple):
    """``(x - mean) / deviation``, times ``whitening``; fitted to one machine's normal training clips of both domains.

    Attributes:
        mean: of each dimension, or zeros.
        deviation: of each dimension, or ones.
        whitening: W with ``W W^T`` the inverse of the covariance, or the unit matrix.
    """

    mean: Float[np.ndarray, " dim"]
    deviation: Float[np.ndarray, " dim"]
    whitening: Float[np.ndarray, "dim dim"] | None

    @classmethod
    def fit(cls, clips: Float[np.ndarray, "n dim"], standardize: bool, whiten: bool) -> Preparation:
        """Find what the settings ask for.

        Args:
            clips: one bank, source and target together.
            standardize: subtract the mean and divide by the population standard deviation + 0.001.
            whiten: bring the covariance to the unit matrix, as Ledoit and Wolf estimate it ("A Well-Conditioned
                Estimator for Large-Dimensional Covariance Matrices", J. Multivariate Analysis 88, 2004): shrunk
                towards a multiple of the unit matrix, as far as the clips themselves say.

        Raises:
            UserError: whitening of a single clip, or of clips that do not differ.
        """
        dim = clips.shape[1]

        def found() -> Arrays:
            mean = clips.mean(axis=0) if standardize or whiten else np.zeros(dim)
            deviation = clips.std(axis=0) + DEVIATION_FLOOR if standardize else np.ones(dim)
            return (mean, deviation, whitening_of((clips - mean) / deviation)) if whiten else (mean, deviation)

        what = f"whitening, standardize={standardize}"
        mean, deviation, *whitening = fitted_once(what, clips, found) if whiten else found()
        return cls(mean, deviation, whitening[0] if whiten else None)

    def __call__(self, embeddings: Float[np.ndarray, "m dim"]) -> Float[np.ndarray, "m dim"]:
        """Embeddings as they are compared."""
        standard = (embeddings - self.mean) / self.deviation
        return np.asarray(standard if self.whitening is None else standard @ self.whitening)

    def arrays(self) -> dict[str, Float[np.ndarray, "*shape"]]:
        """For a back-end's state."""
        kept = {"mean": self.mean, "deviation": self.deviation}
        return kept if self.whitening is None else kept | {"whitening": self.whitening}

    @classmethod
    def kept(cls, state: ScorerState, whiten: bool) -> Preparation:
        """The fitted preparation that gave ``arrays()``.

        Raises:
            UserError: an array is missing, of another shape, NaN or infinite.
        """
        mean = kept_array(state.arrays, "mean", None)
        deviation = kept_array(state.arrays, "deviation", len(mean))
        return cls(mean, deviation, kept_array(state.arrays, "whitening", len(mean), len(mean)) if whiten else None)


def whitening_of(centered: Float[np.ndarray, "n dim"]) -> Float[np.ndarray, "dim dim"]:
    """W with ``W W^T`` the inverse of the Ledoit-Wolf covariance of clips whose mean is 0.

    Raises:
        UserError: a single clip, or clips that do not differ.
    """
    if len(centered) < 2:
        raise UserError("a covariance needs at least two training clips, there is one")
    whitening = principal_axes(centered).whitening(_shrinkage(centered))
    if whitening is None:
        raise UserError(
            f"the covariance of {len(centered)} clips in {centered.shape[1]} dimensions has no inverse: look for "
            "identical clips"
        )
    return whitening


def _shrinkage(centered: Float[np.ndarray, "n dim"]) -> float:
    # Imported where something is fitted alone: it takes a second, and scoring has no use for it.
    from sklearn.covariance import ledoit_wolf_shrinkage

    return float(ledoit_wolf_shrinkage(centered, assume_centered=True))
