"""One machine of a detector: its bank, what is fitted to it, and the thresholds that keep a promise."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy import ndarray

from asd_lightning.detector.bank import Bank, spread_over
from asd_lightning.detector.compression import Compression, compression
from asd_lightning.detector.constructors import Spec, scorer_of
from asd_lightning.detector.file import Arrays, json_array, json_of
from asd_lightning.detector.health import SensorReference
from asd_lightning.detector.promise import Promise, promise
from asd_lightning.detector.states import FEATURES, NamedStates, States, states_of_record
from asd_lightning.detector.thresholds import Thresholds, fit_bank, normal_scores, thresholds_in_states
from asd_lightning.errors import UserError
from asd_lightning.scoring.normal_scores import NormalScores
from asd_lightning.scoring.protocol import KeptScorer, Scorer, ScorerState
from asd_lightning.scoring.windows import WindowReduction

logger = logging.getLogger(__name__)

SHORT = 0.5
"""Sound of less than so much of the shortest enrolled piece cannot be judged: normal sound that short scores high."""
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
        normal: left-out scores of normal clips in all states, for p-values.
        promise: thresholds, and what they promise: over all states.
        sensor: what the microphone gives of normal sound.
        states: of the machine: whether it runs, and how.
        changes: first and last.
        of_run: threshold and such of the run that it was taken from; empty where it was enrolled from recordings.
        agreement: rank correlation of left-out scores with those in float32, of a detector in a lower precision;
            ``None`` of any other.
        compression: what a bank of limited size costs; ``None`` where the back-end has the whole.
        in_states: what stands in the place of ``normal`` and ``promise`` in each state of the running machine, where
            there are several.
    """

    name: str
    bank: Bank
    maker: Spec
    scorer: Scorer
    normal: NormalScores
    promise: Promise
    sensor: SensorReference | None
    states: States | None
    changes: tuple[Change, ...]
    of_run: dict[str, Any] = field(default_factory=dict)
    agreement: float | None = None
    compression: Compression | None = None
    in_states: dict[str, Thresholds] = field(default_factory=dict)

    def anomaly_score(self, embeddings: Float[ndarray, "m dim"]) -> Float[ndarray, " m"]:
        """Score pieces; higher is more anomalous."""
        return self.scorer.anomaly_score(embeddings.astype(np.float64))

    def thresholds(self, state: str = "") -> Thresholds:
        """Those of a state; those of all where the machine has one, or no such state."""
        return self.in_states.get(state) or Thresholds(self.normal, self.promise)

    def warning(self, state: str = "") -> float:
        """Score above which warnings begin; nan where each state has its own, and none is known for this one."""
        return math.nan if self.in_states and state not in self.in_states else self.thresholds(state).promise.warning

    def shown(self, state: str) -> str:
        """A state's name for people; "" where the machine has one, or is known to run by its level alone."""
        return state if isinstance(self.states, NamedStates) and len(self.states.names) > 1 else ""

    def middle(self, state: str = "") -> float:
        """Of normal sound's scores in a state; not above its level of warnings."""
        return self._middles.get(state, self._middles[""])

    @cached_property
    def _middles(self) -> dict[str, float]:
        own = {"": self.thresholds(), **self.in_states}
        return {
            state: min(float(np.median(levels.normal.scores)), levels.promise.warning) for state, levels in own.items()
        }

    def unit(self, state: str = "") -> float:
        """From the middle of normal sound to warnings; 1 where they are the same."""
        return (self.thresholds(state).promise.warning - self.middle(state)) or 1.0

    def common(self, score: float, state: str) -> float:
        """A score on the scale that all states share; of a machine with one state the score itself.

        0 is the middle of the state's normal sound, 1 its level of warnings: a machine that runs fast for a day has not
        drifted from one that runs fast and slow.
        """
        return (score - self.middle(state)) / self.unit(state) if self.in_states else score

    def state_features(self, waveform: Float32[ndarray, " samples"], sample_rate: int) -> Float[ndarray, " dim"] | None:
        """What ``states`` tells states by; ``None`` where the machine has none."""
        return None if self.states is None else self.states.features(waveform, sample_rate)

    def doubts(self, waveform: Float32[ndarray, " samples"], sample_rate: int, window: float) -> tuple[str, ...]:
        """Why a piece of sound cannot be judged, a sentence each; empty where it can, and of a run's machine.

        Args:
            waveform: in [-1, 1].
            sample_rate: in Hz.
            window: seconds that the detector compares at most.
        """
        if self.sensor is None:
            return ()
        seconds = len(waveform) / sample_rate
        least = min(window, self.shortest)
        if seconds < SHORT * least:
            return (
                f"too short: {seconds:.2g} s of sound, and the detector compares windows of {least:.3g} s",
                *self.sensor.reasons(waveform),
            )
        return self.sensor.reasons(waveform)

    @cached_property
    def shortest(self) -> float:
        """Seconds of the shortest piece that it was enrolled with; 0 where there is none."""
        return min((item.seconds for item in self.bank.items if item.version == 0), default=0.0)

    def decision(self, score: float, state: str = "") -> Decision:
        """By the thresholds alone."""
        levels = self.thresholds(state).promise
        if math.isnan(levels.warning):
            return "cannot judge"
        if score > levels.alarm:
            return "alarm"
        return "warning" if score > levels.warning else "normal"

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
        if not self.in_states:
            return self.promise.sentence(self._unit())
        return "; ".join(
            f"in state {name} {own.promise.sentence(self._unit(name))}" for name, own in self.in_states.items()
        )

    def _unit(self, state: str = "") -> str:
        """What the promise counts, in words."""
        rows = [row for row, item in enumerate(self.bank.items) if state in ("", item.state)]
        return "blocks of one recording" if {*rows} <= {*self.bank.blocked.tolist()} and rows else "recordings"

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
            "promise": _promise_record(self.promise),
            "recordings": self.normal.recordings,
            "sensor": None if self.sensor is None else self.sensor.to_dict(),
            "states": None if self.states is None else self.states.record(),
            "changes": [asdict(change) for change in self.changes],
            "of_run": self.of_run,
            "compression": None if self.compression is None else self.compression.record(),
            **self.bank.record(),
        }
        if self.agreement is not None:
            record["agreement"] = self.agreement
        arrays = {f"scorer/{name}": array for name, array in state.arrays.items()}
        if self.in_states:
            record["in_states"] = [
                {"state": name, "promise": _promise_record(own.promise), "recordings": own.normal.recordings}
                for name, own in self.in_states.items()
            ]
            for number, own in enumerate(self.in_states.values()):
                arrays |= {f"state/{number}/scores": own.normal.scores, f"state/{number}/weights": own.normal.weights}
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
            scorer = scorer_of(told["kind"], ScorerState(dict(told["options"]), arrays))
            normal, promised = _thresholds(parts, "normal", record)
            in_states = {
                str(own["state"]): _thresholds(parts, f"state/{number}", own)
                for number, own in enumerate(record.get("in_states", []))
            }
            sensor = None if record["sensor"] is None else SensorReference.from_dict(record["sensor"])
            states = states_of_record(record["states"])
            if isinstance(states, NamedStates) and len(states.deviations) != FEATURES:
                raise ValueError(f"states: of {len(states.deviations)} features, and there are {FEATURES}")
            if in_states and not (isinstance(states, NamedStates) and {*in_states} == {*states.running}):
                raise ValueError("in_states: thresholds of other states than it has")
            changes = tuple(Change(**change) for change in record["changes"])
            maker = dict(record["maker"])
            bank = Bank.of_record(record, parts["embeddings"])
            agreement = record.get("agreement")
            # Detectors of before have none.
            smaller = record.get("compression")
            return cls(
                str(record["machine"]), bank, maker, scorer, normal, promised, sensor, states, changes,
                dict(record["of_run"]), None if agreement is None else float(agreement),
                None if smaller is None else Compression.of_record(smaller), in_states,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, UserError) as error:
            raise UserError(f"{source}: a machine in it cannot be read ({error!s:.300}); enrol it again") from error


_REALS = ("rate", "alarm_rate", "warning", "alarm", "bound")


def _promise_record(own: Promise) -> dict[str, Any]:
    return asdict(own) | {name: repr(getattr(own, name)) for name in _REALS}


def _thresholds(parts: Mapping[str, Any], prefix: str, record: Mapping[str, Any]) -> Thresholds:
    kept = {name: parts[f"{prefix}/{name}"] for name in ("scores", "weights")}
    normal = NormalScores.from_dict(kept | {"recordings": record["recordings"]})
    return Thresholds(normal, Promise(**record["promise"] | {name: float(record["promise"][name]) for name in _REALS}))


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
    in_states = thresholds_in_states(fitted, bank, machine.states, (rate, alarm_rate), reduction)
    return Machine(
        machine.name, bank, machine.maker, fitted.scorer, normal, made, machine.sensor, machine.states,
        (*machine.changes, change), machine.of_run, machine.agreement, smaller, in_states,
    )  # fmt: skip
