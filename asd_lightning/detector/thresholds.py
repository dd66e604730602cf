"""From a machine's bank to thresholds: the fitted back-end, left-out scores, and what is promised in each state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from asd_lightning.detector.bank import Bank
from asd_lightning.detector.constructors import Spec, scorer_maker
from asd_lightning.detector.promise import Promise, promise
from asd_lightning.detector.states import NamedStates, States
from asd_lightning.errors import UserError
from asd_lightning.scoring.calls import fit_with
from asd_lightning.scoring.held_out import left_out_scores
from asd_lightning.scoring.normal_scores import NormalScores, fewest_recordings
from asd_lightning.scoring.protocol import Scorer
from asd_lightning.scoring.windows import WindowReduction, numbered, reduced

FEWEST_RECORDINGS = 3
"""Of a state with a threshold of its own."""


class Thresholds(NamedTuple):
    """Left-out scores of normal clips in one state of a machine, and the thresholds from them."""

    normal: NormalScores
    promise: Promise


@dataclass(frozen=True)
class Fitted:
    """A back-end, and scores that normal clips have when they are left out of it.

    Attributes:
        scorer: fitted to the bank.
        files: a clip each; what of one is in another state is a clip of its own.
        recordings: of each clip.
        states: of each clip, "" where the machine has one.
        scores: of each clip.
    """

    scorer: Scorer
    files: list[str]
    recordings: list[str]
    states: list[str]
    scores: Float[ndarray, " clips"]

    def normal(self) -> NormalScores:
        """For thresholds and p-values."""
        return NormalScores.fit(self.scores, numbered(self.recordings))

    def in_state(self, state: str) -> Fitted:
        """The clips of one state."""
        rows = [row for row, own in enumerate(self.states) if own == state]
        files, recordings = [self.files[row] for row in rows], [self.recordings[row] for row in rows]
        return Fitted(self.scorer, files, recordings, [state] * len(rows), self.scores[np.array(rows, dtype=np.intp)])


def fit_scorer(bank: Bank, maker: Spec) -> Scorer:
    """Fit the back-end to the items of the bank.

    Raises:
        UserError: there is a single recording, or the back-end cannot be fitted.
    """
    own = bank.of_role("bank")
    group = numbered(own.recordings())
    scorer = fit_with(scorer_maker(maker)(), own.embeddings.astype(np.float64), own.is_target, group)
    if group.max() == 0:
        raise UserError(
            "there is one recording, and a threshold needs scores of recordings that were left out; give more, or a "
            "longer one"
        )
    return scorer


def fit_bank(bank: Bank, maker: Spec, reduction: WindowReduction) -> Fitted:
    """Fit the back-end to the items of the bank, and score each without all that is of the same recording.

    Raises:
        UserError: there is a single recording, or the back-end cannot be fitted.
    """
    own = bank.of_role("bank")
    make = scorer_maker(maker)
    names = own.recordings()
    group = numbered(names)
    embeddings = own.embeddings.astype(np.float64)
    scorer = fit_scorer(bank, maker)
    if own.blocking:
        scores = _in_blocks(own, make, embeddings, group)
    else:
        scores = left_out_scores(scorer, make, embeddings, own.is_target, group)
    return Fitted(scorer, *_by_file(own, names, scores, reduction))


def normal_scores(
    fitted: Fitted, bank: Bank, rate: float | None, reduction: WindowReduction, state: str | None = None
) -> NormalScores:
    """What the thresholds rest on: later recordings that the bank has not seen, where they are enough for the rate.

    Otherwise theirs and the left-out recordings of the bank together.

    Args:
        fitted: the bank's left-out scores.
        bank: with the later recordings.
        rate: to be promised.
        reduction: from windows to a recording.
        state: of which the clips count alone; ``None`` for all.
    """
    later = bank.of_role("calibration")
    if state is not None:
        fitted, later = fitted.in_state(state), later.where([item.state == state for item in later.items])
    if not later.items:
        return fitted.normal()
    names = later.recordings()
    scores = fitted.scorer.anomaly_score(later.embeddings.astype(np.float64))
    _, recordings, _, of_files = _by_file(later, names, scores, reduction)
    alone = NormalScores.fit(of_files, numbered(recordings))
    if rate is not None and alone.recordings >= fewest_recordings(rate):
        return alone
    together = [*fitted.recordings, *(f"later {name}" for name in recordings)]
    return NormalScores.fit(np.concatenate([fitted.scores, of_files]), numbered(together))


def thresholds_in_states(
    fitted: Fitted,
    bank: Bank,
    states: States | None,
    rates: tuple[float | None, float | None],
    reduction: WindowReduction,
) -> dict[str, Thresholds]:
    """Thresholds of each state in which the machine runs, at the same rates; nothing where there is one.

    The unit is what of a recording is in the state.

    Args:
        fitted: the bank's left-out scores.
        bank: with later recordings.
        states: of the machine.
        rates: of warnings, by default the smallest that every state allows, and of alarms.
        reduction: from windows to a recording.

    Raises:
        UserError: a state with too few recordings.
    """
    names = states.running if isinstance(states, NamedStates) else ()
    if len(names) < 2:
        return {}
    rate, alarm_rate = rates
    for name in names:
        count = len({*fitted.in_state(name).recordings})
        if count < FEWEST_RECORDINGS:
            raise UserError(
                f"state {name}: {count} of its recordings can be told from other states, and a threshold of its own "
                f"takes {FEWEST_RECORDINGS}, or one of nine windows or more; give more of them, or --states level"
            )
    normals = {name: normal_scores(fitted, bank, rate, reduction, name) for name in names}
    rate = max(normal.smallest_rate for normal in normals.values()) if rate is None else rate
    made = {}
    for name, normal in normals.items():
        try:
            made[name] = Thresholds(normal, promise(normal, rate, alarm_rate))
        except UserError as error:
            raise UserError(f"state {name}: {error}") from error
    return made


def _by_file(
    bank: Bank, recordings: Sequence[str], scores: Float[ndarray, " n"], reduction: WindowReduction
) -> tuple[list[str], list[str], list[str], Float[ndarray, " clips"]]:
    """Files, recordings, states and scores of clips; windows of a file that are in one state are one."""
    names, states = bank.files(), [item.state for item in bank.items]
    parts = [f"{state}\n{file}" for state, file in zip(states, names, strict=True)]
    keys, of_files = reduced(parts, scores, reduction)
    rows = {part: row for row, part in reversed(list(enumerate(parts)))}
    first = [rows[key] for key in keys]
    return [names[row] for row in first], [recordings[row] for row in first], [states[row] for row in first], of_files


def _in_blocks(
    bank: Bank, make: Callable[[], Scorer], embeddings: Float[ndarray, "n dim"], group: Int[ndarray, " n"]
) -> Float[ndarray, " n"]:
    """Each block without what lies within the gap; each other recording without itself."""
    scores = np.empty(len(group))
    long_ones = bank.blocks()
    for number in range(int(group.max()) + 1):
        out = group == number
        held = out.copy()
        for rows, blocks in long_ones:
            if out[rows].any():
                held[rows] = blocks.left_out[blocks.group[np.flatnonzero(out[rows])[0]]]
        scorer = fit_with(
            make(), embeddings[~held], bank.is_target[~held], np.unique(group[~held], return_inverse=True)[1]
        )
        scores[out] = scorer.anomaly_score(embeddings[out])
    return scores
