"""Twelve machines in recordings: quiet and loud places, faults that last and faults that take a moment."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asd_lightning.synthetic.classes_2025 import grid
from asd_lightning.synthetic.machines import MachineClass, Physics
from asd_lightning.synthetic.presets import PHYSICS
from asd_lightning.synthetic.sessions import SessionMachine, SessionPreset, Sessions


@dataclass(frozen=True)
class _Surroundings:
    """Shaft harmonics to background in dB (source, target), kinds of background, and knocks per second."""

    snr_db: tuple[float, float]
    noises: tuple[str, str]
    events: float


_QUIET = _Surroundings((20.0, 16.0), ("hvac", "pink"), 0.02)
_HALL = _Surroundings((8.0, 6.0), ("hvac", "factory"), 0.1)
_STREET = _Surroundings((6.0, 4.0), ("street", "white"), 0.1)
_LOUD = _Surroundings((0.0, -2.0), ("factory", "pink"), 0.3)

_UNLABELED = [MachineClass("source", (), 18), MachineClass("target", (), 3)]
_SPEEDS = [*grid("source", [5, 5, 5, 5], spd="1 2 4 5"), *grid("target", [3], spd="3")]
_SPECIMENS = [*grid("source", [6, 6, 6], id="A B C"), *grid("target", [2, 2], id="D E")]
_LOADS = [*grid("source", [6, 6], load="0 50"), *grid("target", [3], load="100")]
_BOTH = [*grid("source", [3, 3, 3, 3], id="A B", spd="1 3"), *grid("target", [2, 2], id="A B", spd="2")]

# Half of each machine's faults last, half take a moment; all faults are about as frequent over the machines.
_PLANS: tuple[tuple[str, float, _Surroundings, list[MachineClass], tuple[str, ...]], ...] = (
    ("ToyCar", 2.0, _HALL, _BOTH, ("tooth", "clicks", "misalignment", "stutter")),
    ("ToyTrain", 3.0, _STREET, _SPEEDS, ("looseness", "squeal", "tooth", "clicks")),
    ("bearing", 2.0, _QUIET, _UNLABELED, ("bearing", "squeal", "looseness", "burst")),
    ("fan", 2.0, _QUIET, _SPEEDS, ("imbalance", "stutter", "clogging", "clicks")),
    ("gearbox", 2.0, _LOUD, _LOADS, ("misalignment", "burst", "bearing", "squeal")),
    ("slider", 4.0, _HALL, _UNLABELED, ("sticking", "squeal", "leak", "burst")),
    ("valve", 4.0, _QUIET, _SPECIMENS, ("sticking", "burst", "leak", "stutter")),
    ("BandSealer", 2.0, _LOUD, _SPEEDS, ("belt_slip", "clicks", "misalignment", "burst")),
    ("CoffeeGrinder", 2.0, _STREET, _SPECIMENS, ("clogging", "stutter", "imbalance", "squeal")),
    ("Polisher", 3.0, _HALL, _LOADS, ("imbalance", "clicks", "belt_slip", "squeal")),
    ("ScrewFeeder", 4.0, _STREET, _UNLABELED, ("sticking", "stutter", "looseness", "burst")),
    ("ToyRCCar", 3.0, _LOUD, _BOTH, ("tooth", "clicks", "bearing", "stutter")),
)


def _machine(
    name: str, seconds: float, place: _Surroundings, classes: list[MachineClass], faults: tuple[str, ...]
) -> SessionMachine:
    physics: Physics = replace(
        PHYSICS[name],
        snr_db=place.snr_db,
        noises=place.noises,
        nuisance=(3.0, 3.0, 2.0, 1.5),
        faults=faults,
        severity=(0.4, 1.0),
    )
    return SessionMachine(name, physics, seconds, tuple(classes), Sessions(events=place.events))


SESSION_PRESETS: dict[str, SessionPreset] = {
    "sessions": SessionPreset("sessions", tuple(_machine(*plan) for plan in _PLANS)),
    "sessions_far": SessionPreset("sessions_far", tuple(_machine(*plan) for plan in _PLANS), microphones=2),
}
