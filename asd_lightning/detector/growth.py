"""How a machine's bank grows, and how what it has learnt is taken back."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from asd_lightning import __version__
from asd_lightning.detector.bank import Item, Role
from asd_lightning.detector.compression import compression
from asd_lightning.detector.enrolment import Look, items_of, look, now
from asd_lightning.detector.file import part_digest
from asd_lightning.detector.hearing import Heard, Hearing, Sound
from asd_lightning.detector.likeness import alike_by_name
from asd_lightning.detector.machine import Change, Machine, fit_machine
from asd_lightning.detector.progress import shown
from asd_lightning.detector.promise import promise
from asd_lightning.detector.thresholds import fit_bank, thresholds_in_states
from asd_lightning.errors import UserError

logger = logging.getLogger(__name__)
_WORDS: dict[Role, str] = {"bank": "accepted", "calibration": "calibrated"}


def grown(machine: Machine, sounds: Sequence[Sound], hearing: Hearing, role: Role) -> Machine:
    """The machine with further normal sound: in its bank, or for its thresholds alone.

    Everything is fitted again to what has come so far, so that nothing depends on the order of the commands but the
    order of the bank.  The rates that are promised stay.

    Args:
        machine: as it is.
        sounds: pieces of normal recordings.
        hearing: of the detector.
        role: ``bank`` for sound that new sound is to be compared with, ``calibration`` for later sound that the bank
            has not seen.

    Raises:
        UserError: nothing usable or nothing new, or a machine of a run that does not tell how to fit it.
    """
    if not machine.maker or not machine.bank.items:
        raise UserError(f"{machine.name}: its run does not tell how to fit it again; enrol it from its recordings")
    word, version = _WORDS[role], len(machine.changes)
    rate_of = hearing.preprocessing.sample_rate
    refused: dict[str, str] = {}

    def measure(sound: Sound, waveform: Float32[ndarray, " samples"]) -> Look:
        if role == "bank" and (told := machine.doubts(waveform, rate_of, hearing.preprocessing.clip_seconds)):
            refused.setdefault(sound.clip.name, told[0])
        return look(sound, waveform)._replace(features=machine.state_features(waveform, rate_of))

    heard = hearing.embed(shown(sounds, "hearing"), measure)
    for why in heard.unreadable.values():
        logger.warning("%s; left out", why)
    reasons = _reasons(machine, heard, role)
    names = [sound.clip.name for sound in heard.pieces]
    left_out = dict(zip(names, reasons, strict=True))
    _tell(heard, left_out, "%s: %s; left out")
    _tell(
        heard,
        {name: "" if left_out[name] else refused.get(name, "") for name in left_out},
        "%s: taken into the bank, but what sounds so still cannot be judged (%s): what the microphone gives is known "
        "from enrolling alone; enrol again with such recordings",
    )
    wanted = [not why for why in reasons]
    if not any(wanted):
        why = next(iter([*reasons, *heard.unreadable.values()]))
        raise UserError(f"{machine.name}: nothing new among {len(sounds)} pieces of sound ({why})")
    states = _states(machine, heard)
    items = [
        _of_change(item, word, version)._replace(state=state if state in machine.in_states else "")
        for item, state, keep in zip(items_of(heard, role, version, rate_of), states, wanted, strict=True)
        if keep
    ]
    bank = machine.bank.plus(items, heard.embeddings[wanted])
    change = Change(word, now(), len({item.recording for item in items}), __version__, part_digest(machine.parts()))
    made = fit_machine(machine, bank, change, hearing.reduction)
    if told := alike_by_name(machine.name, bank, version):
        logger.warning(told)
    return made


def taken_back(machine: Machine, hearing: Hearing) -> Machine:
    """The machine as it was before its last change.

    Raises:
        UserError: it has not been changed.
    """
    if len(machine.changes) < 2:
        raise UserError(f"{machine.name}: has not been changed since it was enrolled; there is nothing to take back")
    *before, last = machine.changes
    bank = machine.bank.up_to(len(before) - 1)
    if len(before) == 1:
        made = _as_enrolled(dataclasses.replace(machine, bank=bank, changes=tuple(before)), hearing)
    else:
        shorter = dataclasses.replace(machine, changes=tuple(before[:-1]))
        made = fit_machine(shorter, bank, before[-1], hearing.reduction)
    if part_digest(made.parts()) != last.before:
        logger.warning(
            "%s: taken back, but its numbers were made by other versions of the libraries and may differ in the last "
            "digits",
            machine.name,
        )
    return made


def _as_enrolled(machine: Machine, hearing: Hearing) -> Machine:
    fitted = fit_bank(machine.bank, machine.maker, hearing.reduction)
    if machine.of_run:
        from asd_lightning.detector.from_run import as_enrolled

        normal, made = as_enrolled(machine)
    else:
        normal = fitted.normal()
        made = promise(normal, machine.promise.rate, machine.promise.alarm_rate)
    smaller = compression(machine.bank, machine.maker, hearing.reduction, fitted, made.rate)
    rates = machine.promise.rate, machine.promise.alarm_rate
    in_states = thresholds_in_states(fitted, machine.bank, machine.states, rates, hearing.reduction)
    return dataclasses.replace(
        machine, scorer=fitted.scorer, normal=normal, promise=made, in_states=in_states, compression=smaller
    )


def _states(machine: Machine, heard: Heard) -> list[str]:
    """Name of the state that each piece is in; "" where the machine has none."""
    if machine.states is None or not heard.looks:
        return [""] * len(heard.looks)
    return machine.states.of(np.stack([found.features for found in heard.looks]))


def _reasons(machine: Machine, heard: Heard, role: Role) -> list[str]:
    """Why each piece is of no use; "" where it is."""
    known = {item.digest for item in machine.bank.items}
    # A file's own name says nothing: there is a today.wav every day.
    told = {item.recording for item in machine.bank.items if item.role == "bank" and item.recording != item.file}
    still = () if machine.states is None else machine.states.still
    reasons = []
    for sound, found, state in zip(heard.pieces, heard.looks, _states(machine, heard), strict=True):
        seen = role == "calibration" and sound.clip.recording != sound.clip.file and sound.clip.recording in told
        why = "in the detector already" if found.digest in known else ""
        why = f"cut from {sound.clip.recording}, which the bank has heard" if seen and not why else why
        why = "of a machine that is not running" if state in still and not why else why
        reasons.append("silent" if found.silent else why)
        known.add(found.digest)
    return reasons


def _tell(heard: Heard, whys: Mapping[str, str], sentence: str) -> None:
    """Warn of each recording once, however many pieces it has.

    Args:
        heard: the pieces.
        whys: why, by a piece's name; "" where there is nothing to be said.
        sentence: takes the recording and why.
    """
    of_file: dict[str, list[str]] = {}
    for sound in heard.pieces:
        of_file.setdefault(sound.clip.file, []).append(whys[sound.clip.name])
    for file, own in of_file.items():
        if told := [why for why in own if why]:
            some = f", {len(told)} of {len(own)} pieces" if len(own) > 1 else ""
            logger.warning(sentence, file, f"{told[0]}{some}")


def _of_change(item: Item, word: str, version: int) -> Item:
    """Its names say which change brought it: a file of the same name may be in the bank already.

    Only what a table calls the recording is one with what the table has called so before.
    """
    told = f"({word}, change {version})"
    recording = f"{item.recording} {told}" if item.recording == item.file else item.recording
    return item._replace(recording=recording, file=f"{item.file} {told}")
