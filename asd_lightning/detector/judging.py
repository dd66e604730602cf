"""From recordings to decisions: the one place where a detector's score becomes one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from asd_lightning.detector.hearing import Heard, Hearing, Sound
from asd_lightning.detector.machine import Decision, Machine
from asd_lightning.detector.progress import shown
from asd_lightning.errors import UserError
from asd_lightning.scoring.windows import reduced

_NO_EMBEDDING = "its embedding cannot be compared with the bank's"
# Pieces whose embeddings are kept and scored at a time.
_TOGETHER = 1024
# Of the windows of a recording, so many must be fit to be judged.
_FEWEST_FIT = 0.5
JUDGED: tuple[Decision, ...] = ("normal", "warning", "alarm")
"""Decisions about the machine, by its score; the others say why there is none."""


class Window(NamedTuple):
    """Score of one window, and what it is by itself; ``start`` and ``end`` in s; ``state``: see `Judgment`."""

    start: float
    end: float
    score: float
    decision: Decision
    state: str = ""


class Place(NamedTuple):
    """Normal sound that a recording is most like: a recording of the bank, and the second that it starts at."""

    recording: str
    start: float


class Judgment(NamedTuple):
    """What a detector says of one recording.

    ``score`` is higher the more anomalous, and nan where nothing could be scored; above ``threshold`` it is a warning.
    ``p_value`` is how usual the score is among normal recordings, from 1/(n + 1) to 1.  ``health`` says what is wrong
    with the sound, a sentence each.  ``nearest`` belongs to the window with the largest score.  ``state`` is the
    machine's; "" where it has one.  Of a recording through several, score, threshold, p-value and nearest are those of
    the state that decided: with the gravest decision, and of several the smallest p-value.  Where each state has a
    threshold of its own, ``threshold`` is nan in a state without one, which the machine is off in, and of what could
    not be heard.
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
    state: str = ""

    def loudest(self) -> Window | None:
        """The loudest window of those that decided; ``None`` where nothing was judged.

        >>> own, other = Window(0.0, 1.0, 2.0, "warning", "slow"), Window(1.0, 2.0, 5.0, "normal", "fast")
        >>> found = Judgment("x", "x", 2.0, 1.0, "warning", 0.1, (), (own, other), None, "slow")
        >>> found.loudest() == own
        True
        """
        if np.isnan(self.score):
            return None
        of_state = [one for one in self.windows if one.state == self.state and not np.isnan(one.score)]
        heeded = [one for one in of_state if one.decision in JUDGED]
        # Without a threshold nothing is judged, and the scores are there all the same.
        return max(heeded or of_state, key=lambda one: one.score, default=None)


class _Look(NamedTuple):
    waveform_seconds: float
    features: ndarray | None
    reasons: tuple[str, ...]


class _Part(NamedTuple):
    """What of a recording is in one state: its score, and the windows of it."""

    state: str
    score: float
    heeded: ndarray


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
    listened = iter(shown(sounds, "listening") if progress else sounds)
    found: list[Judgment] = []
    for own in _blocks(sounds, batch_size):
        found += _judged_together(own, islice(listened, len(own)), hearing, machines, batch_size)
    # A bar goes when it has nothing more to show.
    next(listened, None)
    return found


def _blocks(sounds: Sequence[Sound], batch_size: int) -> Iterator[Sequence[Sound]]:
    """Whole recordings, some at a time: their embeddings need not be kept until the end.  Full batches, as of all."""
    last = {_key(sound): number for number, sound in enumerate(sounds)}
    begun = unfinished = 0
    for number, sound in enumerate(sounds):
        unfinished = max(unfinished, last[_key(sound)])
        count = number + 1 - begun
        if unfinished == number and count >= _TOGETHER and count % batch_size == 0:
            yield sounds[begun : number + 1]
            begun = number + 1
    if begun < len(sounds):
        yield sounds[begun:]


def _key(sound: Sound) -> tuple[str, str]:
    return sound.clip.machine, sound.clip.file


def _judged_together(
    sounds: Sequence[Sound],
    listened: Iterable[Sound],
    hearing: Hearing,
    machines: Mapping[str, Machine],
    batch_size: int,
) -> list[Judgment]:
    """``listened`` has the same sounds, one after another as a bar shows them."""

    def look(sound: Sound, waveform: Float32[ndarray, " samples"]) -> _Look:
        machine, rate = machines[sound.clip.machine], hearing.preprocessing.sample_rate
        reasons = machine.doubts(waveform, rate, hearing.preprocessing.clip_seconds)
        return _Look(len(waveform) / rate, machine.state_features(waveform, rate), reasons)

    heard = hearing.embed(listened, look, batch_size)
    rows: dict[tuple[str, str], list[int]] = {}
    for row, sound in enumerate(heard.pieces):
        rows.setdefault(_key(sound), []).append(row)
    # Scored by machine, all together: of one block, products have the shapes that they have in a test, and round alike.
    scores = np.full(len(heard.pieces), np.nan)
    for name in dict.fromkeys(machine for machine, _ in rows):
        own = np.array([row for (machine, _), group in rows.items() if machine == name for row in group])
        scores[own] = scores_of(machines[name], heard.embeddings[own])
    order = {_key(sound): str(sound.clip.path) for sound in sounds}
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
    states = _states(machine, looks)
    still = () if machine.states is None else machine.states.still
    running = np.array([state not in still for state in states])
    part = _deciding(machine, own, fit & running, states, hearing)
    reasons = [reason for look in looks for reason in look.reasons]
    reasons += [_NO_EMBEDDING] * (not np.isfinite(own).all())
    health = tuple(dict.fromkeys([*reasons, *([machine.undecided] if machine.undecided else [])]))
    windows = tuple(
        Window(
            heard.pieces[row].clip.start,
            heard.pieces[row].clip.start + look.waveform_seconds,
            value,
            _decision(machine, _alone(state, value, one), one[:1], one[1:]),
            machine.shown(state),
        )
        for row, look, value, state, one in zip(
            rows, looks, own.tolist(), states, np.stack([fit, running], axis=1), strict=True
        )
    )
    loudest = rows[int(np.argmax(np.where(part.heeded, own, -np.inf)))] if part.heeded.any() else None
    return Judgment(
        path=str(heard.pieces[rows[0]].clip.path),
        machine=machine.name,
        score=part.score,
        threshold=machine.warning(part.state),
        decision=_decision(machine, part, fit, running),
        p_value=float("nan") if loudest is None else _p_value(machine, part),
        health=health,
        windows=windows,
        nearest=None if loudest is None else _nearest(machine, heard.embeddings[loudest : loudest + 1]),
        state=machine.shown(part.state),
    )


def _alone(state: str, score: float, fit_and_running: ndarray) -> _Part:
    """One window as a recording of its own."""
    heeded = bool(fit_and_running.all())
    return _Part(state, score if heeded else float("nan"), np.array([heeded]))


def _states(machine: Machine, looks: Sequence[_Look]) -> list[str]:
    """Name of each window's state; "" where the machine has none."""
    if machine.states is None:
        return [""] * len(looks)
    return machine.states.of(np.stack([look.features for look in looks if look.features is not None]))


def _deciding(
    machine: Machine, scores: Float[ndarray, " n"], heeded: ndarray, states: Sequence[str], hearing: Hearing
) -> _Part:
    """What of the recording decides: the state with the gravest decision, and of several the least usual."""
    parts = []
    for state in dict.fromkeys(states):
        own = heeded & np.array([one == state for one in states])
        if own.any():
            score = float(reduced([""] * int(own.sum()), scores[own], hearing.reduction)[1][0])
            parts.append(_Part(state, score, own))
    if not parts:
        # The state of most windows, for people.
        return _Part(max(dict.fromkeys(states), key=list(states).count), float("nan"), heeded)
    return max(parts, key=lambda part: _gravity(machine, part))


def _gravity(machine: Machine, part: _Part) -> tuple[int, float, float]:
    order: tuple[Decision, ...] = ("normal", "warning", "alarm")
    decision = machine.decision(part.score, part.state)
    excess = part.score - machine.thresholds(part.state).promise.warning
    return order.index(decision) if decision in order else -1, -_p_value(machine, part), excess


def _p_value(machine: Machine, part: _Part) -> float:
    return float(machine.thresholds(part.state).normal.p_value(np.array([part.score]))[0])


def _decision(machine: Machine, part: _Part, fit: ndarray, running: ndarray) -> Decision:
    """What was heard well enough to raise an alarm raises it; nothing is called normal that was not heard."""
    told = "normal" if np.isnan(part.score) else machine.decision(part.score, part.state)
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
    return Judgment(path, machine.name, nan, machine.warning(), "cannot judge", nan, (why,), (), None)


def on_common_scale(one: Judgment, machine: Machine) -> Judgment:
    """The same with scores on the scale that all states of its machine share (`Machine.common`), to be drawn as one."""
    if not machine.in_states:
        return one
    windows = tuple(window._replace(score=machine.common(window.score, window.state)) for window in one.windows)
    return one._replace(score=machine.common(one.score, one.state), threshold=1.0, windows=windows)


def score_label(machine: Machine) -> str:
    """What an axis says of the scores that `on_common_scale` gives."""
    return "score, 1 = warning" if machine.in_states else "score"


def as_json(one: Judgment) -> dict[str, Any]:
    """Plain data, as ``asd score --json`` prints it; ``null`` where there is no number."""
    return _with_null(one._asdict()) | {
        "health": list(one.health),
        "windows": [_with_null(window._asdict()) | {"state": window.state or None} for window in one.windows],
        "nearest": None if one.nearest is None else one.nearest._asdict(),
        "state": one.state or None,
    }


def _with_null(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in told.items()
    }
