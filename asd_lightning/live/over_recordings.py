"""What recordings say together: whether normal sound has drifted, and when so many alarms cannot be right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from asd_lightning.detector.detector import Detector
from asd_lightning.detector.drift import DriftState, DriftTest
from asd_lightning.detector.judging import Judgment
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.thresholds import Thresholds
from asd_lightning.errors import UserError
from asd_lightning.live.levels import left_out_windows
from asd_lightning.scoring.windows import numbered

# Fewer clips tell of no drift.
_FEWEST = 5
# A run of up to so many clips is called drifted, where it is not, in one of twenty cases; of longer ones, the latest.
_RUNS = (200, 400, 800, 1600)
_ABSURD = 0.5
# Scoring should not cost as much as enrolling a large bank again.
_MOST_ITEMS = 3000


def notes_of(
    detector: Detector, judgments: Sequence[Judgment], earlier: Mapping[str, Sequence[float]] | None = None
) -> Iterator[str]:
    """Sentences about each machine's recordings, in their order; none where there is nothing to say.

    Args:
        detector: that judged them.
        judgments: of recordings, in the order of their time.
        earlier: machine -> scores of recordings before these, by the same thresholds, see `drift_note`.
    """
    for name in dict.fromkeys(one.machine for one in judgments):
        own = [one for one in judgments if one.machine == name]
        machine = detector.machines_[name]
        if note := absurd_share(machine, own):
            yield note
        if note := drift_note(
            machine, own, (earlier or {}).get(name, ()), detector.hearing_.preprocessing.clip_seconds
        ):
            yield note


def absurd_share(machine: Machine, judgments: Sequence[Judgment]) -> str:
    """A sentence where more than half of several recordings are warnings or alarms; "" elsewhere."""
    counts = Counter(one.decision for one in judgments)
    judged = counts["normal"] + counts["warning"] + counts["alarm"]
    found = judged - counts["normal"]
    if judged < _FEWEST or found <= _ABSURD * judged:
        return ""
    usual = f"{100 * machine.promise.rate:.3g} % of normal ones would be"
    return (
        f"{machine.name}: {found} of {judged} recordings are warnings or alarms, and {usual}: either the machine is "
        "failing, or they are not like what was enrolled (another unit, place, microphone or kind of operation); "
        "listen, and if they are normal, give some to asd calibrate or asd accept"
    )


def drift_note(machine: Machine, judgments: Sequence[Judgment], earlier: Sequence[float], seconds: float) -> str:
    """What the test for drift says of recordings, in a line; "" where it says nothing, or there are too few.

    Clips are whole recordings where the thresholds rest on recordings of a clip each, these are no longer than those
    and none runs through several states; otherwise windows, and then earlier recordings do not count.

    Args:
        machine: whose.
        judgments: of its recordings, in the order of their time.
        earlier: scores of those before, on the scale that the machine's states share (`Machine.common`).
        seconds: length of a window.
    """
    heard = [one for one in judgments if np.isfinite(one.score) and one.decision not in ("cannot judge", "not running")]
    whole = _are_whole(machine, heard)
    if whole:
        values = [*earlier, *(machine.common(one.score, one.state) for one in heard)]
    else:
        judged = ("normal", "warning", "alarm")
        windows = [window for one in heard for window in one.windows if window.decision in judged]
        values = [machine.common(window.score, window.state) for window in windows]
    if len(values) < _FEWEST:
        return ""
    values = values[-_RUNS[-1] :]
    try:
        scores, recording = _of_recordings(machine) if whole else _of_windows(machine, seconds)
        run = next(clips for clips in _RUNS if len(values) <= clips)
        test = DriftTest.fit(scores, recording, "up", run)
    except UserError as error:
        return f"{machine.name}: drift is not tested: {error}"
    state = DriftState()
    for value in values:
        state = test.update(state, float(value))
    if not state.drifted_at:
        return ""
    what = "recordings" if whole else "windows"
    before = f" (with {len(earlier)} earlier ones of the table)" if whole and earlier else ""
    return (
        f"{machine.name}: scores have moved away from those of normal sound by number {state.drifted_at} of "
        f"{len(values)} {what}{before}: the sound has drifted, or a fault stays; listen, and if it is normal, give new "
        "recordings to asd calibrate"
    )


def _are_whole(machine: Machine, judgments: Sequence[Judgment]) -> bool:
    """Whether the scores that thresholds rest on are of recordings like these: one each, and no shorter."""
    windows = Counter(machine.bank.files()) if machine.bank.items else Counter({"": 1})
    longest = max((len(one.windows) for one in judgments), default=1)
    singly = all((own.normal.weights == 1).all() for own in _each_state(machine).values())
    return bool(singly) and longest <= max(windows.values()) and not any(_in_several(machine, one) for one in judgments)


def _in_several(machine: Machine, one: Judgment) -> bool:
    return len({window.state for window in one.windows} & {*machine.in_states}) > 1


def _each_state(machine: Machine) -> dict[str, Thresholds]:
    return machine.in_states or {"": machine.thresholds()}


def _of_recordings(machine: Machine) -> tuple[Float[ndarray, " n"], ndarray]:
    """What the thresholds rest on, in each state on the scale that they share."""
    scores = np.array(
        [
            machine.common(score, state)
            for state, own in _each_state(machine).items()
            for score in own.normal.scores.tolist()
        ]
    )
    return scores, np.arange(len(scores))


def _of_windows(machine: Machine, seconds: float) -> tuple[Float[ndarray, " n"], ndarray]:
    """Left-out windows of the bank, and those of later recordings that only the thresholds have seen."""
    if len(machine.bank.items) > _MOST_ITEMS:
        raise UserError(f"its {len(machine.bank.items)} pieces would be scored again; asd watch tests it")
    left_out = left_out_windows(machine, seconds)
    later = machine.bank.of_role("calibration")
    if not later.items:
        return left_out.scores, numbered(left_out.recordings)
    found = zip(machine.anomaly_score(later.embeddings).tolist(), later.items, strict=True)
    scores = np.concatenate([left_out.scores, [machine.common(score, item.state) for score, item in found]])
    return scores, numbered([*left_out.recordings, *(f"later {name}" for name in later.recordings())])
