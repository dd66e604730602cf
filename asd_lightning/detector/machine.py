"""One machine of a detector: its bank, what is fitted to it, and the thresholds that keep a promise."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from asd_lightning.detector.bank import Bank, numbered, spread_over
from asd_lightning.detector.compression import Compression, compression
from asd_lightning.detector.constructors import Spec, scorer_maker
from asd_lightning.detector.file import Arrays, json_array, json_of
from asd_lightning.detector.health import SensorReference
from asd_lightning.detector.promise import NormalScores, Promise, fewest_recordings, promise
from asd_lightning.detector.states import LevelStates
from asd_lightning.errors import UserError
from asd_lightning.scoring.fitted import KINDS
from asd_lightning.scoring.held_out import fit_with, left_out_scores
from asd_lightning.scoring.machines import WindowReduction, reduced
from asd_lightning.scoring.protocol import KeptScorer, Scorer, ScorerState

logger = logging.getLogger(__name__)

Decision = Literal["normal", "warning", "alarm", "cannot judge", "not running"]


@dataclass(frozen=True)
class Change:
    """What was done to a machine's bank.

    Attributes:
        what: ``enrolled``, ``accepted`` or ``calibrated``.
        time: UTC, in seconds.
        recordings: that came with it.
        package: version of this package.
        before: digest of the machine as it was before, "" of the first change.
    """

    what: str
    time: str
    recordings: int
    package: str
    before: str = ""


@dataclass(frozen=True)
class Machine:
    """A machine of a detector.

    Attributes:
        name: of the machine.
        bank: normal sound.
        maker: spec of its back-end.
        scorer: the back-end, fitted to the bank.
        normal: left-out scores of normal clips, for p-values.
        promise: thresholds, and what they promise.
        sensor: what the microphone gives of normal sound.
        states: levels of the running machine.
        changes: first and last.
        of_run: threshold and such of the run that it was taken from; empty where it was enrolled from recordings.
        agreement: rank correlation of left-out scores with those in float32, of a detector in a lower precision;
            ``None`` of any other.
        compression: what a bank of limited size costs; ``None`` where the back-end has the whole.
    """

    name: str
    bank: Bank
    maker: Spec
    scorer: Scorer
    normal: NormalScores
    promise: Promise
    sensor: SensorReference | None
    states: LevelStates | None
    changes: tuple[Change, ...]
    of_run: dict[str, Any] = field(default_factory=dict)
    agreement: float | None = None
    compression: Compression | None = None

    def anomaly_score(self, embeddings: Float[ndarray, "m dim"]) -> Float[ndarray, " m"]:
        """Score pieces; higher is more anomalous."""
        return self.scorer.anomaly_score(embeddings.astype(np.float64))

    def decision(self, score: float) -> Decision:
        """By the thresholds alone."""
        if math.isnan(self.promise.warning):
            return "cannot judge"
        if score > self.promise.alarm:
            return "alarm"
        return "warning" if score > self.promise.warning else "normal"

    @property
    def undecided(self) -> str:
        """Why there is no threshold, where a run had none; "" where there is one."""
        return str(self.of_run.get("undecided", "")) if math.isnan(self.promise.warning) else ""

    def sentence(self) -> str:
        """What is promised, in words."""
        if self.of_run and len(self.changes) == 1 and not self.of_run.get("promised"):
            share = 100 * self.normal.share_above(self.promise.warning)
            return (
                f"warnings above the run's own threshold, which {share:.3g} % of the left-out training clips are; "
                "nothing is promised"
            )
        return self.promise.sentence()

    def nearest(
        self, embeddings: Float[ndarray, "m dim"], among: Int[ndarray, " few"] | None = None
    ) -> Int[ndarray, " m"]:
        """Row of the bank's item that each embedding is most like: Euclidean, each dimension in the bank's deviations.

        It is for people to listen to, whatever the back-end.

        Args:
            embeddings: of pieces of sound.
            among: rows to choose from; by default all that new sound is compared with.
        """
        rows, unit, scaled, squares = self._comparable
        if among is not None:
            some = np.isin(rows, among)
            rows, scaled, squares = rows[some], scaled[some], squares[some]
        queries = embeddings.astype(np.float64) / unit
        # A query's own square is the same for all items.
        return rows[np.array([int(np.argmin(squares - 2 * (scaled @ query))) for query in queries], dtype=np.intp)]

    @cached_property
    def _comparable(
        self,
    ) -> tuple[Int[ndarray, " b"], Float[ndarray, " dim"], Float[ndarray, "b dim"], Float[ndarray, " b"]]:
        rows = np.flatnonzero([item.role == "bank" for item in self.bank.items])
        bank = self.bank.embeddings[rows].astype(np.float64)
        unit = spread_over(bank)
        scaled = bank / unit
        return rows, unit, scaled, np.square(scaled).sum(axis=1)

    def parts(self) -> Arrays:
        """All of it as arrays."""
        if not isinstance(self.scorer, KeptScorer):
            raise UserError(f"{self.name}: its back-end cannot be kept")
        state = self.scorer.state()
        record = {
            "machine": self.name,
            "maker": self.maker,
            "scorer": {"kind": type(self.scorer).__name__, "options": state.options},
            "promise": asdict(self.promise) | {name: repr(getattr(self.promise, name)) for name in _REALS},
            "recordings": self.normal.recordings,
            "sensor": None if self.sensor is None else self.sensor.to_dict(),
            "states": None if self.states is None else self.states.boundary,
            "changes": [asdict(change) for change in self.changes],
            "of_run": self.of_run,
            "compression": None if self.compression is None else self.compression.record(),
            **self.bank.record(),
        }
        if self.agreement is not None:
            record["agreement"] = self.agreement
        arrays = {f"scorer/{name}": array for name, array in state.arrays.items()}
        return arrays | {
            "record": json_array(record),
            "embeddings": self.bank.embeddings,
            "normal/scores": self.normal.scores,
            "normal/weights": self.normal.weights,
        }

    @classmethod
    def of_parts(cls, parts: Mapping[str, Any], source: object) -> Machine:
        """What ``parts()`` was given of.

        Raises:
            UserError: something is missing, or not what it should be.
        """
        try:
            record = json_of(parts["record"], source)
            told = record["scorer"]
            arrays = {name.removeprefix("scorer/"): array for name, array in parts.items() if name[:7] == "scorer/"}
            scorer = KINDS[told["kind"]].from_state(ScorerState(dict(told["options"]), arrays))
            kept = {name: parts[f"normal/{name}"] for name in ("scores", "weights")}
            normal = NormalScores.from_dict(kept | {"recordings": record["recordings"]})
            promised = Promise(**record["promise"] | {name: float(record["promise"][name]) for name in _REALS})
            sensor = None if record["sensor"] is None else SensorReference.from_dict(record["sensor"])
            states = None if record["states"] is None else LevelStates(float(record["states"]))
            changes = tuple(Change(**change) for change in record["changes"])
            maker = dict(record["maker"])
            bank = Bank.of_record(record, parts["embeddings"])
            agreement = record.get("agreement")
            # Detectors of before have none.
            smaller = record.get("compression")
            return cls(
                str(record["machine"]), bank, maker, scorer, normal, promised, sensor, states, changes,
                dict(record["of_run"]), None if agreement is None else float(agreement),
                None if smaller is None else Compression.of_record(smaller),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, UserError) as error:
            raise UserError(f"{source}: a machine in it cannot be read ({error!s:.300}); enrol it again") from error


_REALS = ("rate", "alarm_rate", "warning", "alarm", "bound")


@dataclass(frozen=True)
class Fitted:
    """A back-end, and scores that normal clips have when they are left out of it.

    Attributes:
        scorer: fitted to the bank.
        files: a clip each.
        recordings: of each clip.
        scores: of each clip.
    """

    scorer: Scorer
    files: list[str]
    recordings: list[str]
    scores: Float[ndarray, " clips"]

    def normal(self) -> NormalScores:
        """For thresholds and p-values."""
        return NormalScores.fit(self.scores, numbered(self.recordings))


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
    if own.blocking is None:
        scores = left_out_scores(scorer, make, embeddings, own.is_target, group)
    else:
        scores = _in_blocks(own, make, embeddings, group)
    return Fitted(scorer, *_by_file(own, names, scores, reduction))


def normal_scores(fitted: Fitted, bank: Bank, rate: float | None, reduction: WindowReduction) -> NormalScores:
    """What the thresholds rest on: later recordings that the bank has not seen, where they are enough for the rate.

    Otherwise theirs and the left-out recordings of the bank together.
    """
    later = bank.of_role("calibration")
    if not later.items:
        return fitted.normal()
    names = later.recordings()
    scores = fitted.scorer.anomaly_score(later.embeddings.astype(np.float64))
    _, recordings, of_files = _by_file(later, names, scores, reduction)
    alone = NormalScores.fit(of_files, numbered(recordings))
    if rate is not None and alone.recordings >= fewest_recordings(rate):
        return alone
    together = [*fitted.recordings, *(f"later {name}" for name in recordings)]
    return NormalScores.fit(np.concatenate([fitted.scores, of_files]), numbered(together))


def fit_machine(machine: Machine, bank: Bank, change: Change, reduction: WindowReduction) -> Machine:
    """The machine with another bank, and thresholds for the same rates.

    Raises:
        UserError: too few recordings for the rate, or what the back-end cannot be fitted to.
    """
    fitted = fit_bank(bank, machine.maker, reduction)
    if machine.of_run and len(machine.changes) == 1 and not machine.of_run.get("promised"):
        logger.warning(
            "%s: the run's own threshold counts no longer; thresholds come from recordings left out from here on, with "
            "a promise (asd undo takes it back)",
            machine.name,
        )
    rate, alarm_rate = machine.promise.rate, machine.promise.alarm_rate
    normal = normal_scores(fitted, bank, rate, reduction)
    made = promise(normal, max(rate, normal.smallest_rate), alarm_rate)
    smaller = compression(bank, machine.maker, reduction, fitted, rate)
    return Machine(
        machine.name, bank, machine.maker, fitted.scorer, normal, made, machine.sensor, machine.states,
        (*machine.changes, change), machine.of_run, machine.agreement, smaller,
    )  # fmt: skip


def _by_file(
    bank: Bank, recordings: Sequence[str], scores: Float[ndarray, " n"], reduction: WindowReduction
) -> tuple[list[str], list[str], Float[ndarray, " clips"]]:
    names = bank.files()
    files, of_files = reduced(names, scores, reduction)
    recording = dict(zip(reversed(names), reversed(recordings), strict=True))
    return files, [recording[file] for file in files], of_files


def _in_blocks(
    bank: Bank, make: Callable[[], Scorer], embeddings: Float[ndarray, "n dim"], group: Int[ndarray, " n"]
) -> Float[ndarray, " n"]:
    """Each block without what lies within the gap; each other recording without itself."""
    scores = np.empty(len(group))
    blocked = bank.blocked
    blocks = bank.blocks()
    for number in range(int(group.max()) + 1):
        out = group == number
        held = out.copy()
        if out[blocked].any():
            held[blocked] = blocks.left_out[blocks.group[np.flatnonzero(out[blocked])[0]]]
        scorer = fit_with(
            make(), embeddings[~held], bank.is_target[~held], np.unique(group[~held], return_inverse=True)[1]
        )
        scores[out] = scorer.anomaly_score(embeddings[out])
    return scores
