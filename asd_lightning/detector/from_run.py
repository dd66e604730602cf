"""A detector of a trained run: its embedder, its back-ends, and the thresholds that its test has found."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from asd_lightning import __version__
from asd_lightning.data.audio import BadAudioError
from asd_lightning.data.layout import Clip
from asd_lightning.detector.bank import Bank, Item
from asd_lightning.detector.constructors import Spec, embedder_spec, spec_of
from asd_lightning.detector.defaults import Preset
from asd_lightning.detector.enrolment import now, refuse_disagreement
from asd_lightning.detector.health import fingerprint
from asd_lightning.detector.hearing import Hearing, Sound
from asd_lightning.detector.machine import Change, Machine
from asd_lightning.detector.progress import shown
from asd_lightning.detector.promise import ALARM_SHARE, Promise, promise, share_bound
from asd_lightning.errors import UserError
from asd_lightning.foreign_files import ForeignFileError, load_yaml
from asd_lightning.older_names import of_today
from asd_lightning.run_folder import find_results
from asd_lightning.scoring.clip_scores import machine_name
from asd_lightning.scoring.fitted import FittedMachine, MachineKey
from asd_lightning.scoring.normal_scores import NormalScores
from asd_lightning.scoring.windows import numbered

logger = logging.getLogger(__name__)


def hearing_of_run(run: Any) -> Hearing:
    """How a run (`asd_lightning.experiment.fitted_run.FittedRun`) hears; its weights travel with it.

    Low-rank updates become part of the weights that they update, in the run too: scores stay but for rounding.

    Raises:
        UserError: a part of it is not this package's own, or it embeds two microphones.
    """
    if run.preprocessing.channel == "residual":
        raise UserError("a run of data.channel=residual embeds two microphones, and a detector hears one")
    from asd_lightning.encoders.finetuning import merge_low_rank
    from asd_lightning.scoring.clip_embeddings import AUTOCAST

    head = run.config["loss"].get("head", "joint") if run.config.get("score_after_head", True) else "none"
    spec = embedder_spec(run.config["embedder"], head)
    merge_low_rank(run.embedder)
    mixed = {dtype: name for name, dtype in AUTOCAST.items()}
    precision = mixed.get(run.dtype, "32-true") if run.precision == "float32" else run.precision
    hearing = Hearing(run.preprocessing, spec, run.reduction, precision)
    return hearing.with_weights(run.embedder, keep=True, told={})


def preset_of_run(place: Path) -> Preset:
    """How a run hears, and its back-end, for other machines.

    Raises:
        UserError: no run, or a part of it is not this package's own.
    """
    from asd_lightning.experiment.fitted_run import load_run

    refuse_own_parts(place)
    maker = maker_of_run(place)
    if not maker:
        raise UserError(f"{place}: its back-end is not this package's own; test the run with another model/scorer")
    return Preset(hearing_of_run(load_run(place)), maker)


def refuse_own_parts(place: Path) -> None:
    """Before a run is opened, which may ask for trust: no trust would make a detector of it.

    Raises:
        UserError: its embedder or its back-end, as far as its configuration tells, is not this package's own.
    """
    results = find_results(place)
    path = results.config_of_run
    try:
        model = {} if path is None else of_today(load_yaml(path)["model"])
        embedder, scorer = model.get("embedder", {"branches": {}}), model.get("scorer")
        _own(lambda: embedder_spec(embedder, "none"), f"{place}: ", "asd test and load_run score with the run itself")
        test = f"asd test {results.run or place} model/scorer=knn"
        other = f"test it by one of the package's ({test}), and enrol the folder of that test"
        _own(lambda: spec_of(scorer), f"{place}: ", other)
    except (ForeignFileError, AttributeError, KeyError, TypeError):
        return  # What is damaged is named where the run is opened.


def _own(read: Callable[[], object], place: str, instead: str) -> None:
    try:
        read()
    except UserError as error:
        raise UserError(f"{place}{error}; {instead}") from error


def maker_of_run(place: Path) -> Spec:
    """Spec of the back-end that a run, or one of its tests, was made with; empty where it is somebody's own."""
    path = find_results(place).config_of_run
    try:
        content = {} if path is None else load_yaml(path)
        return dict(spec_of(content["model"]["scorer"]))
    except (UserError, KeyError, TypeError) as error:
        logger.warning("%s: does not tell its back-end (%s); its bank cannot grow", place, error)
        return {}


def machines_of_run(place: Path, rate: float | None = None) -> tuple[Hearing, list[tuple[Machine, list[Sound]]]]:
    """The machines of a run, with the sound of their banks where it is still there.

    Args:
        place: a run, or one of its tests.
        rate: of false alarms to promise; by default the thresholds are the run's own.

    Raises:
        UserError: no run, no fitted machines, a part that is not this package's own, too few recordings, or a lower
            precision in which they rank otherwise than in float32.
    """
    from asd_lightning.experiment.fitted_run import load_run

    refuse_own_parts(place)
    run = load_run(place)
    hearing = hearing_of_run(run)
    maker = maker_of_run(place)
    banks = _banks(place)
    made = []
    for key, fitted in shown(list(run.machines.items()), "machines"):
        bank, sounds = banks.get(key, (_empty(), []))
        machine = _machine(key, fitted, _with_digests(bank, sounds, hearing), maker, rate)
        if run.precision != "float32":
            told = run.agreement.get(machine.name)
            agreement = math.nan if told is None else float(told)
            machine = replace(machine, agreement=agreement)
            refuse_disagreement(machine.name, run.precision, agreement)
        made.append((machine, sounds))
    return hearing, made


def _machine(key: MachineKey, fitted: FittedMachine, bank: Bank, maker: Spec, rate: float | None) -> Machine:
    name = machine_name(*key)
    if not fitted.training_scores.size:
        raise UserError(f"{name}: {fitted.undecided}; a detector needs scores of left-out recordings")
    recording = dict(zip(bank.files(), bank.recordings(), strict=True))
    same = len(recording) == len(fitted.training_scores)
    groups = list(recording.values()) if same else [str(number) for number in range(len(fitted.training_scores))]
    normal = NormalScores.fit(fitted.training_scores, numbered(groups))
    made = _promise_of_run(normal, fitted.threshold) if rate is None else promise(normal, rate)
    told = {
        "promised": rate is not None,
        "undecided": fitted.undecided,
        "threshold": repr(fitted.threshold),
        "scores": fitted.training_scores.tolist(),
        "groups": groups,
    }
    change = Change("enrolled", now(), normal.recordings, __version__)
    return Machine(name, bank, maker, fitted.scorer, normal, made, None, None, (change,), told)


def as_enrolled(machine: Machine) -> tuple[NormalScores, Promise]:
    """Left-out scores and thresholds of a run's machine as they were before any change."""
    told = machine.of_run
    normal = NormalScores.fit(np.array(told["scores"], np.float64), numbered(told["groups"]))
    if told["promised"]:
        return normal, promise(normal, machine.promise.rate)
    return normal, _promise_of_run(normal, float(told["threshold"]))


def _promise_of_run(normal: NormalScores, threshold: float) -> Promise:
    """The run's threshold; alarms from where a tenth as many would be expected."""
    rate = max(normal.smallest_rate, normal.share_above(threshold) if not np.isnan(threshold) else 0.0)
    alarm_rate = ALARM_SHARE * rate
    alarm = threshold if np.isnan(threshold) else max(threshold, normal.extrapolated(min(alarm_rate, 0.49)))
    return Promise(rate, alarm_rate, threshold, alarm, False, normal.recordings, share_bound(normal.recordings, rate))


def _banks(place: Path) -> dict[MachineKey, tuple[Bank, list[Sound]]]:
    from asd_lightning.scoring.embedding_cache import read_embeddings

    path = find_results(place).embeddings
    if not path.is_file():
        logger.warning("%s is not there: the detector has no bank that could grow", path)
        return {}
    cache = read_embeddings(path)
    rows: dict[MachineKey, list[int]] = {}
    for row, clip in enumerate(cache.reference_clips):
        rows.setdefault((clip.machine, clip.section), []).append(row)
    return {
        key: (
            Bank(tuple(_item(cache.reference_clips[row]) for row in own), cache.reference[own].astype(np.float32)),
            [Sound(cache.reference_clips[row]) for row in own],
        )
        for key, own in rows.items()
    }


def _item(clip: Clip) -> Item:
    return Item(clip.recording, clip.file, float(clip.start), float(clip.seconds or 0.0), "", clip.domain, "bank", 0)


def _with_digests(bank: Bank, sounds: Sequence[Sound], hearing: Hearing) -> Bank:
    """With digests of the sound, where it is still there."""
    digests = []
    for sound in sounds:
        try:
            digests.append(fingerprint(hearing.waveform(sound)))
        except BadAudioError:
            digests.append("")
    items = tuple(item._replace(digest=digest) for item, digest in zip(bank.items, digests, strict=True))
    return Bank(items, bank.embeddings)


def _empty() -> Bank:
    return Bank((), np.empty((0, 0), np.float32))
