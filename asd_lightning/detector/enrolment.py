"""From normal recordings of a machine to its detector, and what is to be said of the recordings."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from asd_lightning import __version__
from asd_lightning.data.folders import recordings, rooms_of
from asd_lightning.data.layout import Clip
from asd_lightning.data.measurement import clipped_share, level_db
from asd_lightning.data.other_formats import warn_of_other_formats
from asd_lightning.data.recordings import RecordingsTable, clips_of, find_table
from asd_lightning.detector.bank import Bank, Item, Role, in_blocks
from asd_lightning.detector.compression import compression
from asd_lightning.detector.constructors import Spec
from asd_lightning.detector.given import called_normal
from asd_lightning.detector.health import Features, SensorReference, fingerprint, least_seconds, measured
from asd_lightning.detector.hearing import Heard, Hearing, Sound
from asd_lightning.detector.likeness import alike_by_name
from asd_lightning.detector.machine import Change, Machine
from asd_lightning.detector.progress import shown
from asd_lightning.detector.promise import promise
from asd_lightning.detector.sorting import Sorted, parted_by
from asd_lightning.detector.states import NamedStates, state_features
from asd_lightning.detector.thresholds import Fitted, fit_bank, fit_scorer, thresholds_in_states
from asd_lightning.errors import UserError
from asd_lightning.scoring.agreement import LEAST_AGREEMENT, agrees, rank_agreement
from asd_lightning.scoring.heard import unheard

logger = logging.getLogger(__name__)

# A tenth of a per cent of samples at full scale in a row is heard.
_CLIPPED = 1e-3
# Median absolute deviations above the median.
_UNLIKE = 6.0
_NORMAL_MAD = 1.4826
# A clip of less than this share of the usual length is no clip of the machine.
_FAR_SHORTER = 0.1
_COUNT_AS_ONE = "where some are cut from one, the promised rate of false alarms is not kept"


class Look(NamedTuple):
    """What is found in a piece's waveform."""

    digest: str
    level: float
    clipped: float
    silent: bool
    samples: int
    sensor: Features | None = None
    features: ndarray | None = None


@dataclass(frozen=True)
class Learnt:
    """What enrolling has found.

    Attributes:
        machine: its name.
        recordings: independent ones in the bank: files, rows of the table, or blocks of one long recording.
        clips: in the bank.
        hours: of sound in the bank.
        blocks: whether there are blocks of one recording among them, the only one of the machine or of a state.
        promise: in words.
        unlike: clips unlike the rest, the farthest first: each raises the threshold.
        duplicates: clips that are the same sound as another, which was kept.
        clipped: clips with samples at full scale.
        silent: clips of a dead channel, left out.
        still: clips of a machine that is not running, left out.
        unusable: file -> why it was left out.
        curve: how the scores of normal clips that are left out fall with the number of recordings in the bank.
        settled: whether they have stopped falling; ``None`` where too few recordings tell.
        agreement: see `asd_lightning.detector.machine.Machine`.
        compression: what a bank of limited size costs, in words; "" where there is none.
        states: state in which the machine runs -> recordings of it; empty where there is one.
        still_states: states in which it does not run.
        seem_states: folders whose sound differs as that of states does, though they were not asked to be any.
        seconds: median length of the pieces of sound that were heard, at most a window.
    """

    machine: str
    recordings: int
    clips: int
    hours: float
    blocks: bool
    promise: str
    unlike: tuple[str, ...]
    duplicates: tuple[str, ...]
    clipped: tuple[str, ...]
    silent: tuple[str, ...]
    still: tuple[str, ...]
    unusable: dict[str, str]
    curve: tuple[tuple[int, float], ...]
    settled: bool | None
    agreement: float | None = None
    compression: str = ""
    states: dict[str, int] = dataclasses.field(default_factory=dict)
    still_states: tuple[str, ...] = ()
    seem_states: tuple[str, ...] = ()
    seconds: float = math.inf


def normal_clips(folder: Path, machine: str, table: Path | None) -> list[Clip]:
    """Recordings of normal sound below a folder, or a single long one.

    Of a machine's folder (``train``, ``normal``, ``test`` in it) those rooms that hold normal sound count.  What a
    folder or its name calls an anomaly is left out.

    Raises:
        UserError: no such folder, no recordings, none that may be normal, or a table that cannot be read.
    """
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; give one with recordings of normal sound")
    inner = [path.name for path in folder.iterdir() if path.is_dir() and rooms_of(path)] if folder.is_dir() else []
    if len(inner) > 1 and not rooms_of(folder):
        raise UserError(f"{folder}: holds several machines ({', '.join(sorted(inner)[:5])}); enrol them one by one")
    rooms = [room.path for room in rooms_of(folder) if room.purpose in ("train", "normal")]
    warn_of_other_formats(rooms or [folder])
    paths = [folder] if folder.is_file() else [path for place in rooms or [folder] for path in recordings(place)]
    if not paths:
        raise UserError(f"{folder}: no recordings in it; WAV and FLAC files are read")
    normal = called_normal(paths, folder, "put them into a folder called normal")
    return named(clips_of(normal, machine, "train"), table, folder)


def named(clips: Sequence[Clip], table: Path | None, place: Path) -> list[Clip]:
    """Clips with the recordings that a table tells of.

    Args:
        clips: of one machine.
        table: by default ``recordings.csv`` in the folder or one of the two above it.
        place: the folder.

    Raises:
        UserError: the table cannot be read, or contradicts itself; or a table that was asked for fits none of them.
    """
    near = find_table([place, place.parent, place.parent.parent]) if table is None else table
    if near is None:
        return list(clips)
    rows = RecordingsTable(near)
    paths = {clip.path for clip in clips}
    alone = sum(rows.recording(path) is None for path in paths)
    if alone == len(paths) and table is not None:
        raise UserError(
            f"{near}: none of its rows fits any of {len(paths)} clips, such as {clips[0].path}; write the end of a "
            "clip's path, as it is spelt there"
        )
    made = rows.named(clips, whole=False)
    if alone and len(paths) > 1:
        what = f"all {alone} clips" if alone == len(paths) else f"{alone} of {len(paths)} clips"
        logger.warning("%s have no row in %s and count as recordings of their own; %s", what, near, _COUNT_AS_ONE)
    return made


def look(sound: Sound, waveform: Float32[ndarray, " samples"]) -> Look:
    """What enrolling wants to know of a piece."""
    silent = bool(waveform.min() == waveform.max())
    level = level_db(waveform.astype(np.float64))
    return Look(fingerprint(waveform), level, clipped_share(waveform[:, None]), silent, len(waveform))


def enrol_machine(
    name: str,
    sounds: Sequence[Sound],
    hearing: Hearing,
    maker: Spec,
    rate: float | None = None,
    batch_size: int = 32,
    sorting: Sorted | None = None,
) -> tuple[Machine, Learnt, list[Sound]]:
    """Learn what is normal for a machine.

    Args:
        name: of the machine.
        sounds: pieces of normal sound.
        hearing: of the detector.
        maker: spec of the back-end.
        rate: of false alarms to promise; by default the smallest that the recordings allow.
        batch_size: pieces at a time.
        sorting: the recordings' states; by default the level tells whether the machine runs.

    Returns:
        The machine, what is to be said of the recordings, and the pieces that are in its bank.

    Raises:
        UserError: nothing usable, a single recording, too few for the rate, in a state too, or a precision in which the
            recordings rank otherwise than in float32.
    """
    rate_of = hearing.preprocessing.sample_rate
    sorting = Sorted() if sorting is None else sorting
    several = len(set(sorting.filed.values())) > 1

    def measure(sound: Sound, waveform: Float32[ndarray, " samples"]) -> Look:
        features = state_features(waveform, rate_of) if several else None
        return look(sound, waveform)._replace(sensor=measured(waveform, rate_of), features=features)

    low = hearing.low_precision != "float32"
    heard = hearing.embed(shown(sounds, f"hearing {name}"), measure, batch_size, in_float32_too=low)
    silent = [found.silent for found in heard.looks]
    twice = _twice(heard, silent)
    short = _far_too_short(heard, rate_of)
    unusable = {**heard.unreadable, **short}
    alive = [
        not (dead or double or sound.clip.file in short)
        for sound, dead, double in zip(heard.pieces, silent, twice, strict=True)
    ]
    if not any(alive):
        raise UserError(f"{name}: none of its recordings can be used{_first(unusable)}")
    if sum(alive) == 1 and any(twice):
        raise UserError(
            f"{name}: its {len(heard.pieces)} pieces of sound are all the same, sample by sample; give recordings of "
            "different times"
        )
    items = items_of(heard, "bank", 0, rate_of)
    gap = hearing.preprocessing.clip_seconds
    parted = parted_by(name, heard, Bank(items, heard.embeddings).where(alive), alive, sorting, gap)
    states, running = parted.states, parted.running
    still = [keep and not runs for keep, runs in zip(alive, running, strict=True)]
    kept = [sound for sound, keep in zip(heard.pieces, running, strict=True) if keep]
    if any(parted.taken):
        items = tuple(item._replace(state=state) for item, state in zip(items, parted.taken, strict=True))
    bank = Bank(items, heard.embeddings).where(running)
    filed = [own for own, keep in zip(parted.filed, running, strict=True) if keep]
    bank = dataclasses.replace(bank, blocking=in_blocks(bank.items, filed, gap))
    fitted = fit_bank(bank, maker, hearing.reduction)
    agreement = None
    if heard.in_float32 is not None:
        exact = dataclasses.replace(bank, embeddings=heard.in_float32[np.array(running)])
        agreement = _agreement(name, hearing, fitted, exact, maker)
    normal = fitted.normal()
    in_states = thresholds_in_states(fitted, bank, states, (rate, None), hearing.reduction)
    rates = [own.promise.rate for own in in_states.values()] or [normal.smallest_rate if rate is None else rate]
    promised = promise(normal, rates[0])
    # The microphone is known from the machine that stands still too.
    living = [found.sensor for found, keep in zip(heard.looks, alive, strict=True) if keep]
    sensor = SensorReference.of_measured(living, rate_of)
    change = Change("enrolled", now(), normal.recordings, __version__)
    smaller = compression(bank, maker, hearing.reduction, fitted, promised.rate)
    machine = Machine(
        name, bank, maker, fitted.scorer, normal, promised, sensor, states, (change,),
        in_states=in_states, agreement=agreement, compression=smaller,
    )  # fmt: skip
    if told := alike_by_name(name, bank, 0):
        logger.warning(told)
    curve, settled = learning_curve(bank, maker, hearing)
    learnt = Learnt(
        machine=name,
        recordings=normal.recordings,
        clips=len(set(bank.files())),
        hours=sum(found.samples for found, keep in zip(heard.looks, running, strict=True) if keep) / rate_of / 3600,
        blocks=bool(bank.blocking),
        promise=machine.sentence(),
        unlike=_unlike(fitted),
        duplicates=_named(heard, twice),
        clipped=_named(heard, [found.clipped > _CLIPPED for found in heard.looks]),
        silent=_named(heard, silent),
        still=_named(heard, still),
        unusable=unusable,
        curve=curve,
        settled=settled,
        agreement=agreement,
        compression="" if smaller is None else smaller.sentence(),
        states={name: own.normal.recordings for name, own in in_states.items()},
        still_states=states.still if isinstance(states, NamedStates) else (),
        seem_states=parted.seem,
        seconds=float(np.median([found.samples for found in heard.looks])) / rate_of,
    )
    return machine, learnt, kept


def refuse_disagreement(name: str, precision: str, correlation: float) -> None:
    """Refuse a lower precision that puts a machine's left-out normal recordings into another order.

    Raises:
        UserError: names the rank correlation.
    """
    if not agrees(correlation):
        raise UserError(
            f"{name}: in {precision} its left-out normal recordings rank otherwise than in float32 (rank correlation "
            f"{correlation:.4f}, and {LEAST_AGREEMENT:g} is needed); take float32"
        )


def items_of(heard: Heard, role: Role, version: int, sample_rate: int) -> tuple[Item, ...]:
    """Items of what was heard, at the detector's rate."""
    return tuple(
        Item(
            recording=sound.clip.recording,
            file=sound.clip.file,
            start=float(sound.clip.start),
            seconds=float(sound.clip.seconds or found.samples / sample_rate),
            digest=found.digest,
            domain=sound.clip.domain,
            role=role,
            version=version,
        )
        for sound, found in zip(heard.pieces, heard.looks, strict=True)
    )


def now() -> str:
    """UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def learning_curve(bank: Bank, maker: Spec, hearing: Hearing) -> tuple[tuple[tuple[int, float], ...], bool | None]:
    """Median score of a fourth of the recordings by banks of a quarter, half and all of the others.

    Returns:
        Numbers of recordings with the median score, and whether the last doubling changed it by less than a quarter of
        the scores' interquartile range; nothing and ``None`` where there are fewer than eight recordings.
    """
    own = dataclasses.replace(bank.of_role("bank"), blocking=())
    names = np.array(bank.of_role("bank").recordings())
    order = list(dict.fromkeys(names.tolist()))
    if len(order) < 8:
        return (), None
    probes, others = order[::4], [name for place, name in enumerate(order) if place % 4]
    probe = np.isin(names, probes)
    points: list[tuple[int, float]] = []
    scores: Float[ndarray, " n"] = np.empty(0)
    for share in (4, 2, 1):
        some = others[::share]
        try:
            with unheard():
                scorer = fit_scorer(own.where(np.isin(names, some).tolist()), maker)
        except UserError:
            continue
        scores = scorer.anomaly_score(own.embeddings[probe].astype(np.float64))
        points.append((len(some), float(np.median(scores))))
    if len(points) < 2:
        return (), None
    low, high = np.percentile(scores, [25, 75])
    return tuple(points), bool(abs(points[-2][1] - points[-1][1]) <= 0.25 * (high - low))


def _agreement(name: str, hearing: Hearing, fitted: Fitted, exact: Bank, maker: Spec) -> float:
    """Rank correlation of left-out scores with those in float32."""
    with unheard():
        in_float32 = fit_bank(exact, maker, hearing.reduction)
    correlation = rank_agreement(in_float32.scores, fitted.scores)
    refuse_disagreement(name, hearing.precision, correlation)
    return correlation


def _far_too_short(heard: Heard, rate: int) -> dict[str, str]:
    """File -> why its sound is too short to be enrolled: repeated over a window it would be a tone."""
    if not heard.looks:
        return {}
    usual = float(np.median([found.samples for found in heard.looks])) / rate
    least = max(least_seconds(rate), _FAR_SHORTER * usual)
    needed = f"are needed beside the usual {usual:.3g} s" if least > least_seconds(rate) else "tell of a sound"
    return {
        sound.clip.file: f"{sound.clip.path}: {found.samples / rate:.3g} s of sound, and {least:.3g} s at least "
        f"{needed}; record longer"
        for sound, found in zip(heard.pieces, heard.looks, strict=True)
        if found.samples < least * rate
    }


def _twice(heard: Heard, silent: Sequence[bool]) -> list[bool]:
    seen: set[str] = set()
    twice = []
    for found, dead in zip(heard.looks, silent, strict=True):
        twice.append(found.digest in seen and not dead)
        seen.add(found.digest)
    return twice


def _unlike(fitted: Fitted) -> tuple[str, ...]:
    median = np.median(fitted.scores)
    unit = _NORMAL_MAD * np.median(np.abs(fitted.scores - median))
    far = np.flatnonzero(fitted.scores > median + _UNLIKE * unit) if unit > 0 else np.empty(0, int)
    return tuple(fitted.files[row] for row in far[np.argsort(-fitted.scores[far], kind="stable")])


def _named(heard: Heard, flags: Sequence[bool]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sound.clip.name for sound, flag in zip(heard.pieces, flags, strict=True) if flag))


def _first(unreadable: dict[str, str]) -> str:
    return f", such as {next(iter(unreadable.values()))}" if unreadable else ""
