"""States of a machine, such as off, starting, or another speed: each clip belongs to one.

What is normal in one state may be a fault in another, so each has a threshold of its own.  States are known from the
folders that the normal recordings were sorted into, or, for a machine that does not always run, from the level.  Each
window is assigned by its own sound: one in which the machine changes from a state to another belongs to the likelier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from asd_lightning.data.measurement import level_db
from asd_lightning.errors import UserError

StatesFrom = Literal["level", "folders", "none"]
"""What tells a machine's states: a gap in the levels of its clips, the folders they lie in, or nothing."""

GAP_DB = 10.0
"""Levels with no clip between them over so many dB may be two states."""
CLEAR = 3.0
"""The gap is so many times as wide as any other between neighboring levels."""
FEWEST_CLIPS = 3
"""On either side of the gap; fewer are outliers."""
RUNNING, NOT_RUNNING = "running", "not running"
NOT_RUNNING_FOLDERS = ("off", "stopped", "idle", "standstill", "not running", "not_running")
"""Folders of these names, in any case, hold a machine that does not run."""
CONFUSED = 0.1
"""Share of a state's left-out clips that is taken for another state, from which the two count as one."""
_SMALLEST_DEVIATION = 1e-9
# The spectrum that tells states apart: from frames so long, the upper half-octaves with one band for all below.
_FRAME_SECONDS, _HALF_OCTAVES = 0.128, 13
_LEAST_SHARE = 1e-8
FEATURES = _HALF_OCTAVES + 2
"""Numbers that `state_features` gives."""


def state_features(waveform: Float[np.ndarray, " samples"], sample_rate: int) -> Float[np.ndarray, " dim"]:
    """What tells the states of a machine apart: 15 numbers in dB.

    Args:
        waveform: in [-1, 1], of any length.
        sample_rate: in Hz.

    Returns:
        The level, and the share of the power that each half-octave has, from half the sampling rate down; the last band
        is all below them.  No share is less than -80 dB.

    >>> time = np.arange(16_000) / 16_000
    >>> low, high = (state_features(np.sin(2 * np.pi * hertz * time), 16_000) for hertz in (200.0, 1000.0))
    >>> low.shape, low.argsort()[-2:].tolist(), high.argsort()[-2:].tolist()
    ((15,), [0, 11], [0, 6])
    """
    samples = np.nan_to_num(waveform.astype(np.float64), posinf=0.0, neginf=0.0)
    frame = 2 ** round(np.log2(_FRAME_SECONDS * sample_rate))
    padded = np.pad(samples - samples.mean(), (0, max(0, frame - len(samples))))
    frames = padded[: len(padded) // frame * frame].reshape(-1, frame) * np.hanning(frame)
    power = np.square(np.abs(np.fft.rfft(frames, axis=1))).mean(axis=0)
    hertz = np.arange(len(power)) * sample_rate / frame
    edges = sample_rate / 2 * 2.0 ** (-np.arange(_HALF_OCTAVES, -1, -1) / 2)
    bands = np.bincount(np.searchsorted(edges[:-1], hertz, side="right"), power, len(edges))[::-1]
    shares = bands / max(bands.sum(), np.finfo(float).tiny)
    return np.append(level_db(samples), 10 * np.log10(np.maximum(shares, _LEAST_SHARE)))


@dataclass(frozen=True)
class LevelStates:
    """``running`` and, where the levels of normal clips have a clear gap, ``not running`` below it.

    Attributes:
        boundary: in dB, the middle of the gap; ``None`` where there is one state.

    >>> states = LevelStates.fit(np.array([-70.0, -71.0, -69.0, -40.0, -42.0, -38.0, -41.0]))
    >>> states.boundary, [states.names[state] for state in states.assign(np.array([-60.0, -20.0]))]
    (-55.5, ['not running', 'running'])
    >>> LevelStates.fit(np.array([-50.0, -47.0, -44.0, -40.0, -42.0, -38.0, -41.0])).names
    ('running',)
    """

    boundary: float | None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the states: state 0 is the running machine."""
        return (RUNNING,) if self.boundary is None else (RUNNING, NOT_RUNNING)

    @classmethod
    def fit(cls, level: Float[np.ndarray, " clips"]) -> LevelStates:
        """From the normal training clips' levels in dB.

        The widest gap between neighboring levels parts two states where it is at least ``GAP_DB`` wide, three times as
        wide as the next, and has three clips on either side.  Otherwise there is one state.

        Raises:
            UserError: no clips, or a level that is not finite.
        """
        if len(level) == 0 or not np.isfinite(level).all():
            raise UserError("states: the normal clips' levels must be finite, and there must be one at least")
        ordered = np.sort(level)
        gaps = np.diff(ordered)
        if len(ordered) < 2 * FEWEST_CLIPS:
            return cls(None)
        widest = int(np.argmax(gaps))
        others = np.delete(gaps, widest).max()
        below = widest + 1
        enough = FEWEST_CLIPS <= below <= len(ordered) - FEWEST_CLIPS
        if not enough or gaps[widest] < max(GAP_DB, CLEAR * others):
            return cls(None)
        return cls(float(ordered[widest] + ordered[below]) / 2)

    @property
    def still(self) -> tuple[str, ...]:
        """Names of the states in which the machine does not run."""
        return self.names[1:]

    def features(self, waveform: Float[np.ndarray, " samples"], sample_rate: int) -> Float[np.ndarray, " dim"]:
        """What `of` is given of a waveform: its level."""
        return np.array([level_db(waveform.astype(np.float64))])

    def of(self, features: Float[np.ndarray, "m dim"]) -> list[str]:
        """Name of each clip's state."""
        return [self.names[number] for number in self.assign(features[:, 0])]

    def assign(self, level: Float[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Number of each clip's state; a clip within the gap belongs to the nearer side."""
        return np.zeros(len(level), np.int64) if self.boundary is None else (level < self.boundary).astype(np.int64)

    def record(self) -> float | None:
        """Plain data for a detector's file, as in format 1."""
        return self.boundary

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> LevelStates:
        """What gave ``state``.

        Raises:
            UserError: not what :meth:`to_dict` gives.
        """
        try:
            boundary = None if state["boundary"] is None else float(state["boundary"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"states: {error!r} in the kept state; fit the detector again") from error
        if boundary is not None and not np.isfinite(boundary):
            raise UserError("states: the kept boundary is not finite; fit the detector again")
        return cls(boundary)


@dataclass(frozen=True)
class NamedStates:
    """States that the normal recordings were sorted into; new clips belong to the one that they are most like.

    A clip is given to the state with the nearest mean, in units of the deviations within states.  Two states that left
    out recordings are often mistaken for are one: two thresholds for them would be a matter of chance.

    Attributes:
        names: of the states, in the order of their numbers; such as could not be told apart are one, joined by ``+``.
        means: of each state's features.
        deviations: of each feature within states.
        still: names of the states in which the machine does not run: made of `NOT_RUNNING_FOLDERS` alone.

    >>> features = np.array([[-70.0], [-68.0], [-40.0], [-42.0], [-41.0], [-39.0]])
    >>> filed = ["off", "off", "fast", "fast", "slow", "slow"]
    >>> states = NamedStates.fit(features, filed, np.arange(6))
    >>> states.names, states.assign(np.array([[-66.0], [-45.0]])).tolist()
    (('fast+slow', 'off'), [1, 0])
    """

    names: tuple[str, ...]
    means: tuple[tuple[float, ...], ...]
    deviations: tuple[float, ...]
    still: tuple[str, ...] = ()

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the states in which the machine runs."""
        return tuple(name for name in self.names if name not in self.still)

    @classmethod
    def fit(
        cls, features: Float[np.ndarray, "clips dim"], state: Sequence[str], recording: Int[np.ndarray, " clips"]
    ) -> NamedStates:
        """From features of the normal training clips and the state that each was filed under.

        Args:
            features: such as level in dB, or an embedding.
            state: name of each clip's state.
            recording: number of each clip's recording: states are told apart where recordings that were left out are
                assigned rightly.  A state's only recording cannot be left out, and counts as told apart unless others
                are taken for it.

        Raises:
            UserError: no clips, features that are not finite, or a name for each clip is missing.
        """
        if len(features) == 0 or len(state) != len(features) or not np.isfinite(features).all():
            raise UserError(f"states: {len(state)} names for {len(features)} clips, whose features must be finite")
        return fit_named(features, state, recording).states

    def features(self, waveform: Float[np.ndarray, " samples"], sample_rate: int) -> Float[np.ndarray, " dim"]:
        """What `of` is given of a waveform, see `state_features`."""
        return state_features(waveform, sample_rate)

    def of(self, features: Float[np.ndarray, "m dim"]) -> list[str]:
        """Name of each clip's state; see `assign`."""
        return [self.names[number] for number in self.assign(features)]

    def assign(self, features: Float[np.ndarray, "m dim"]) -> Int[np.ndarray, " m"]:
        """Number of each clip's state.

        Raises:
            UserError: another number of features than in ``fit``, or some that are not finite.
        """
        if features.shape[1] != len(self.deviations) or not np.isfinite(features).all():
            raise UserError(f"states: {len(self.deviations)} finite features of each clip are needed")
        return _nearest(features, np.array(self.means), np.array(self.deviations))

    def record(self) -> dict[str, Any]:
        """Plain data for a detector's file, from format 2 on."""
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> NamedStates:
        """What gave ``state``.

        Raises:
            UserError: not what :meth:`to_dict` gives.
        """
        try:
            names, still = tuple(map(str, state["names"])), tuple(map(str, state["still"]))
            means, deviations = np.array(state["means"], np.float64), np.array(state["deviations"], np.float64)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"states: {error!r} in the kept state; fit the detector again") from error
        sound = deviations.ndim == 1 and len(names) and means.shape == (len(names), len(deviations))
        if not sound or not np.isfinite(means).all() or not (np.isfinite(deviations) & (deviations > 0)).all():
            raise UserError("states: the kept means and deviations do not go together; fit the detector again")
        if not set(still) <= set(names):
            raise UserError("states: the kept ones of a machine that does not run are none of the states; fit again")
        return cls(names, tuple(map(tuple, means.tolist())), tuple(deviations.tolist()), still)


States = LevelStates | NamedStates


def states_of_record(record: Any) -> States | None:
    """What ``record()`` of some states gave; ``None`` of ``None``.

    Raises:
        UserError: not such a record.
    """
    if record is None:
        return None
    if isinstance(record, Mapping):
        return NamedStates.from_dict(record)
    return LevelStates.from_dict({"boundary": record})


class FittedStates(NamedTuple):
    """Named states, and the clips that they are of.

    Attributes:
        states: fitted to all clips.
        filed: name of the state that each clip was filed under, joined ones as one.
        taken: name of the state that each clip is taken for by the other recordings; its own where that has no other.
    """

    states: NamedStates
    filed: list[str]
    taken: list[str]


def fit_named(
    features: Float[np.ndarray, "clips dim"], state: Sequence[str], recording: Int[np.ndarray, " clips"]
) -> FittedStates:
    """See `NamedStates.fit`."""
    if len(features) == 0 or len(state) != len(features) or not np.isfinite(features).all():
        raise UserError(f"states: {len(state)} names for {len(features)} clips, whose features must be finite")
    names, number = np.unique(np.array(state), return_inverse=True)
    taken = _left_out(features, number, recording, len(names))
    joined = _joined(_mistaken(number, taken, recording, len(names)))
    groups = [names[joined == group].tolist() for group in np.unique(joined)]
    merged = np.searchsorted(np.unique(joined), joined)[number]
    means, deviations = _means(features, merged, len(groups))
    told = tuple("+".join(group) for group in groups)
    still = tuple(name for name, group in zip(told, groups, strict=True) if all(map(is_still, group)))
    states = NamedStates(told, tuple(map(tuple, means.tolist())), tuple(deviations.tolist()), still)
    again = _left_out(features, merged, recording, len(groups))
    return FittedStates(states, [told[row] for row in merged], [told[row] for row in again])


def is_still(folder: str) -> bool:
    """Whether a folder of that name holds a machine that does not run.

    >>> [is_still(name) for name in ("Off", "off_peak", "stopped")]
    [True, False, True]
    """
    return folder.casefold() in NOT_RUNNING_FOLDERS


def state_of_path(file: PurePath, folder: PurePath) -> str:
    """The state that a recording was filed under: the first folder below ``folder``, "" where there is none.

    Raises:
        UserError: ``file`` is not in ``folder``.

    >>> [state_of_path(PurePath(name), PurePath("normal")) for name in ("normal/off/a/1.wav", "normal/1.wav")]
    ['off', '']
    """
    if not file.is_relative_to(folder):
        raise UserError(f"{file}: not in {folder}")
    parts = file.relative_to(folder).parts
    return parts[0] if len(parts) > 1 else ""


def _means(
    features: Float[np.ndarray, "clips dim"], number: Int[np.ndarray, " clips"], count: int
) -> tuple[Float[np.ndarray, "states dim"], Float[np.ndarray, " dim"]]:
    """Each state's mean, and the deviation of every feature about them; infinite means of states without clips."""
    means = np.full((count, features.shape[1]), np.inf)
    for state in np.unique(number):
        means[state] = features[number == state].mean(axis=0)
    deviations = np.sqrt(np.square(features - means[number]).mean(axis=0))
    return means, np.maximum(deviations, _SMALLEST_DEVIATION)


def _nearest(
    features: Float[np.ndarray, "m dim"], means: Float[np.ndarray, "states dim"], deviations: Float[np.ndarray, " dim"]
) -> Int[np.ndarray, " m"]:
    distance = [np.square((features - mean) / deviations).sum(axis=1) for mean in means]
    return np.asarray(np.argmin(distance, axis=0))


def _left_out(
    features: Float[np.ndarray, "clips dim"],
    number: Int[np.ndarray, " clips"],
    recording: Int[np.ndarray, " clips"],
    count: int,
) -> Int[np.ndarray, " clips"]:
    """The state that each clip is taken for by means without its recording; its own where that has no other."""
    centered = features - features.mean(axis=0)
    clips, sums = np.bincount(number, minlength=count), np.zeros((count, features.shape[1]))
    np.add.at(sums, number, centered)
    squares = np.square(centered).sum(axis=0)
    taken = np.array(number, np.int64)
    order = np.argsort(recording, kind="stable")
    for held in np.split(order, np.flatnonzero(np.diff(recording[order])) + 1):
        left, rest = clips.copy(), sums.copy()
        np.subtract.at(left, number[held], 1)
        np.subtract.at(rest, number[held], centered[held])
        known = left > 0
        means = np.full_like(sums, np.inf)
        means[known] = rest[known] / left[known, None]
        told = known[number[held]]
        if not told.any():
            continue
        spread = squares - np.square(centered[held]).sum(axis=0) - (left[known, None] * means[known] ** 2).sum(axis=0)
        deviations = np.maximum(np.sqrt(np.maximum(spread, 0) / left.sum()), _SMALLEST_DEVIATION)
        taken[held[told]] = _nearest(centered[held[told]], means, deviations)
    return taken


def _mistaken(
    number: Int[np.ndarray, " clips"],
    taken: Int[np.ndarray, " clips"],
    recording: Int[np.ndarray, " clips"],
    count: int,
) -> Bool[np.ndarray, "states states"]:
    """Which state's left-out recordings are taken for which other, a recording counting as one."""
    pairs, row = np.unique(np.stack([number, recording], axis=1), axis=0, return_inverse=True)
    clips = np.zeros((len(pairs), count))
    np.add.at(clips, (row.ravel(), taken), 1)
    shares = np.zeros((count, count))
    np.add.at(shares, pairs[:, 0], clips / clips.sum(axis=1, keepdims=True))
    recordings = np.bincount(pairs[:, 0], minlength=count)
    return np.asarray(shares / recordings[:, None] >= CONFUSED)


def _joined(mistaken: Bool[np.ndarray, "states states"]) -> Int[np.ndarray, " states"]:
    """The group of each state: those mistaken for each other, directly or through others."""
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(mistaken, directed=False)[1], np.int64)
