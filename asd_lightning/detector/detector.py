"""`Detector`: what the commands do with a detector, for programs; in the manner of scikit-learn."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from asd_lightning.detector.compression import compressed
from asd_lightning.detector.defaults import CLIP_SECONDS, STATISTICS, Preset, preset
from asd_lightning.detector.enrolment import Learnt, enrol_machine, named, normal_clips
from asd_lightning.detector.excerpts import excerpts
from asd_lightning.detector.file import Arrays, DetectorFile, write_detector
from asd_lightning.detector.given import Recordings, as_heard, given, warn_of_unheard_channels
from asd_lightning.detector.hearing import Hearing, Sound, machine_above, parent_name
from asd_lightning.detector.judging import Judgment, judge
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.machines import Machines
from asd_lightning.detector.sorting import Sorted, folders_of, warn_of_empty_folders
from asd_lightning.detector.states import StatesFrom
from asd_lightning.errors import UserError
from asd_lightning.plain_text import is_name
from asd_lightning.run_folder import is_result_set, is_run
from asd_lightning.scoring.arguments import require_at_least, require_between, require_choice, require_machine


class Detector:
    """Learns what is normal for a machine, and says when it is not.

    In the manner of scikit-learn's outlier detectors: ``score_samples`` and ``decision_function`` are *lower* the more
    anomalous, ``predict`` is -1 for what is anomalous and 1 for the rest.  `judge` gives what ``asd score`` prints,
    with scores that are higher the more anomalous, as everywhere else in this package.

    Threads may share a fitted detector for scoring.

    Args:
        embedder: ``statistics``, weights by name, or the folder of a run.
        false_alarms: share of normal clips that may get any decision but normal; by default the smallest that the
            recordings allow.
        clip_seconds: length of the windows that are compared.
        machine: its name; by default the folder's.
        recordings: a table ``file,recording`` of what was cut from one recording.
        self_contained: keep the weights of a fetched encoder in the detector's file.
        sounds: how many excerpts of the bank's sound are kept, to listen to.
        precision: of the encoder: ``float32``, ``bf16`` or ``int8``, see `asd_lightning.low_precision`.
        bank_size: clips at most that the back-end is fitted to (`asd_lightning.scoring.compressed`); by default all.
        states: what tells the machine's states, each with a threshold of its own: ``level`` (whether it runs),
            ``folders`` (sub-folders of the normal recordings) or ``none``.

    Attributes:
        machines_: name -> `asd_lightning.detector.machine.Machine`; read from the file when they are asked for.
        hearing_: preprocessing and embedder.
        learnt_: what enrolling has found; ``None`` of a detector that was read.

    >>> draw = np.random.default_rng(0)
    >>> normal = draw.normal(scale=0.1, size=(30, 16_000)).astype(np.float32)
    >>> detector = Detector(clip_seconds=1.0).fit(normal)
    >>> whine = normal[:1] + np.sin(np.arange(16_000)).astype(np.float32) / 10
    >>> detector.predict(normal[:2]).tolist(), detector.predict(whine).tolist()
    ([1, 1], [-1])
    """

    machines_: Machines
    hearing_: Hearing
    learnt_: Learnt | None
    read_from: DetectorFile | None = None
    changed: str | None = None
    _sounds: dict[str, Arrays]
    _rows: dict[str, int]

    def __init__(  # noqa: PLR0913 - parameters in scikit-learn's sense
        self,
        embedder: str = STATISTICS,
        *,
        false_alarms: float | None = None,
        clip_seconds: float = CLIP_SECONDS,
        machine: str | None = None,
        recordings: Path | str | None = None,
        self_contained: bool = False,
        sounds: int = 20,
        precision: str = "float32",
        bank_size: int | None = None,
        states: StatesFrom = "level",
    ) -> None:
        self.embedder = embedder
        self.false_alarms = false_alarms
        self.clip_seconds = clip_seconds
        self.machine = machine
        self.recordings = recordings
        self.self_contained = self_contained
        self.sounds = sounds
        self.precision = precision
        self.bank_size = bank_size
        self.states = states

    @classmethod
    def _parameters(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor; they count from the next ``fit`` on.

        Raises:
            UserError: an unknown one.
        """
        for name, value in params.items():
            if name not in self._parameters():
                raise UserError(f"{name}: a Detector has {', '.join(self._parameters())}")
            setattr(self, name, value)
        return self

    def fit(
        self,
        X: Recordings,  # noqa: N803
        y: object = None,
        groups: Sequence[object] | None = None,
        filed: Sequence[str] | None = None,
    ) -> Self:
        """Learn from recordings of normal sound.

        Args:
            X: a folder, files, or waveforms.
            y: not looked at.
            groups: of several files or waveforms, which were cut from one recording.
            filed: of several files or waveforms, the state of each, by name.

        Raises:
            UserError: nothing usable, too few recordings for ``false_alarms``, or a ``precision`` that is not possible
                here or in which the recordings rank otherwise than in float32.
        """
        require_choice("states", self.states, StatesFrom)
        require_at_least("sounds", self.sounds, 0)
        if self.false_alarms is not None:
            require_between("false_alarms", self.false_alarms, 0, 1)
        if self.machine is not None and not is_name(self.machine):
            raise UserError(
                f"--machine {self.machine!r:.60}: a name has neither a slash nor a line's end; give another"
            )
        made = self._preset()
        made = made._replace(hearing=made.hearing.in_precision(self.precision))
        maker = made.maker if self.bank_size is None else compressed(made.maker, self.bank_size)
        name, pieces = self._normal(X, made.hearing, groups)
        machine, self.learnt_, kept = enrol_machine(
            name, pieces, made.hearing, maker, self.false_alarms, sorting=self._sorting(X, pieces, filed)
        )
        self.hearing_ = made.hearing
        self.machines_ = Machines({name: machine})
        self._sounds = {name: excerpts(kept, made.hearing, self.sounds)}
        return self

    def judge(
        self,
        X: Recordings,  # noqa: N803
        machine: str | None = None,
        batch_size: int = 32,
        *,
        progress: bool = True,
    ) -> list[Judgment]:
        """Judge recordings; see `Judgment`.

        Args:
            X: a folder, files, or waveforms.
            machine: whose; by default the only one, or the one whose name is that of a folder above the recording.
            batch_size: windows at a time.
            progress: show a bar, where somebody sees it.

        Raises:
            UserError: an unknown machine, or nothing there.
        """
        self._check_fitted()
        self._build()
        sounds = self.sounds_given(X, machine)
        own = {name: self.machines_[name] for name in {sound.clip.machine for sound in sounds}}
        return judge(sounds, self.hearing_, own, batch_size, progress)

    def score_samples(self, X: Recordings, machine: str | None = None) -> Float[ndarray, " n"]:  # noqa: N803
        """Minus the anomaly score of each recording; nan of what could not be scored."""
        return np.array([-one.score for one in self.judge(X, machine)])

    def decision_function(self, X: Recordings, machine: str | None = None) -> Float[ndarray, " n"]:  # noqa: N803
        """How far each recording's anomaly score is below the threshold of warnings; negative above it."""
        return np.array([one.threshold - one.score for one in self.judge(X, machine)])

    def predict(self, X: Recordings, machine: str | None = None) -> ndarray:  # noqa: N803
        """-1 for warnings and alarms, 1 for everything else."""
        return np.array([-1 if one.decision in ("warning", "alarm") else 1 for one in self.judge(X, machine)])

    def save(self, path: Path | str) -> Path:
        """Write one file with everything; returns its path.

        Raises:
            UserError: not fitted, or ``path`` is a folder.
        """
        self._check_fitted()
        if Path(path).is_dir():
            raise UserError(f"{path}: is a folder; give the name of a file in it, such as {Path(path) / 'pump.asd'}")
        parts: dict[str, Arrays] = {"embedder": self.hearing_.weights} if self.hearing_.weights else {}
        rows = []
        for number, name in enumerate(self.machines_):
            parts[f"machine/{number}"] = self.machines_.parts(name)
            if sounds := self.sounds_of(name):
                parts[f"sound/{number}"] = sounds
            rows.append({"machine": name, "number": number})
        write_detector(Path(path), {**self.hearing_.header(), "machines": rows}, parts)
        return Path(path)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """A detector from its file; its machines are read when they are needed.

        Raises:
            UserError: no such file, not a detector's, cut short, altered, or of a newer version.
        """
        file = DetectorFile(Path(path))
        try:
            rows = {str(row["machine"]): int(row["number"]) for row in file.header["machines"]}
            if not rows:
                raise UserError(f"{path}: knows no machine; remove it, and enrol again")
            hearing = Hearing.of_header(file.header, file.part("embedder"))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: does not tell its machines ({error!s:.99}); enrol them again") from error
        except UserError as error:
            raise error if str(path) in str(error) else UserError(f"{path}: {error}; enrol again") from error
        detector = cls(clip_seconds=hearing.preprocessing.clip_seconds, precision=hearing.low_precision)
        detector.hearing_ = hearing
        detector.machines_ = Machines({}, file, rows)
        detector._sounds, detector._rows, detector.read_from = {}, rows, file
        detector.learnt_ = None
        return detector

    def begin(self, hearing: Hearing) -> Self:
        """Become a detector without machines, for `with_machine`."""
        self.hearing_, self.machines_, self._sounds, self.learnt_ = hearing, Machines({}), {}, None
        return self

    def with_machine(self, machine: Machine, sounds: Arrays | None = None) -> Self:
        """The same detector with another machine, or with one in another state."""
        if sounds is not None:
            self._sounds[machine.name] = sounds
        self.machines_.put(machine)
        self.changed = machine.name
        return self

    def name_of(self, source: Path | str) -> str:
        """What a machine is called whose normal sound lies there."""
        return self.machine or parent_name(Path(source))

    def sounds_given(self, X: Recordings, machine: str | None = None) -> list[Sound]:  # noqa: N803
        """Recordings as pieces that the detector hears; see `judge`."""
        clips, waveforms = given(X, "")
        named = [dataclasses.replace(clip, machine=self.machine_of(clip.path, machine)) for clip in clips]
        return as_heard(named, waveforms, self.hearing_)

    def sounds_of(self, machine: str) -> Arrays:
        """Excerpts of a machine's bank: FLAC files as bytes, by the number of their item."""
        if machine not in self._sounds and self.read_from is not None and machine in self._rows:
            self._sounds[machine] = self.read_from.part(f"sound/{self._rows[machine]}")
        return self._sounds.get(machine, {})

    def machine_of(self, clip_path: Path, machine: str | None) -> str:
        """Whose recording it is.

        Raises:
            UserError: an unknown machine, or several and none told.
        """
        names = list(self.machines_)
        if machine is None and len(names) > 1:
            machine = machine_above(clip_path, names)
        elif machine is None:
            machine = names[0]
        if machine is None:
            raise UserError(f"{clip_path}: of which machine? Name one with --machine, of {', '.join(names)}")
        require_machine(machine, names, "detector")
        return machine

    def _preset(self) -> Preset:
        place = Path(str(self.embedder))
        if is_run(place) or is_result_set(place):
            from asd_lightning.detector.from_run import preset_of_run

            return preset_of_run(place)
        return preset(str(self.embedder), float(self.clip_seconds), self.self_contained)

    def _normal(self, X: Recordings, hearing: Hearing, groups: Sequence[object] | None) -> tuple[str, list[Sound]]:  # noqa: N803
        if isinstance(X, Path | str) and groups is None:
            name = self.name_of(X)
            table = None if self.recordings is None else Path(self.recordings)
            clips = normal_clips(Path(X), name, table)
            warn_of_unheard_channels(clips, hearing.preprocessing.channel)
            return name, hearing.pieces_of(clips)
        name = self.machine or "machine"
        clips, waveforms = given(X, name)
        if self.recordings is not None:
            clips = named(clips, Path(self.recordings), Path())
        if groups is not None:
            clips = [dataclasses.replace(clip, recording=str(n)) for clip, n in zip(clips, groups, strict=True)]
        return name, as_heard(clips, waveforms, hearing)

    def _sorting(self, X: Recordings, pieces: Sequence[Sound], filed: Sequence[str] | None) -> Sorted:  # noqa: N803
        clips = list({sound.clip.file: sound.clip for sound in pieces}.values())
        if filed is not None and len(filed) != len(clips):
            raise UserError(f"filed: {len(filed)} states of {len(clips)} recordings; give one of each")
        if filed is not None:
            return Sorted({clip.file: str(state) for clip, state in zip(clips, filed, strict=True)}, "folders")
        if isinstance(X, Path | str) and Path(X).is_dir():
            found = folders_of(Path(X), clips)
            if self.states == "folders":
                warn_of_empty_folders(Path(X), found)
            return Sorted(found, self.states)
        if self.states == "folders":
            raise UserError("states from folders: give a folder of recordings, or fit(..., filed=[...])")
        return Sorted({}, self.states)

    def _build(self) -> None:
        """Build the embedder; what is wrong with it is told of the file."""
        try:
            _ = self.hearing_.scored_by
        except UserError as error:
            raise error if self.read_from is None else UserError(f"{self.read_from.path}: {error}") from error

    def _check_fitted(self) -> None:
        if not hasattr(self, "machines_"):
            raise UserError("this Detector is not fitted; call fit, or Detector.load")
