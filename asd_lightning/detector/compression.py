"""A detector's back-end with a bank of limited size, and what that costs: the whole bank beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from asd_lightning.detector.bank import Bank
from asd_lightning.detector.constructors import Spec
from asd_lightning.detector.thresholds import Fitted, fit_bank
from asd_lightning.errors import UserError
from asd_lightning.scoring.agreement import rank_agreement
from asd_lightning.scoring.windows import WindowReduction

_KIND = "CompressedScorer"


@dataclass(frozen=True)
class Compression:
    """A smaller bank against the whole, by left-out scores of the same normal clips.

    Attributes:
        size: clips that the back-end is fitted to.
        clips: in the whole bank.
        rank_correlation: Spearman's, of the left-out scores by the two; nan where they differ and one has no spread.
        change: median of the scores' absolute changes, in interquartile ranges of the whole bank's scores.
        largest_change: likewise, the largest.
        warning: threshold, found by the smaller bank alone.
        warning_of_whole: what it would be by the whole bank, for the same rate.
    """

    size: int
    clips: int
    rank_correlation: float
    change: float
    largest_change: float
    warning: float
    warning_of_whole: float

    def sentence(self) -> str:
        """What it costs, in words."""
        return (
            f"a bank of {self.size} clips in the place of {self.clips}: left-out scores change by {self.change:.2g} of "
            f"their interquartile range (the largest by {self.largest_change:.2g}), rank correlation "
            f"{self.rank_correlation:.3f}; warnings above {self.warning:.4g}, by the whole bank "
            f"{self.warning_of_whole:.4g}"
        )

    def record(self) -> dict[str, str]:
        """Plain data, to the last bit; nan is no JSON."""
        return {name: repr(value) for name, value in asdict(self).items()}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Compression:
        """What ``record()`` was given of; raises KeyError, TypeError or ValueError where it is something else."""
        size, clips, *numbers = (record[field.name] for field in fields(cls))
        return cls(int(size), int(clips), *map(float, numbers))


def compressed(maker: Spec, size: int) -> Spec:
    """The spec of the same back-end with a bank of at most ``size`` clips.

    The clips are chosen as a back-end of nearest neighbours compares them; for any other among standardised embeddings.

    >>> compressed({"kind": "ResidualScorer"}, 500)
    {'kind': 'CompressedScorer', 'size': 500, 'scorer': {'kind': 'ResidualScorer'}}

    Raises:
        UserError: fewer than two clips.
    """
    if size < 2:
        raise UserError(f"--bank-size {size}: a bank holds two clips or more")
    how: dict[str, Any] = {}
    if maker.get("kind") == "KNNScorer":
        how = {"metric": maker.get("metric", "cosine"), "standardize": maker.get("standardize", False)}
    elif maker.get("kind") == "GridScorer" and maker.get("match", "cosine") == "cosine":
        how = {"metric": "cosine", "standardize": False}
    return {"kind": _KIND, "size": size, "scorer": maker, **how}


def compression(bank: Bank, maker: Spec, reduction: WindowReduction, fitted: Fitted, rate: float) -> Compression | None:
    """What a smaller bank costs; ``None`` of a back-end without one, or where the whole bank is no larger.

    Args:
        bank: the whole.
        maker: spec of the back-end.
        reduction: of windows to clips.
        fitted: the back-end, with its left-out scores.
        rate: of warnings; the smallest that the recordings of the bank allow where that is more.
    """
    clips = len(bank.of_role("bank").items)
    if maker.get("kind") != _KIND or clips <= maker["size"]:
        return None
    whole = fit_bank(bank, maker["scorer"], reduction)
    low, high = np.percentile(whole.scores, [25, 75])
    changes = np.abs(fitted.scores - whole.scores) / max(high - low, np.finfo(np.float64).tiny)
    normals = [one.normal() for one in (fitted, whole)]
    own, of_whole = (normal.threshold(max(rate, normal.smallest_rate)) for normal in normals)
    return Compression(
        int(maker["size"]),
        clips,
        rank_agreement(fitted.scores, whole.scores),
        float(np.median(changes)),
        float(changes.max()),
        own,
        of_whole,
    )
