"""From recordings to decisions: the one place where a detector's score becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from asd_lightning.data.measurement import level_db
from asd_lightning.detector.hearing import Heard, Hearing, Sound
from asd_lightning.detector.machine import Decision, Machine
from asd_lightning.detector.progress import shown
from asd_lightning.errors import UserError
from asd_lightning.scoring.machines import reduced

_NO_EMBEDDING = "its embedding cannot be compared with the bank's"
# Of the windows of a recording, so many must be fit to be judged.
_FEWEST_FIT = 0.5


class Window(NamedTuple):
    """Score of one window, and what it is by itself; ``start`` and ``end`` in s."""

    start: float
    end: float
    score: float
    decision: Decision


class Place(NamedTuple):
    """Normal sound that a recording is most like: a recording of the bank, and the second that it starts at."""

    recording: str
    start: float


class Judgment(NamedTuple):
    """What a detector says of one recording.

    ``score`` is higher the more anomalous, and nan where nothing could be scored; above ``threshold`` it is a warning.
    ``p_value`` is how usual the score is among normal recordings, from 1/(n + 1) to 1.  ``health`` says what is wrong
    with the sound, a sentence each.  ``nearest`` belongs to the window with the largest score.
    """

    path: str
    machine: str
    score: float
    threshold: float
    decision: Decision
    p_value: float
    health: tuple[str, ...]
    windows: tuple[Window, ...]
    nearest: Place | None


class _Look(NamedTuple):
    waveform_seconds: float
    level: float
    reasons: tuple[str, ...]


def judge(
    sounds: Sequence[Sound],
    hearing: Hearing,
    machines: Mapping[str, Machine],
    batch_size: int = 32,
    progress: bool = True,
) -> list[Judgment]:
    """Judge recordings, each in its pieces.

    Args:
        sounds: pieces; ``clip.machine`` says of which machine, ``clip.file`` of which recording.
        hearing: of the detector.
        machines: by name.
        batch_size: pieces at a time, of whichever machines.
        progress: show a bar, where somebody sees it.

    Returns:
        A judgement for each recording, in the order of their first pieces.
    """

    def look(sound: Sound, waveform: Float32[ndarray, " samples"]) -> _Look:
        sensor = machines[sound.clip.machine].sensor
        reasons = () if sensor is None else sensor.reasons(waveform)
        seconds = len(waveform) / hearing.preprocessing.sample_rate
        return _Look(seconds, level_db(waveform.astype(np.float64)), reasons)

    heard = hearing.embed(shown(sounds, "listening") if progress else sounds, look, batch_size)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, sound in enumerate(heard.pieces):
        rows.setdefault((sound.clip.machine, sound.clip.file), []).append(row)
    # Scored by machine, all at once: products of the same shapes as in a test round alike.
    scores = np.full(len(heard.pieces), np.nan)
    for name in dict.fromkeys(machine for machine, _ in rows):
        own = np.array([row for (machine, _), group in rows.items() if machine == name for row in group])
        scores[own] = scores_of(machines[name], heard.embeddings[own])
    order = {(sound.clip.machine, sound.clip.file): str(sound.clip.path) for sound in sounds}
    return [
        _judged(machines[key[0]], heard, rows[key], scores, hearing)
        if key in rows
        else _unheard(path, machines[key[0]], heard.unreadable[key[1]])
        for key, path in order.items()
    ]


def scores_of(machine: Machine, embeddings: Float32[ndarray, "n dim"]) -> Float[ndarray, " n"]:
    """Of each piece; nan of those that the back-end refuses, which are no reason to say nothing of the others."""
    try:
        return machine.anomaly_score(embeddings)
    except UserError:
        if len(embeddings) == 1:
            return np.array([np.nan])
        return np.concatenate([scores_of(machine, row[None]) for row in embeddings])


def _judged(
    machine: Machine, heard: Heard, rows: Sequence[int], scores: Float[ndarray, " n"], hearing: Hearing
) -> Judgment:
    looks = [heard.looks[row] for row in rows]
    own = scores[np.array(rows)]
    fit = np.array([not look.reasons for look in looks]) & np.isfinite(own)
    levels = np.array([look.level for look in looks])
    running = np.ones(len(rows), bool) if machine.states is None else machine.states.assign(levels) == 0
    heeded = own[fit & running]
    score = float(reduced([""] * len(heeded), heeded, hearing.reduction)[1][0]) if len(heeded) else float("nan")
    reasons = [reason for look in looks for reason in look.reasons]
    reasons += [_NO_EMBEDDING] * (not np.isfinite(own).all())
    health = tuple(dict.fromkeys([*reasons, *([machine.undecided] if machine.undecided else [])]))
    windows = tuple(
        Window(
            heard.pieces[row].clip.start,
            heard.pieces[row].clip.start + look.waveform_seconds,
            float(value),
            _decision(machine, float(value) if is_fit and runs else np.nan, np.array([is_fit]), np.array([runs])),
        )
        for row, look, value, is_fit, runs in zip(rows, looks, own, fit.tolist(), running.tolist(), strict=True)
    )
    loudest = rows[int(np.argmax(np.where(fit & running, own, -np.inf)))] if len(heeded) else None
    return Judgment(
        path=str(heard.pieces[rows[0]].clip.path),
        machine=machine.name,
        score=score,
        threshold=machine.promise.warning,
        decision=_decision(machine, score, fit, running),
        p_value=float(machine.normal.p_value(np.array([score]))[0]) if len(heeded) else float("nan"),
        health=health,
        windows=windows,
        nearest=None if loudest is None else _nearest(machine, heard.embeddings[loudest : loudest + 1]),
    )


def _decision(machine: Machine, score: float, fit: ndarray, running: ndarray) -> Decision:
    """What was heard well enough to raise an alarm raises it; nothing is called normal that was not heard."""
    told = machine.decision(score) if not np.isnan(score) else "normal"
    if told != "normal":
        return told
    if fit.mean() < _FEWEST_FIT:
        return "cannot judge"
    return "normal" if (fit & running).any() else "not running"


def _nearest(machine: Machine, embedding: Float32[ndarray, "1 dim"]) -> Place | None:
    if not machine.bank.items:
        return None
    item = machine.bank.items[int(machine.nearest(embedding)[0])]
    return Place(item.file, item.start)


def _unheard(path: str, machine: Machine, why: str) -> Judgment:
    nan = float("nan")
    return Judgment(path, machine.name, nan, machine.promise.warning, "cannot judge", nan, (why,), (), None)
