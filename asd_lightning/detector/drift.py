"""Whether normal sound has drifted away from what was enrolled: a sequential test on scores, or on level.

A cumulative sum (Page, Biometrika 1954): each clip adds ``z - allowance``, where z is its value less the enrolled mean,
over the enrolled standard deviation, and the sum never falls below 0.  Above ``limit`` the sound has drifted.  No clip
counts for more than ``LARGEST`` deviations, so that a few faulty clips are no drift; many are, since a fault that stays
cannot be told from a drift by its scores.

Clips of one recording are alike, so neither those enrolled nor the new ones are independent.  The unit is the
recording: new clips are taken to come in recordings of ``together`` clips in a row, and a recording differs from the
next as the enrolled ones differ.  With this the limit is found by simulation, and what is not known of a few enrolled
recordings is simulated with it: each run has its own enrolment, from which mean and deviation are estimated, and its
own share of variance between recordings, drawn as the enrolled clips leave it uncertain.  Values are drawn with longer
tails than most have, exponential ones for scores and Laplace's for levels.  Of several allowances the one is taken
that finds the smallest drift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.errors import UserError
from asd_lightning.scoring.arguments import require_at_least, require_between, require_choice

Sides = Literal["up", "both"]

LARGEST = 6.0
"""Standard deviations that one clip counts for at most."""
WITHIN = 20
"""Clips in which a drift of ``smallest`` is found."""
POWER = 0.95
"""Probability with which it is."""
FEWEST_RECORDINGS = 3

_ALLOWANCES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
_RUNS = 2000
# More recordings or clips are simulated as so many: a little less is then taken to be known than is.
_MOST_RECORDINGS, _MOST_CLIPS = 50, 20
_STEPS = 10
_LARGEST_DRIFT = 64.0


@dataclass(frozen=True)
class DriftState:
    """Where a run stands: ``DriftState()`` at its begin.

    Attributes:
        clips: seen so far.
        up: sum of the evidence for higher values.
        down: for lower ones.
        drifted_at: number of the clip (from 1) at which drift was found; 0 where it was not.  It stays found.
    """

    clips: int = 0
    up: float = 0.0
    down: float = 0.0
    drifted_at: int = 0

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> DriftState:
        """From ``dataclasses.asdict`` of a state.

        Raises:
            UserError: not such a dictionary.
        """
        try:
            kept = cls(int(state["clips"]), float(state["up"]), float(state["down"]), int(state["drifted_at"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"state of the drift test: {error!r}; begin a new one") from error
        sums = kept.up, kept.down
        if not all(math.isfinite(one) and one >= 0 for one in sums) or not 0 <= kept.drifted_at <= kept.clips:
            raise UserError("state of the drift test: a sum or number that cannot be; begin a new one")
        return kept


@dataclass(frozen=True)
class DriftTest:
    """A cumulative sum whose limit a run of ``clips`` clips without drift passes with a probability of ``risk``.

    Immutable: the state of a run is a :class:`DriftState`, plain data.

    Attributes:
        center: mean of the enrolled recordings' means.
        scale: standard deviation of a clip of a new recording.
        allowance: deviations that a clip has to exceed to count for a drift.
        limit: of the sum, in deviations.
        sides: ``up`` or ``both``.
        clips: length of a run.
        risk: of a run.
        together: clips in a row that are taken to be of one recording.
        smallest: shift, in the values' unit, that is found within 20 clips with a probability of 95 %; infinite where
            none is.

    >>> scores = np.random.default_rng(0).normal(5.0, 1.0, 40)
    >>> test, state = DriftTest.fit(scores, np.arange(40)), DriftState()
    >>> for score in (5.0, 4.0, 6.0, 9.0, 9.0, 9.0, 9.0):
    ...     state = test.update(state, score)
    >>> state.clips, state.drifted_at
    (7, 7)
    """

    center: float
    scale: float
    allowance: float
    limit: float
    sides: Sides
    clips: int
    risk: float
    together: int
    smallest: float

    @classmethod
    def fit(
        cls,
        values: Float[np.ndarray, " clips"],
        recording: Int[np.ndarray, " clips"],
        sides: Sides = "up",
        clips: int = 200,
        risk: float = 0.05,
        together: int | None = None,
    ) -> DriftTest:
        """From left-out scores (or levels in dB) of the normal training clips.

        Args:
            values: of the training clips.
            recording: number of each clip's recording.
            sides: ``up`` for scores, ``both`` for levels.
            clips: length of a run.
            risk: of a run without drift, above 0 and below 1.
            together: new clips in a row that are of one recording; by default as many as an enrolled recording has on
                average.  1 says that each clip is independent of the one before.

        Raises:
            UserError: fewer than three recordings, values without spread or NaN, or an argument outside its range.
        """
        require_choice("sides", sides, Sides)
        require_at_least("clips", clips, WITHIN)
        require_between("risk", risk, 0, 1)
        spread = _spread(values, recording)
        together = min(spread.clips if together is None else together, clips)
        require_at_least("together", together, 1)
        z, scale = _simulated(spread, sides, together, clips)
        best = (math.inf, _ALLOWANCES[-1], math.inf)
        for allowance in _ALLOWANCES:
            limit = float(np.quantile(_highest(z, allowance, sides), 1 - risk, method="higher"))
            best = min(best, (_smallest(z[:, :WITHIN], scale, allowance, limit), allowance, limit))
        smallest, allowance, limit = best
        return cls(
            center=spread.center,
            scale=spread.scale,
            allowance=allowance,
            limit=limit,
            sides=sides,
            clips=clips,
            risk=risk,
            together=together,
            smallest=smallest * spread.scale,
        )

    def update(self, state: DriftState, value: float) -> DriftState:
        """The state after one more clip.

        Args:
            state: before it.
            value: of the clip, as the enrolled ones'.

        Raises:
            UserError: the value is NaN or infinite.
        """
        if not math.isfinite(value):
            raise UserError(f"drift test: a clip's value is {value}; leave out clips that cannot be judged")
        z = min(max((value - self.center) / self.scale, -LARGEST), LARGEST)
        up = max(state.up + z - self.allowance, 0.0)
        down = max(state.down - z - self.allowance, 0.0) if self.sides == "both" else 0.0
        clips = state.clips + 1
        found = state.drifted_at or (clips if max(up, down) > self.limit else 0)
        return replace(state, clips=clips, up=up, down=down, drifted_at=found)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; an infinite ``smallest`` is ``None``."""
        return asdict(self) | {"smallest": self.smallest if math.isfinite(self.smallest) else None}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> DriftTest:
        """What gave ``state``.

        Raises:
            UserError: not what :meth:`to_dict` gives.
        """
        try:
            numbers = {name: float(state[name]) for name in ("center", "scale", "allowance", "limit", "risk")}
            clips, together = int(state["clips"]), int(state["together"])
            smallest = math.inf if state["smallest"] is None else float(state["smallest"])
            sides = state["sides"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"drift test: {error!r} in the kept state; fit the detector again") from error
        require_choice("sides", sides, Sides)
        if not all(map(math.isfinite, numbers.values())) or not numbers["scale"] > 0:
            raise UserError("drift test: a kept number that cannot be; fit the detector again")
        return cls(sides=sides, clips=clips, together=together, smallest=smallest, **numbers)


class _Spread(NamedTuple):
    """Of the enrolled values: mean, deviation of a new recording's clip, and how recordings and clips differ.

    ``ratio`` is the mean square between recordings over that within (nan where each has one clip).
    """

    center: float
    scale: float
    ratio: float
    recordings: int
    clips: int


def _spread(values: Float[np.ndarray, " clips"], recording: Int[np.ndarray, " clips"]) -> _Spread:
    if not np.isfinite(values).all():
        raise UserError("drift test: NaN or infinite values of normal clips")
    number, counts = np.unique(recording, return_inverse=True, return_counts=True)[1:]
    if len(counts) < FEWEST_RECORDINGS:
        raise UserError(
            f"drift test: {len(counts)} recordings, and at least {FEWEST_RECORDINGS} are needed to know how they differ"
        )
    means = np.bincount(number, values) / counts
    freedom = len(values) - len(counts)
    within = float(np.square(values - means[number]).sum() / freedom) if freedom else 0.0
    # Mean squares of the means: variance between recordings, and what is left of that within.
    inherited = within * float(np.mean(1 / counts))
    between = max(float(means.var(ddof=1)) - inherited, 0.0)
    scale = math.sqrt(between + within)
    if not scale > 0:
        raise UserError("drift test: all normal clips have the same value, so there is no spread to judge by")
    ratio = float(means.var(ddof=1)) / inherited if inherited > 0 else math.nan
    return _Spread(float(means.mean()), scale, ratio, len(counts), round(len(values) / len(counts)))


def _simulated(
    spread: _Spread, sides: Sides, together: int, clips: int
) -> tuple[Float[np.ndarray, "runs clips"], Float[np.ndarray, " runs"]]:
    """Simulated z of new clips without drift, each run by its own enrolment, and what a true deviation is in that z."""
    rng = np.random.default_rng(0)
    recordings, own = min(spread.recordings, _MOST_RECORDINGS), min(spread.clips, _MOST_CLIPS)
    between = _shares_between(rng, spread.ratio, recordings, own)

    def draw(count: int, each: int) -> Float[np.ndarray, "runs count each"]:
        offset, rest = _noise(rng, (_RUNS, count, 1), sides), _noise(rng, (_RUNS, count, each), sides)
        return np.asarray(offset * np.sqrt(between) + rest * np.sqrt(1 - between))

    enrolled = draw(recordings, own)
    means = enrolled.mean(axis=2)
    within = enrolled.var(axis=2, ddof=1).mean(axis=1) if own > 1 else np.zeros(_RUNS)
    deviation = np.sqrt(np.maximum(means.var(axis=1, ddof=1) - within / own, 0) + within)
    new = draw(math.ceil(clips / together), together).reshape(_RUNS, -1)[:, :clips]
    return (new - means.mean(axis=1)[:, None]) / deviation[:, None], 1 / deviation


def _shares_between(
    rng: np.random.Generator, ratio: float, recordings: int, clips: int
) -> Float[np.ndarray, "runs 1 1"]:
    """Share of the variance that is between recordings, as uncertain as the ratio of mean squares leaves it."""
    if clips < 2 or math.isnan(ratio):
        # One clip of each, or equal clips: all of it is.
        return np.ones((_RUNS, 1, 1))
    drawn = ratio / rng.f(recordings - 1, recordings * (clips - 1), _RUNS)
    excess = np.maximum(drawn - 1, 0)
    return np.asarray(excess / (excess + clips))[:, None, None]


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sides: Sides) -> Float[np.ndarray, "runs count each"]:
    """Mean 0 and variance 1."""
    return rng.exponential(size=shape) - 1 if sides == "up" else rng.laplace(scale=math.sqrt(0.5), size=shape)


def _highest(z: Float[np.ndarray, "runs clips"], allowance: float, sides: Sides) -> Float[np.ndarray, " runs"]:
    """The highest that each run's sum gets, clip by clip as in :meth:`DriftTest.update`, all runs at once."""
    by_clip = np.clip(z.T, -LARGEST, LARGEST, order="C")
    highest = np.zeros(len(z))
    for sign in (1, -1) if sides == "both" else (1,):
        evidence, above = np.zeros(len(z)), sign * by_clip
        for clip in above:
            evidence += clip
            evidence -= allowance
            np.maximum(evidence, 0, out=evidence)
            np.maximum(highest, evidence, out=highest)
    return highest


def _smallest(
    z: Float[np.ndarray, "runs few"], scale: Float[np.ndarray, " runs"], allowance: float, limit: float
) -> float:
    """The smallest drift, in true deviations, that enough runs find; infinite where no drift is."""

    def found(drift: float) -> bool:
        passed: Bool[np.ndarray, " runs"] = _highest(z + drift * scale[:, None], allowance, "up") > limit
        return bool(passed.mean() >= POWER)

    low, high = 0.0, _LARGEST_DRIFT
    if not found(high):
        return math.inf
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high
