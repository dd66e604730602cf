"""The data sets on offer: ``tiny`` for tests, ``demo`` for a small experiment, ``full`` shaped as DCASE 2025."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from asd_lightning.download.years import LENGTHS_2025
from asd_lightning.synthetic.classes_2025 import CLASSES_2025, grid
from asd_lightning.synthetic.clips import Clip, clips_of
from asd_lightning.synthetic.machines import Machine, MachineClass, Physics


@dataclass(frozen=True)
class Preset:
    """A data set to be made: machines, and test clips per machine, domain and condition.

    ``evaluation`` names the machines that are released as the challenge's evaluation set, see ``released``.
    """

    name: str
    machines: tuple[Machine, ...]
    test_clips: int
    # Not part of the plan's digest: data sets without one keep theirs.
    evaluation: tuple[str, ...] = field(default=(), repr=False)

    def clips(self) -> list[Clip]:
        """Every clip, machine by machine."""
        return [clip for machine in self.machines for clip in clips_of(machine, self.test_clips)]

    def only(self, names: tuple[str, ...]) -> Preset:
        """The preset reduced to the machines called ``names``, in the preset's own order."""
        return replace(self, machines=tuple(machine for machine in self.machines if machine.name in names))


PHYSICS: dict[str, Physics] = {
    "ToyCar": Physics(28.0, teeth=11, mesh=0.7, faults=("tooth", "misalignment", "belt_slip", "bearing", "looseness")),
    "ToyTrain": Physics(19.0, teeth=14, mesh=0.5, strokes=4, stroke=0.5, faults=("tooth", "looseness", "bearing")),
    "bearing": Physics(
        30.0,
        harmonics=30,
        flow=0.5,
        speed_spread=0.01,
        snr_db=(6.0, 6.0),
        nuisance=(3.0, 4.0, 4.0, 3.0),
        severity=(0.5, 1.1),
        faults=("bearing", "looseness", "imbalance"),
    ),
    "fan": Physics(
        24.0,
        harmonics=24,
        teeth=7,
        mesh=1.0,
        flow=0.6,
        severity=(0.6, 1.2),
        faults=("imbalance", "clogging", "bearing", "looseness"),
    ),
    "gearbox": Physics(
        25.0, teeth=23, mesh=1.0, severity=(0.35, 0.8), faults=("tooth", "misalignment", "bearing", "imbalance")
    ),
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

_TINY: dict[str, list[MachineClass]] = {
    "fan": [*grid("source", [5] * 4, id="A B", spd="1 3"), *grid("target", [4], id="A", spd="2")],
    "gearbox": [*grid("source", [5] * 4, load="0 100", spd="1 3"), *grid("target", [4], load="50", spd="2")],
    "bearing": [MachineClass("source", (), 20), MachineClass("target", (), 4)],
}

# Neighbouring speeds differ by less than a mel band and the specimens by the strength of single harmonics: what tells
# the classes apart is what the faults change, while gain, background and microphone vary more from clip to clip.
_DEMO: dict[str, list[MachineClass]] = {
    "ToyCar": [
        *grid("source", [12] * 8, car="A B", spd="28V 31V 34V 40V"),
        *grid("target", [4, 4], car="A B", spd="37V"),
    ],
    "fan": [*grid("source", [12] * 8, id="A B", spd="1 2 4 5"), *grid("target", [4, 4], id="A B", spd="3")],
    "gearbox": [
        *grid("source", [12] * 8, load="0 50", spd="1 2 4 5"),
        *grid("target", [4, 4], load="25", spd="3 6"),
    ],
    "bearing": [MachineClass("source", (), 96), MachineClass("target", (), 8)],
}


def _preset(name: str, classes: dict[str, list[MachineClass]], seconds: dict[str, float], test_clips: int) -> Preset:
    machines = (Machine(machine, PHYSICS[machine], seconds[machine], tuple(rows)) for machine, rows in classes.items())
    return Preset(name, tuple(machines), test_clips)


PRESETS: dict[str, Preset] = {
    "tiny": _preset("tiny", _TINY, dict.fromkeys(_TINY, 1.0), 6),
    "demo": _preset("demo", _DEMO, dict.fromkeys(_DEMO, 3.0), 25),
    "full": _preset("full", CLASSES_2025, dict.fromkeys(CLASSES_2025, 10.0) | LENGTHS_2025, 50),
}
