"""The data sets on offer: ``tiny`` for tests, ``demo`` for a small experiment, ``full`` shaped as DCASE 2025."""

from __future__ import annotations

from dataclasses import dataclass, replace

from asd_lightning.data.synthetic.classes_2025 import CLASSES_2025, SECONDS_2025, grid
from asd_lightning.data.synthetic.clips import Clip, clips_of
from asd_lightning.data.synthetic.machines import Machine, MachineClass, Physics


@dataclass(frozen=True)
class Preset:
    """A data set to be made: machines, and test clips per machine, domain and condition."""

    name: str
    machines: tuple[Machine, ...]
    test_clips: int

    def clips(self) -> list[Clip]:
        """Every clip, machine by machine."""
        return [clip for machine in self.machines for clip in clips_of(machine, self.test_clips)]


PHYSICS: dict[str, Physics] = {
    "ToyCar": Physics(
        28.0, teeth=11, mesh=0.7, strokes=0, faults=("tooth", "misalignment", "belt_slip", "bearing", "looseness")
    ),
    "ToyTrain": Physics(19.0, teeth=14, mesh=0.5, strokes=4, stroke=0.5, faults=("tooth", "looseness", "bearing")),
    "bearing": Physics(30.0, harmonics=30, flow=0.5, faults=("bearing", "imbalance", "misalignment")),
    "fan": Physics(
        24.0, harmonics=24, teeth=7, mesh=1.0, flow=0.6, faults=("imbalance", "clogging", "bearing", "looseness")
    ),
    "gearbox": Physics(25.0, teeth=23, mesh=1.0, faults=("tooth", "misalignment", "bearing", "imbalance")),
    "slider": Physics(6.0, harmonics=60, strokes=3, stroke=1.0, faults=("sticking", "bearing", "leak")),
    "valve": Physics(
        3.0, harmonics=20, tilt=1.2, strokes=6, stroke=2.5, flow=0.3, faults=("sticking", "leak", "clogging")
    ),
    "AutoTrash": Physics(17.0, teeth=13, mesh=0.6, strokes=2, stroke=0.6, faults=("belt_slip", "tooth", "sticking")),
    "BandSealer": Physics(14.0, teeth=17, mesh=0.6, flow=0.5, faults=("belt_slip", "misalignment", "bearing")),
    "CoffeeGrinder": Physics(
        45.0, teeth=6, mesh=0.8, flow=0.8, strokes=3, stroke=0.6, faults=("clogging", "bearing", "looseness")
    ),
    "HomeCamera": Physics(36.0, teeth=9, mesh=0.8, flow=0.2, faults=("tooth", "belt_slip", "bearing")),
    "Polisher": Physics(52.0, teeth=5, mesh=0.7, flow=0.7, faults=("imbalance", "bearing", "looseness")),
    "ScrewFeeder": Physics(8.0, harmonics=50, strokes=5, stroke=1.2, faults=("sticking", "looseness", "belt_slip")),
    "ToyPet": Physics(11.0, teeth=19, mesh=0.5, strokes=4, stroke=0.8, faults=("tooth", "sticking", "belt_slip")),
    "ToyRCCar": Physics(31.0, teeth=12, mesh=0.8, faults=("tooth", "bearing", "misalignment")),
}


def _demo_classes(per_class: int, targets: int) -> dict[str, list[MachineClass]]:
    return {
        "ToyCar": [
            *grid("source", [per_class] * 6, car="A B", spd="28V 31V 34V"),
            *grid("target", [targets] * 2, car="A", spd="37V 40V"),
        ],
        "fan": [
            *grid("source", [2 * per_class] * 3, spd="1 3 5"),
            *grid("target", [targets] * 2, spd="2 6"),
        ],
        "gearbox": [
            *grid("source", [per_class] * 6, load="0 50 100", spd="1 3"),
            *grid("target", [targets] * 2, load="25 75", spd="2"),
        ],
        "bearing": [MachineClass("source", (), 6 * per_class), MachineClass("target", (), 2 * targets)],
    }


def _demo() -> Preset:
    machines = tuple(
        Machine(name, PHYSICS[name], 3.0, tuple(classes)) for name, classes in _demo_classes(16, 4).items()
    )
    return Preset("demo", machines, 25)


def _tiny() -> Preset:
    classes = {
        "fan": [*grid("source", [10, 10], spd="1 3"), *grid("target", [4], spd="2")],
        "gearbox": [*grid("source", [10, 10], load="0 100"), *grid("target", [4], load="50")],
        "bearing": [MachineClass("source", (), 20), MachineClass("target", (), 4)],
    }
    machines = (Machine(name, PHYSICS[name], 1.0, tuple(rows)) for name, rows in classes.items())
    return Preset("tiny", tuple(machines), 6)


def _full() -> Preset:
    machines = (
        Machine(name, PHYSICS[name], SECONDS_2025.get(name, 10.0), tuple(rows)) for name, rows in CLASSES_2025.items()
    )
    return Preset("full", tuple(machines), 50)


PRESETS: dict[str, Preset] = {preset.name: preset for preset in (_tiny(), _demo(), _full())}


def with_machines(preset: Preset, names: tuple[str, ...]) -> Preset:
    """``preset`` reduced to the machines called ``names``, in the preset's own order."""
    return replace(preset, machines=tuple(machine for machine in preset.machines if machine.name in names))
