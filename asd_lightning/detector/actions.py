"""What the commands of a detector do, as functions of the same names and arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asd_lightning.atomic import file_path, refuse_unwritable
from asd_lightning.detector.bank import Role
from asd_lightning.detector.defaults import CLIP_SECONDS, STATISTICS
from asd_lightning.detector.detector import Detector
from asd_lightning.detector.enrolment import named
from asd_lightning.detector.evaluation import Evaluation, evaluate_judgments, labeled
from asd_lightning.detector.excerpts import excerpts
from asd_lightning.detector.file import DetectorFile
from asd_lightning.detector.given import Recordings, normal_given
from asd_lightning.detector.growth import grown, taken_back
from asd_lightning.detector.hearing import Sound
from asd_lightning.detector.judging import Judgment
from asd_lightning.detector.likeness import alike_by_name
from asd_lightning.detector.lock import locked
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.states import NamedStates, StatesFrom, is_still
from asd_lightning.errors import UserError
from asd_lightning.run_folder import is_result_set, is_run
from asd_lightning.scoring.arguments import require_at_least


class ChangedMeanwhile(UserError):  # noqa: N818 - it is what has happened
    """Somebody else has written a detector's file since it was read."""


def enrol(  # noqa: PLR0913 - the options of the command
    source: Path | str,
    output: Path | str,
    *,
    machine: str | None = None,
    embedder: str = STATISTICS,
    recordings: Path | str | None = None,
    false_alarms: float | None = None,
    clip_seconds: float = CLIP_SECONDS,
    self_contained: bool = False,
    sounds: int = 20,
    precision: str = "float32",
    bank_size: int | None = None,
    states: StatesFrom = "level",
) -> Detector:
    """Make a detector of normal recordings, or of a run, as ``asd enrol`` does.

    A detector that is there already gets one machine more.

    Args:
        source: a folder of normal recordings of one machine, or a run.
        output: file to write.
        machine: its name; by default the folder's, or its parent's where it is called ``train`` or ``normal``.
        embedder: ``statistics``, weights by name, or the folder of a run.
        recordings: a table ``file,recording``; by default ``recordings.csv`` beside the folder.
        false_alarms: share of normal clips that may get any decision but normal; by default the smallest that the
            recordings allow.
        clip_seconds: length of the windows that are compared.
        self_contained: keep the weights of a fetched encoder in the file.
        sounds: how many excerpts of normal sound are kept in the file.
        precision: of the encoder: ``float32``, ``bf16`` or ``int8``; a run has that of its test.
        bank_size: clips at most that new sound is compared with; by default all.
        states: what tells the machine's states: ``level``, ``folders`` or ``none``, see `Detector`.

    Raises:
        UserError: nothing usable, too few recordings for ``false_alarms``, a file that has such a machine, or a
            ``precision`` that is not possible here or in which the recordings rank otherwise than in float32.
    """
    source, output = Path(source), file_path(output)
    require_at_least("sounds", sounds, 0)
    if output.is_dir():
        raise UserError(f"{output}: is a folder; name the detector's file, such as -o {output / 'pump.asd'}")
    refuse_unwritable(output)
    before = Detector.load(output) if output.exists() else None
    if is_run(source) or is_result_set(source):
        if before is not None:
            raise UserError(f"{output}: is there already; a run becomes a detector of its own")
        if precision != "float32":
            raise UserError(
                f"--precision {precision}: a run's detector has the precision of its test; first "
                f"asd test {source} model.scoring_precision={precision}, and enrol that test's folder"
            )
        if bank_size is not None:
            raise UserError(
                f"{source}: a run's back-end is fitted already; --bank-size is for recordings (--embedder RUN)"
            )
        _refuse_for_run(
            source,
            {
                "--machine": machine is not None,
                "--embedder": embedder != STATISTICS,
                "--recordings": recordings is not None,
                "--clip-seconds": clip_seconds != CLIP_SECONDS,
                "--states": states != "level",
            },
        )
        detector = _of_run(source, false_alarms, sounds)
    else:
        detector = Detector(
            embedder,
            false_alarms=false_alarms,
            clip_seconds=clip_seconds,
            machine=machine,
            recordings=recordings,
            self_contained=self_contained,
            sounds=sounds,
            precision=precision,
            bank_size=bank_size,
            states=states,
        )
        if before is not None:
            _refuse_known(before, output, machine or detector.name_of(source))
        detector.fit(source)
        if before is not None:
            detector = _together(before, detector, output)
    return _save(detector, output)


def score(
    detector: Path | str, recordings: Recordings, machine: str | None = None, batch_size: int = 32
) -> list[Judgment]:
    """Judge recordings, as ``asd score`` does.

    Args:
        detector: its file.
        recordings: a file, a folder, several files, or waveforms in [-1, 1] at the detector's rate.
        machine: whose; by default the only one, or the one whose name is that of a folder above the recording.
        batch_size: windows at a time.

    Raises:
        UserError: not a detector, no recordings, or an unknown machine.
    """
    return Detector.load(detector).judge(recordings, machine, batch_size)


def calibrate(
    detector: Path | str,
    later: Path | str | Sequence[Path | str],
    machine: str | None = None,
    recordings: Path | str | None = None,
) -> Detector:
    """Find the thresholds from later normal recordings, which the bank has not seen, as ``asd calibrate`` does.

    Where they are too few for the promised rate, they count beside those that the detector was enrolled with.

    Args:
        detector: its file; it is written anew.
        later: a folder, or files.
        machine: whose.
        recordings: a table ``file,recording`` of what was cut from one recording; by default ``recordings.csv`` near
            the recordings.

    Raises:
        UserError: not a detector, or nothing new.
    """
    return _changed(Path(detector), later, machine, recordings, "calibration")


def accept(
    detector: Path | str,
    *clips: Path | str,
    machine: str | None = None,
    recordings: Path | str | None = None,
) -> Detector:
    """Take further normal recordings into the bank, as ``asd accept`` does: what sounds so is normal.

    Args:
        detector: its file; it is written anew.
        clips: files, or one folder.
        machine: whose.
        recordings: a table ``file,recording`` of what was cut from one recording; by default ``recordings.csv`` near
            the recordings.

    Raises:
        UserError: not a detector, or nothing new.
    """
    given = clips[0] if len(clips) == 1 else clips
    return _changed(Path(detector), given, machine, recordings, "bank")


def undo(detector: Path | str, machine: str | None = None) -> Detector:
    """Take the last ``accept`` or ``calibrate`` back, as ``asd undo`` does.

    Args:
        detector: its file; it is written anew.
        machine: whose.

    Raises:
        UserError: not a detector, or nothing to take back.
    """
    path = Path(detector)
    loaded = Detector.load(path)
    name = loaded.machine_of(path, machine)
    loaded.with_machine(taken_back(loaded.machines_[name], loaded.hearing_))
    return _save(loaded, path)


def info(detector: Path | str) -> dict[str, Any]:
    """What a detector's file says of itself, as ``asd info`` shows it; every part of the file is checked.

    Raises:
        UserError: not a detector, or damaged.
    """
    path = Path(detector)
    file = DetectorFile(path)
    file.check()
    loaded = Detector.load(path)
    hearing = loaded.hearing_
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "package": file.header["package"],
        "content_hash": file.content_hash,
        "preprocessing": dataclasses.asdict(hearing.preprocessing),
        "embedder": hearing.embedder,
        "weights": hearing.header()["weights"],
        "precision": "float32" if hearing.precision == "32-true" else hearing.precision,
        "machines": [_about(loaded, name) for name in loaded.machines_],
    }


def evaluate(detector: Path | str, folder: Path | str, machine: str | None = None) -> Evaluation:
    """Count hits and false alarms on recordings whose folders or names tell normal from faulty sound.

    Args:
        detector: its file.
        folder: with folders such as ``normal`` and ``anomaly``, or names of the challenge.
        machine: whose.

    Raises:
        UserError: not a detector, or nothing labelled.
    """
    loaded = Detector.load(detector)
    conditions = labeled(Path(folder))
    return evaluate_judgments(loaded.judge(list(conditions), machine), list(conditions.values()))


def _of_run(place: Path, rate: float | None, sounds: int) -> Detector:
    from asd_lightning.detector.from_run import machines_of_run

    hearing, machines = machines_of_run(place, rate)
    detector = Detector(clip_seconds=hearing.preprocessing.clip_seconds)
    detector.begin(hearing)
    for machine, kept in machines:
        there = [sound for sound in kept if sound.clip.path.is_file()]
        detector.with_machine(machine, excerpts(there, hearing, sounds) if len(there) == len(kept) and kept else {})
    return detector


def _refuse_for_run(run: Path, given: Mapping[str, bool]) -> None:
    """Refuse options, by whether they were given, that a run has decided."""
    if names := [name for name, was in given.items() if was]:
        raise UserError(
            f"{run}: is a run, which has its machines and hears as it was trained; {', '.join(names)}: for a folder "
            "of recordings (which --embedder RUN hears as the run does)"
        )


def _refuse_known(before: Detector, output: Path, name: str) -> None:
    if name in before.machines_:
        raise UserError(
            f"{output}: knows {name} already; `asd accept` takes further normal sound in; to enrol it anew, remove the "
            "file first, or give another one with -o (or, for another machine, --machine)"
        )


def _together(before: Detector, made: Detector, output: Path) -> Detector:
    if not before.hearing_.same_as(made.hearing_):
        raise UserError(
            f"{output}: hears otherwise than asked for here (embedder, clip length, precision); give another file"
        )
    for name in made.machines_:
        before.with_machine(made.machines_[name], made.sounds_of(name))
    before.learnt_ = made.learnt_
    return before


def _changed(
    path: Path,
    given: Path | str | Sequence[Path | str],
    machine: str | None,
    table: Path | str | None,
    role: Role,
) -> Detector:
    loaded = Detector.load(path)
    refuse_unwritable(path)
    sounds = loaded.sounds_given(normal_given(given), machine)
    names = sorted({sound.clip.machine for sound in sounds})
    if len(names) != 1:
        raise UserError(f"recordings of {len(names)} machines ({', '.join(names)}); give those of one")
    first = sounds[0].clip.path
    place = Path(given) if isinstance(given, Path | str) and Path(given).is_dir() else first.parent
    clips = named([sound.clip for sound in sounds], None if table is None else Path(table), place)
    return take_in(loaded, [Sound(clip) for clip in clips], path, role)


def take_in(detector: Detector, sounds: Sequence[Sound], path: Path, role: Role = "bank") -> Detector:
    """Take pieces of normal recordings into a detector, and write its file anew.

    Args:
        detector: as it was read from the file.
        sounds: pieces of recordings of one machine.
        path: of the file.
        role: ``bank``, or ``calibration`` for sound that tells the thresholds alone.

    Raises:
        ChangedMeanwhile: somebody else has written the file.
        UserError: nothing new.
    """
    machine = detector.machines_[sounds[0].clip.machine]
    detector.with_machine(grown(machine, sounds, detector.hearing_, role))
    return _save(detector, path)


def _save(detector: Detector, path: Path) -> Detector:
    """Write a detector's file, unless somebody else has written it since it was read.

    Behind a link, what was read is replaced; where nothing was, a link is.
    """
    read = None if detector.read_from is None else detector.read_from.content_hash
    place = path.resolve() if read is not None and path.is_symlink() else path
    with locked(place):
        if read != (DetectorFile(place).content_hash if place.exists() else None):
            raise ChangedMeanwhile(f"{path}: was changed meanwhile; give the command again")
        detector.save(place)
    return detector


def _states(machine: Machine) -> list[dict[str, Any]]:
    """Each state by name, where there are several: whether the machine runs, and its thresholds."""
    if not isinstance(machine.states, NamedStates) or len(machine.states.names) < 2:
        return []
    told = []
    for name in machine.states.names:
        own = None if name in machine.states.still else machine.thresholds(name)
        told.append(
            {
                "state": name,
                "running": own is not None,
                "recordings": None if own is None else own.normal.recordings,
                "warning": None if own is None else own.promise.warning,
                "alarm": None if own is None else own.promise.alarm,
            }
        )
    return told


def _warnings(machine: Machine) -> list[str]:
    """What its promise may not hold for; nothing of a run's own threshold, which promises nothing."""
    if machine.of_run and not machine.of_run.get("promised"):
        return []
    told = [alike_by_name(machine.name, machine.bank, version) for version in range(len(machine.changes))]
    return [sentence for sentence in [*told, *_off_as_running(machine)] if sentence]


def _off_as_running(machine: Machine) -> list[str]:
    """Of a detector from before enrolment refused it."""
    running = machine.states.running if isinstance(machine.states, NamedStates) else ()
    return [
        f"{machine.name}: state {name}: its recordings of the machine that is off are in the bank and count as "
        "running: they could not be told from the others, and the machine is not called off by them; enrol anew "
        "without them"
        for name in running
        if any(map(is_still, name.split("+")))
    ]


def _about(detector: Detector, name: str) -> dict[str, Any]:
    # It reads the package's configuration, of which no other action has need.
    from asd_lightning.detector.plain_names import back_end_name

    machine = detector.machines_[name]
    sounds = detector.sounds_of(name)
    return {
        "machine": name,
        "clips": len(set(machine.bank.of_role("bank").files())),
        "recordings": machine.normal.recordings,
        "back_end": back_end_name(machine.maker) if machine.maker else type(machine.scorer).__name__,
        "compression": None if machine.compression is None else machine.compression.sentence(),
        # Each state has its own.
        "warning": None if machine.in_states else machine.promise.warning,
        "alarm": None if machine.in_states else machine.promise.alarm,
        "promise": machine.sentence(),
        "agreement": machine.agreement,
        "states": _states(machine),
        "excerpts": len(sounds),
        "excerpt_bytes": sum(sound.nbytes for sound in sounds.values()),
        "changes": [dataclasses.asdict(change) for change in machine.changes],
        "warnings": _warnings(machine),
    }
