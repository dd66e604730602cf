"""What an export says of itself: metadata, all of it text."""

from __future__ import annotations

import json
import math

from asd_lightning import __version__
from asd_lightning.data.preprocessing import Preprocessing
from asd_lightning.detector.hearing import Hearing
from asd_lightning.detector.machine import Machine
from asd_lightning.detector.states import LevelStates, NamedStates
from asd_lightning.exporting.agreement import spread_of

FORMAT = "1"


def about(machine: Machine, hearing: Hearing, samples: int, content_hash: str) -> dict[str, str]:
    """Metadata of an export, by name; numbers are written so that reading them gives the same bits.

    Args:
        machine: whose.
        hearing: of the detector.
        samples: of a window.
        content_hash: of the detector's file.
    """
    preprocessing = hearing.preprocessing
    seconds = samples / preprocessing.sample_rate
    kinds = [branch["encoder"]["kind"] for branch in hearing.embedder["branches"]]
    return {
        "format": FORMAT,
        "package": __version__,
        "content_hash": content_hash,
        "machine": machine.name,
        "sample_rate": str(preprocessing.sample_rate),
        "samples": str(samples),
        "window_seconds": repr(seconds),
        "enrolled_window_seconds": repr(float(preprocessing.clip_seconds)),
        "hop_seconds": repr(min(float(preprocessing.hop_seconds or seconds), seconds)),
        "channel": str(preprocessing.channel),
        "pad": preprocessing.pad,
        "recording_score": hearing.reduction,
        "embedder": json.dumps(kinds),
        "weights": json.dumps(hearing.told, sort_keys=True),
        "back_end": type(machine.scorer).__name__,
        "spread": repr(spread_of(machine.normal.scores)),
        **_decisions(machine, preprocessing, samples),
    }


def _decisions(machine: Machine, preprocessing: Preprocessing, samples: int) -> dict[str, str]:
    """Thresholds and what is promised of them; or why there are none, such as for windows of another length."""
    if machine.undecided:
        return {"undecided": machine.undecided}
    if samples != preprocessing.samples:
        own, asked = preprocessing.clip_seconds, samples / preprocessing.sample_rate
        return {
            "undecided": f"the detector's thresholds hold for windows of {own:g} s and no others; enrol with "
            f"--clip-seconds {asked:g} to have some"
        }
    return {"promise": machine.sentence(), **_thresholds(machine)}


def _thresholds(machine: Machine) -> dict[str, str]:
    """Of warnings and alarms; where each state has its own, those in their place."""
    if isinstance(machine.states, NamedStates) and len(machine.states.names) > 1:
        return {"states": json.dumps([_state(machine, name) for name in machine.states.names])}
    told = {"warning": repr(machine.promise.warning), "alarm": repr(machine.promise.alarm)}
    if isinstance(machine.states, LevelStates) and machine.states.boundary is not None:
        told["not_running_below_db"] = repr(machine.states.boundary)
    return told


def _state(machine: Machine, name: str) -> dict[str, str | bool | float | None]:
    own = machine.thresholds(name).promise
    running = name not in (machine.states.still if machine.states else ())
    levels = (own.warning, own.alarm) if running and not math.isnan(own.warning) else (None, None)
    return {"state": name, "running": running, "warning": levels[0], "alarm": levels[1]}
